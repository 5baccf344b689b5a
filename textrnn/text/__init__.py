"""From strings to tokens to ids."""

from textrnn.text.counter import WordCounter
from textrnn.text.encoding import encode_texts
from textrnn.text.tokenizer import Tokenizer, WordTokenizer
from textrnn.text.vocabulary import Vocabulary

__all__ = ["Tokenizer", "Vocabulary", "WordCounter", "WordTokenizer", "encode_texts"]
