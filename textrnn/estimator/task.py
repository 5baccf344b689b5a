"""The task of a fit: its texts, encoded and divided, with labels and settings that are checked."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from textrnn.data import WordDataset
from textrnn.data.dataset import draw_stratified
from textrnn.errors import InvalidTypeError, InvalidValueError, expected
from textrnn.estimator.batches import Examples
from textrnn.estimator.model import Model
from textrnn.estimator.settings import Data, choose, choose_settings
from textrnn.estimator.vectors import known_words
from textrnn.ngrams.model import longest_order
from textrnn.runtime.labels import LabelSet
from textrnn.text import Tokenizer
from textrnn.text.encoding import TextEncoder
from textrnn.text.spelling import NO_WORDS, UnknownWords
from textrnn.text.tokenizers import is_known, named_tokenizer

__all__ = ["Task", "count_words", "make_task", "resolve_device"]

_MIN_WORDS_TO_WARN = 100  # of fewer, the share of unknown ones is too uncertain
_MIN_TEXTS_TO_HOLD_OUT = 100  # of fewer texts, a part can't tell epochs apart


@dataclass(frozen=True, kw_only=True)
class Task:
    """Encoded texts, their labels, and the settings to train with."""

    train_set: WordDataset
    eval_set: WordDataset | None
    eval_given: bool  # rather than held out
    train_unknown: UnknownWords  # in the training texts, if their spelling counts
    eval_unknown: UnknownWords
    corpus: WordDataset | None  # to pretrain on: all texts but those held out
    unlabelled: int  # texts without labels in the corpus
    vectors: dict[str, Any] | None  # facts about word vectors, if the embedding has some
    embedding: NDArray[np.float32] | None  # of a new network, (vocabulary, size)
    labels: LabelSet
    class_weights: Any
    settings: dict[str, Any]
    device: torch.device
    progress: bool | None


def make_task(
    params: Mapping[str, Any],
    examples: Examples,
    eval_examples: Examples | None,
    unlabelled: list[str] | None,
    *,
    before: Model | None,
    sample_weight: NDArray[np.float64] | None,
) -> Task:
    """Check the parameters, hold out a validation part and encode all texts."""
    texts, values = examples
    labels = LabelSet.of(values) if before is None else before.labels
    targets = labels.encode(values)
    weights = np.ones(len(texts)) if sample_weight is None else _scaled(sample_weight)
    used = weights > 0  # (texts,)
    texts, targets, weights = list(compress(texts, used)), targets[used], weights[used]
    weighted = bool((weights != 1).any())
    eval_weights = None
    facts = Data(
        len(texts), len(unlabelled or ()), labels.multi_label, characters=sum(map(len, texts))
    )
    settings = _settings(params, facts, before)
    if unlabelled is not None and not settings["pretrain_epochs"]:
        rule = "None where nothing is pretrained: pretrain_epochs is 0"
        if before is not None:
            rule = "None where training continues (warm_start), since nothing is pretrained again"
        raise InvalidValueError(expected("unlabelled", rule, unlabelled))
    class_weights = labels.class_weights(params["class_weight"])
    labels.thresholds(params["threshold"])  # checked here, used by predictions
    device = resolve_device(params["device"])
    if eval_examples is not None:
        eval_texts = eval_examples[0]
        eval_targets = labels.encode(eval_examples[1], "eval_set[1]")
    else:
        held_out = _hold_out(targets, settings["validation_fraction"], settings["seed"])
        eval_texts, eval_targets = list(compress(texts, held_out)), targets[held_out]
        texts, targets = list(compress(texts, ~held_out)), targets[~held_out]
        eval_weights, weights = weights[held_out], weights[~held_out]
    tokenizer = _tokenizer(params["tokenizer"], before)
    corpus = [*texts, *(unlabelled or ())]
    known = known_words(params, settings, corpus, tokenizer, before=before)
    vocabulary = known.vocabulary
    settings["embedding_size"] = known.size or settings["embedding_size"]
    if params["ngram_order"] is None:  # more n-grams of a large vocabulary than there are keys
        longest = longest_order(len(vocabulary))
        settings["ngram_order"] = min(settings["ngram_order"], longest)

    def encoded(
        part: list[str], ids: NDArray[Any] | None, own: NDArray[Any] | None = None
    ) -> WordDataset:
        return WordDataset(
            part,
            ids,
            vocabulary,
            tokenizer,
            max_length=settings["max_length"],
            weights=own if weighted else None,
        )

    train_unknown = eval_unknown = NO_WORDS
    if settings["spelling"] and settings["ngram_order"]:  # which data sets don't keep
        encode = TextEncoder(tokenizer, vocabulary, max_length=settings["max_length"])
        train_unknown = encode.with_unknown(texts)[2]
        eval_unknown = encode.with_unknown(eval_texts)[2]
    train_set = encoded(texts, targets, weights)
    eval_set = encoded(eval_texts, eval_targets, eval_weights) if eval_texts else None
    if eval_set is not None:
        _warn_of_unknown(eval_set)
    return Task(
        train_set=train_set,
        eval_set=eval_set,
        train_unknown=train_unknown,
        eval_unknown=eval_unknown,
        eval_given=eval_examples is not None,
        corpus=encoded(corpus, None) if settings["pretrain_epochs"] else None,
        unlabelled=len(unlabelled or ()),
        vectors=known.facts(train_set),
        embedding=known.embedding,
        labels=labels,
        class_weights=class_weights,
        settings=settings,
        device=device,
        progress=choose(params, "progress", Data(len(texts))),
    )


def _tokenizer(given: str | Tokenizer | None, before: Model | None) -> Tokenizer:
    """Return the tokenizer; continued training keeps its own, whose words the vocabulary has."""
    if before is None:
        return named_tokenizer("wordpunct" if given is None else given)
    own = before.tokenizer
    tokenizer = own if given is None else named_tokenizer(given)
    # Two custom ones that differ may be copies of a function.
    if tokenizer != own and (is_known(tokenizer) or is_known(own)):
        raise InvalidValueError(expected("tokenizer", f"the model's own, {own}", given))
    return tokenizer


def _settings(params: Mapping[str, Any], data: Data, before: Model | None) -> dict[str, Any]:
    """Choose the settings; continued training keeps its parts and pretrains nothing."""
    if before is not None:
        data = data._replace(kept=before.recurrent is not None)
    settings = choose_settings(params, data)
    if before is not None:
        settings["pretrain_epochs"] = 0
        if before.ngrams is not None:
            settings["spelling"] = bool(before.ngrams.num_char_ngrams)
    return settings


def _hold_out(targets: NDArray[Any], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose the texts of a validation part, bool `(texts,)`, in proportion to the classes."""
    if len(targets) < _MIN_TEXTS_TO_HOLD_OUT or not fraction:
        return np.zeros(len(targets), dtype=np.bool_)
    if targets.ndim == 2:
        strata = np.zeros(len(targets), dtype=np.int64)
        return draw_stratified(strata, fraction, np.random.default_rng(seed))
    strata = np.unique(targets, return_inverse=True)[1]
    chosen = draw_stratified(strata, fraction, np.random.default_rng(seed))
    # The only text of a class is needed for training.
    return chosen & (np.bincount(strata) > 1)[strata]


def _scaled(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights that are 1 on average, apart from zeros."""
    relative = weights / weights.max()  # (texts,)
    relative /= relative[relative > 0].mean()
    scaled: NDArray[np.float64] = relative.astype(np.float32).astype(np.float64)
    return scaled  # which single precision has, where tiny ones are 0


def _warn_of_unknown(eval_set: WordDataset) -> None:
    """Warn if most words of the validation part are unknown, unless it is tiny."""
    words, unknown = count_words(eval_set)
    if words >= _MIN_WORDS_TO_WARN and unknown > words / 2:
        warnings.warn(
            f"{unknown / words:.0%} of the words of the validation texts are unknown to the "
            "classifier. Check `tokenizer`, `min_freq` and `max_vocab_size`; text without spaces "
            'needs another tokenizer than "word".',
            stacklevel=5,  # where `fit` is called
        )


def count_words(dataset: WordDataset) -> tuple[int, int]:
    """Return the number of words of a data set, and that of the unknown ones."""
    unknown = dataset.input_ids == dataset.vocabulary.unk_id  # (total,)
    return len(dataset.input_ids) - 2 * len(dataset), int(unknown.sum())


def resolve_device(device: Any) -> torch.device:
    """Return the device of that name; `"auto"` is a CUDA GPU if there is one, else the CPU."""
    rule = "'auto' or the name of an available device, such as 'cpu' or 'cuda:0'"
    if not isinstance(device, str | torch.device):
        raise InvalidTypeError(expected("device", rule, device))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError):  # raised where torch was built without CUDA
        found = None
    if found is None or found.type == "meta":  # which has no numbers
        raise InvalidValueError(expected("device", rule, str(device)))
    return found
