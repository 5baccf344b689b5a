"""Recurrent text classifiers in PyTorch: typed, fast, exact, pleasant.

>>> from textrnn import Vocabulary, WordTokenizer
>>> tokenizer = WordTokenizer()
>>> vocabulary = Vocabulary.build(map(tokenizer, ["Oil prices soar", "Oil prices fall"]))
>>> vocabulary.encode(tokenizer("Oil soars"))
[4, 1]
"""

from textrnn.data import Batch, BucketBatchSampler, PaddingCollator, WordDataset
from textrnn.estimator import TextClassifier
from textrnn.nn import RecurrentClassifier
from textrnn.text import Vocabulary, WordTokenizer
from textrnn.training import Trainer

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

__version__ = "0.1.0"
