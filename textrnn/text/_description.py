"""Tokenizers as JSON has them."""

from typing import Any, TypeGuard

from textrnn.text.tokenizer import Tokenizer, WordPunctTokenizer, WordTokenizer

__all__ = ["TOKENIZERS", "describe_tokenizer", "is_known"]

TOKENIZERS = {kind.__name__: kind for kind in (WordPunctTokenizer, WordTokenizer)}
"""The tokenizers that can be written as JSON, by name."""


def is_known(tokenizer: Tokenizer) -> TypeGuard[WordPunctTokenizer | WordTokenizer]:
    """Tell whether a tokenizer can be written as JSON; a subclass may cut differently."""
    return type(tokenizer) in TOKENIZERS.values()


def describe_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the kind and the options of a tokenizer; of a user's own only its name."""
    if is_known(tokenizer):
        return {"type": type(tokenizer).__name__, "options": tokenizer.to_dict()}
    name = getattr(tokenizer, "__qualname__", type(tokenizer).__qualname__)
    return {"type": "custom", "options": name}
