"""Neural networks: from batches of token ids to logits."""

from textrnn.nn.classifier import RecurrentClassifier
from textrnn.nn.encoder import RecurrentEncoder
from textrnn.nn.language_model import LanguageModel, perplexity
from textrnn.nn.layers import LockedDropout, copy_vectors
from textrnn.nn.pooling import AttentionPooling, Pooling, last_pool, max_pool, mean_pool

__all__ = [
    "AttentionPooling",
    "LanguageModel",
    "LockedDropout",
    "Pooling",
    "RecurrentClassifier",
    "RecurrentEncoder",
    "copy_vectors",
    "last_pool",
    "max_pool",
    "mean_pool",
    "perplexity",
]
