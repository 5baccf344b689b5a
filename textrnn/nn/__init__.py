"""From batches to logits."""

from textrnn.nn.blending import BlendedClassifier
from textrnn.nn.classifier import RecurrentClassifier
from textrnn.nn.encoder import RecurrentEncoder
from textrnn.nn.language_model import LanguageModel, perplexity
from textrnn.nn.layers import LockedDropout, copy_vectors
from textrnn.nn.ngrams import NgramClassifier
from textrnn.nn.pooling import AttentionPooling, Pooling, last_pool, max_pool, mean_pool

__all__ = [
    "AttentionPooling",
    "BlendedClassifier",
    "LanguageModel",
    "LockedDropout",
    "NgramClassifier",
    "Pooling",
    "RecurrentClassifier",
    "RecurrentEncoder",
    "copy_vectors",
    "last_pool",
    "max_pool",
    "mean_pool",
    "perplexity",
]
