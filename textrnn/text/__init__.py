"""Tokenize texts and encode them as ids."""

from typing import TYPE_CHECKING

from textrnn._lazy import lazy_names

__all__ = [
    "CharTokenizer",
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

if TYPE_CHECKING:
    from textrnn.text.counter import WordCounter
    from textrnn.text.encoding import encode_texts
    from textrnn.text.tokenizers import CharTokenizer, Tokenizer, WordPunctTokenizer, WordTokenizer
    from textrnn.text.vectors import VectorCoverage, WordVectors, read_vectors
    from textrnn.text.vocabulary import Vocabulary
else:  # imported on first use, as a program seldom needs them all
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "CharTokenizer": "tokenizers",
            "Tokenizer": "tokenizers",
            "VectorCoverage": "vectors",
            "Vocabulary": "vocabulary",
            "WordCounter": "counter",
            "WordPunctTokenizer": "tokenizers",
            "WordTokenizer": "tokenizers",
            "WordVectors": "vectors",
            "encode_texts": "encoding",
            "read_vectors": "vectors",
        },
    )
