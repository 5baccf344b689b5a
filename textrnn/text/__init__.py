"""Tokenize texts and encode them as ids."""

from textrnn.text.counter import WordCounter
from textrnn.text.encoding import encode_texts
from textrnn.text.tokenizers import Tokenizer, WordPunctTokenizer, WordTokenizer
from textrnn.text.vectors import VectorCoverage, WordVectors, read_vectors
from textrnn.text.vocabulary import Vocabulary

__all__ = [
    "Tokenizer",
    "VectorCoverage",
    "Vocabulary",
    "WordCounter",
    "WordPunctTokenizer",
    "WordTokenizer",
    "WordVectors",
    "encode_texts",
    "read_vectors",
]
