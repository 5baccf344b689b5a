"""Recurrent text classifiers in PyTorch: typed, fast, exact, pleasant.

>>> from textrnn import Vocabulary, WordTokenizer
>>> tokenizer = WordTokenizer()
>>> vocabulary = Vocabulary.build(map(tokenizer, ["Oil prices soar", "Oil prices fall"]))
>>> vocabulary.encode(tokenizer("Oil soars"))
[4, 1]
"""

from typing import TYPE_CHECKING

from textrnn._lazy import lazy_names
from textrnn._version import __version__

__all__ = [
    "Batch",
    "BucketBatchSampler",
    "CharTokenizer",
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
    from textrnn.text import CharTokenizer, Vocabulary, WordTokenizer
    from textrnn.training import Trainer
else:  # imported when first asked for, so that the command line's help doesn't wait for PyTorch
    _ROOMS = (
        "data",
        "errors",
        "estimator",
        "ngrams",
        "nn",
        "plotting",
        "runtime",
        "text",
        "training",
    )
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Batch": "data",
            "BucketBatchSampler": "data",
            "CharTokenizer": "text",
            "PaddingCollator": "data",
            "RecurrentClassifier": "nn",
            "TextClassifier": "estimator",
            "Trainer": "training",
            "Vocabulary": "text",
            "WordDataset": "data",
            "WordTokenizer": "text",
            **dict.fromkeys(_ROOMS, ""),
        },
    )
