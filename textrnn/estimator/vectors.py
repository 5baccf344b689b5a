"""Word vectors that were learned elsewhere: their words, and the embedding that they make."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.data import WordDataset
from textrnn.errors import InvalidTypeError, InvalidValueError, expected, show
from textrnn.estimator.model import Model
from textrnn.text import Tokenizer, Vocabulary, read_vectors
from textrnn.text.vectors import words_of

__all__ = ["Words", "known_words"]

_MAX_MORE_WORDS = 50_000  # that only the file has, without a maximum vocabulary size
_STD = 0.1  # of the embedding, as of one that is learned
_LOW_COVERAGE = 0.5


@dataclass(frozen=True, kw_only=True)
class Words:
    """The words that a classifier knows, and their vectors in a file if it has them."""

    vocabulary: Vocabulary
    file: str | None = None  # its name without the folder
    embedding: NDArray[np.float32] | None = None  # (vocabulary, size); zeros without a vector

    @property
    def size(self) -> int | None:
        """Dimension of the vectors."""
        return None if self.embedding is None else self.embedding.shape[1]

    def facts(self, texts: WordDataset) -> dict[str, Any] | None:
        """Describe the vectors; warn if few words of the training texts have one."""
        if self.embedding is None:
            return None
        ids = texts.input_ids.numpy()  # (total,)
        edges = (self.vocabulary.bos_id, self.vocabulary.eos_id)
        known = np.asarray(self.embedding.any(axis=1))  # (vocabulary,)
        found = known[ids[~np.isin(ids, edges)]]  # (words,)
        coverage = float(found.mean()) if len(found) else 1.0
        if coverage < _LOW_COVERAGE:
            warnings.warn(
                f"Only {coverage:.1%} of the words of the training texts have a vector in "
                f"{self.file}. It may be of another language, or split texts in another way.",
                stacklevel=5,  # where `fit` is called
            )
        return {"file": self.file, "size": self.size, "coverage": coverage}


def known_words(
    params: Mapping[str, Any],
    settings: Mapping[str, Any],
    texts: list[str],
    tokenizer: Tokenizer,
    *,
    before: Model | None,
) -> Words:
    """Return the words of texts and of a file of vectors; continued training keeps its words."""
    path = params["vectors"]
    name = None
    if path is not None:
        if not isinstance(path, str | os.PathLike):
            raise InvalidTypeError(expected("vectors", "the path of a file or None", path))
        name = Path(os.fsdecode(path)).name
    if before is not None:
        return _continued(before, name)
    limits = {"min_freq": settings["min_freq"], "max_size": settings["max_vocab_size"]}
    if name is None:
        return Words(vocabulary=Vocabulary.from_texts(texts, tokenizer, **limits))
    counts = Vocabulary.from_texts(texts, tokenizer)
    vocabulary = _extended(path, counts, tokenizer, **limits)
    matrix = read_vectors(path, vocabulary, ignore_case=True).matrix
    if params["embedding_size"] not in {None, matrix.shape[1]}:
        rule = f"None or the dimension of the vectors, {matrix.shape[1]}"
        raise InvalidValueError(expected("embedding_size", rule, params["embedding_size"]))
    return Words(vocabulary=vocabulary, file=name, embedding=_scaled(matrix, vocabulary))


def _continued(before: Model, name: str | None) -> Words:
    """Return the words of a model; raise an error for another file than that of its vectors."""
    facts, vocabulary = before.data["vectors"], before.vocabulary
    if name is not None and (facts is None or name != facts["file"]):
        rule = "None where training continues (warm_start) without vectors"
        if facts is not None:
            rule = f"None or {show(facts['file'])}, as in the earlier fit"
        raise InvalidValueError(expected("vectors", rule, name))
    weight: Any = None if before.ngrams is None else before.ngrams.vectors
    if before.recurrent is not None:
        weight = before.recurrent.embedding.weight
    if facts is None or weight is None:
        return Words(vocabulary=vocabulary)
    embedding = weight.numpy(force=True)
    return Words(vocabulary=vocabulary, file=facts["file"], embedding=embedding)


def _extended(
    path: str | os.PathLike[str],
    counts: Vocabulary,
    tokenizer: Tokenizer,
    *,
    min_freq: int,
    max_size: int | None,
) -> Vocabulary:
    """Return a vocabulary with the first words of a file that it would not have otherwise."""
    every = dict(zip(counts, counts.counts, strict=True))
    kept = Vocabulary(every, min_freq=min_freq, max_size=max_size)
    first = len(kept.specials)
    words = dict(zip(kept.tokens[first:], kept.counts[first:], strict=True))
    most = len(words) + (_MAX_MORE_WORDS if max_size is None else max_size - len(kept))
    for word in words_of(path):
        if len(words) >= most:
            break
        tokens = tokenizer(word)
        # Others, such as "New_York" where texts are lower-cased, occur in no text.
        if len(tokens) == 1 and tokens[0] not in kept.specials:
            words.setdefault(tokens[0], every.get(tokens[0], 0))
    left_out = sum(every.values()) - sum(words.values())
    return Vocabulary({**words, kept.specials[kept.unk_id]: left_out}, min_freq=0)


def _scaled(matrix: NDArray[np.float32], vocabulary: Vocabulary) -> NDArray[np.float32]:
    """Return vectors of words as an embedding, all of one norm; special tokens have zeros."""
    matrix[: len(vocabulary.specials)] = 0
    squares = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)  # (vocabulary,)
    norms = np.sqrt(squares / matrix.shape[1])
    matrix *= (_STD / np.maximum(norms, 1e-30))[:, np.newaxis]
    return matrix
