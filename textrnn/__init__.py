"""Recurrent text classifiers in PyTorch: typed, fast, exact, pleasant.

>>> from textrnn import Vocabulary, WordTokenizer
>>> tokenizer = WordTokenizer()
>>> vocabulary = Vocabulary.build(map(tokenizer, ["Oil prices soar", "Oil prices fall"]))
>>> vocabulary.encode(tokenizer("Oil soars"))
[4, 1]
"""

from typing import TYPE_CHECKING

from textrnn._version import __version__

__all__ = [
    "Batch",
    "BucketBatchSampler",
    "PaddingCollator",
    "RecurrentClassifier",
    "TextClassifier",
    "Trainer",
    "Vocabulary",
    "WordDataset",
    "WordTokenizer",
    "__version__",
]

if TYPE_CHECKING:
    from textrnn.data import Batch, BucketBatchSampler, PaddingCollator, WordDataset
    from textrnn.estimator import TextClassifier
    from textrnn.nn import RecurrentClassifier
    from textrnn.text import Vocabulary, WordTokenizer
    from textrnn.training import Trainer
else:  # imported when first asked for, so that the command line's help doesn't wait for PyTorch
    _HOMES = {
        "Batch": "data",
        "BucketBatchSampler": "data",
        "PaddingCollator": "data",
        "RecurrentClassifier": "nn",
        "TextClassifier": "estimator",
        "Trainer": "training",
        "Vocabulary": "text",
        "WordDataset": "data",
        "WordTokenizer": "text",
    }
    _ROOMS = {"data", "errors", "estimator", "ngrams", "nn", "plotting", "text", "training"}

    def __getattr__(name: str) -> object:
        """Import a name, or a room, when it is first asked for."""
        from importlib import import_module

        if name in _ROOMS:
            return import_module(f"textrnn.{name}")
        if name not in _HOMES:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=import_module(__name__))
        value = globals()[name] = getattr(import_module(f"textrnn.{_HOMES[name]}"), name)
        return value

    def __dir__() -> list[str]:
        """List what there is, whether it was asked for yet or not."""
        return sorted({*_HOMES, *_ROOMS, *(name for name in globals() if name.startswith("__"))})
