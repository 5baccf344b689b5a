"""Training of a classifier: encode the texts, train the network, add the n-grams."""

import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from itertools import chain, compress
from time import process_time
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textrnn.data import Batch, WordDataset
from textrnn.data.dataset import draw_stratified
from textrnn.errors import InvalidValueError, NonFiniteLossError, expected
from textrnn.estimator.batches import Examples, WithUnknown, prediction_loader
from textrnn.estimator.fit_report import FitReport, accuracies, gain_error
from textrnn.estimator.model import Model, Network, logits_of
from textrnn.estimator.network import (
    Outcome,
    Task,
    fit_network,
    plain_loss,
    resolve_device,
)
from textrnn.estimator.settings import Data, choose, choose_settings
from textrnn.estimator.threads import limited_threads
from textrnn.estimator.vectors import known_words
from textrnn.ngrams import BlendedClassifier, NgramClassifier, fit_scales, ngram_path
from textrnn.ngrams.model import longest_order
from textrnn.nn import RecurrentClassifier
from textrnn.runtime.labels import LabelSet
from textrnn.text import Tokenizer, Vocabulary
from textrnn.text.encoding import TextEncoder
from textrnn.text.spelling import NO_WORDS
from textrnn.text.tokenizers import is_known, named_tokenizer
from textrnn.training import ClassificationMetrics, History, MultilabelMetrics
from textrnn.training.distributed.processes import join
from textrnn.training.loop import CTRL_C
from textrnn.training.losses import Loss

__all__ = ["learn"]

_LOGGER = logging.getLogger("textrnn")
_CHECKED_TEXTS = 64
_MIN_WORDS_TO_WARN = 100  # of fewer, the share of unknown ones is too uncertain
_MIN_TEXTS_TO_HOLD_OUT = 100  # of fewer texts, a part can't tell epochs apart
_VARIANCES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # of the prior of the linear model
_DEFAULT_VARIANCE = 10.0  # without a validation part to choose by
# Blend weights of network and n-grams on few texts, where a validation part says little. Chosen on
# held-out parts of news, reviews and sentences, 200 to 10,000 texts each.
_SCALES, _SCALES_TEXTS = (0.2, 0.8), 30.0
_MAX_WEIGHTS = 2**23  # of the linear model, whose solver holds some 10 copies: 320 MB


def learn(
    params: Mapping[str, Any],
    examples: Examples,
    eval_examples: Examples | None,
    unlabelled: list[str] | None,
    *,
    before: Model | None,
    sample_weight: NDArray[np.float64] | None,
) -> Model:
    """Train a model with the parameters of a `TextClassifier`, or train a copy of `before` on."""
    join()  # assigns a GPU to each of several processes
    used = len(examples[0]) if sample_weight is None else int(np.count_nonzero(sample_weight))
    with limited_threads(choose(params, "num_threads", Data(used))):
        task = _encode(
            params, examples, eval_examples, unlabelled, before=before, sample_weight=sample_weight
        )
        if not task.settings["network"]:
            return _learn_ngrams(task, before)
        start = process_time()
        recurrent, outcome = fit_network(task, None if before is None else before.recurrent)
        accuracy = {"network": outcome.metrics["accuracy"]} if outcome.metrics else {}
        found = _Fitted(recurrent, outcome.metrics, accuracy)
        seconds, stopped = {"network": process_time() - start}, outcome.stopped
        if task.settings["ngram_order"] and stopped != CTRL_C:
            start = process_time()
            try:
                found = _add_ngrams(recurrent, task, outcome.loss, before)
                seconds["ngrams"] = process_time() - start
            except KeyboardInterrupt:
                stopped = CTRL_C
        if task.settings["ngram_order"] and stopped == CTRL_C:
            found = _keep_ngrams(found, recurrent, before)
        return _to_model(found, seconds, task, replace(outcome, stopped=stopped))


class _Fitted(NamedTuple):
    """A fitted network, its metrics and the accuracy of its parts on the validation part."""

    network: Network
    metrics: dict[str, float]
    accuracy: dict[str, float]
    gain_error: float | None = None


def _learn_ngrams(task: Task, before: Model | None) -> Model:
    """Train a model of n-grams alone."""
    start, loss = process_time(), plain_loss(task)
    found = _add_ngrams(None, task, loss, before)
    outcome = Outcome(history=History(), metrics={}, loss=loss, stopped=None)
    return _to_model(found, {"ngrams": process_time() - start}, task, outcome)


def _encode(
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
    settings = _settings(
        params, Data(len(texts), len(unlabelled or ()), labels.multi_label), before
    )
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


def _warn_of_unknown(eval_set: WordDataset) -> None:
    """Warn if most words of the validation part are unknown, unless it is tiny."""
    words, unknown = _count_words(eval_set)
    if words >= _MIN_WORDS_TO_WARN and unknown > words / 2:
        warnings.warn(
            f"{unknown / words:.0%} of the words of the validation texts are unknown to the "
            "classifier. Check `tokenizer`, `min_freq` and `max_vocab_size`; text without spaces "
            'needs another tokenizer than "word".',
            stacklevel=5,  # where `fit` is called
        )


def _count_words(dataset: WordDataset) -> tuple[int, int]:
    """Return the number of words of a data set, and that of the unknown ones."""
    unknown = dataset.input_ids == dataset.vocabulary.unk_id  # (total,)
    return len(dataset.input_ids) - 2 * len(dataset), int(unknown.sum())


def _scaled(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights that are 1 on average, apart from zeros."""
    relative = weights / weights.max()  # (texts,)
    relative /= relative[relative > 0].mean()
    scaled: NDArray[np.float64] = relative.astype(np.float32).astype(np.float64)
    return scaled  # which single precision has, where tiny ones are 0


def _settings(params: Mapping[str, Any], data: Data, before: Model | None) -> dict[str, Any]:
    """Choose the settings; continued training keeps the kind of n-grams and pretrains nothing."""
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


def _add_ngrams(
    recurrent: RecurrentClassifier | None, task: Task, loss: Loss, before: Model | None
) -> _Fitted:
    """Fit n-grams, regularized by the validation part, and blend them with a network if given."""
    settings, device = task.settings, task.device
    known, unknown = _words(task.train_set.vocabulary), task.train_unknown.words
    train_loader = WithUnknown(
        prediction_loader(task.train_set), task.train_set, task.train_unknown
    )

    def fit(
        loader: Iterable[Batch], *prior_variances: float, more: Iterable[str] = ()
    ) -> Iterator[NgramClassifier]:
        most = _MAX_WEIGHTS // (len(task.labels) * (1 + settings["spelling"]))
        return ngram_path(
            loader,
            vocab_size=len(task.train_set.vocabulary),
            num_classes=len(task.labels),
            prior_variances=prior_variances,
            max_order=settings["ngram_order"],
            max_ngrams=min(settings["max_ngrams"], most),
            class_weights=task.class_weights,
            padding_id=0 if recurrent is None else recurrent.padding_id,
            words=[*known, *unknown, *more] if settings["spelling"] else None,
            vectors=None if task.embedding is None else torch.from_numpy(task.embedding),
            previous=None if before is None else before.ngrams,
        )

    if task.eval_set is None:
        ngrams = next(fit(train_loader, _DEFAULT_VARIANCE))
        return _Fitted(_blend(recurrent, ngrams, torch.tensor(_SCALES)).to(device), {}, {})
    labels, weights = cast("Tensor", task.eval_set.labels), task.eval_set.weights
    eval_texts = (*_encoded(task.eval_set), task.eval_unknown)
    logits = None if recurrent is None else logits_of(recurrent, *eval_texts)  # (texts, classes)
    scales, lowest = torch.ones(2), math.inf
    for trial, ngrams in zip(_VARIANCES, fit(train_loader, *_VARIANCES), strict=True):
        found = logits_of(ngrams.to(device), *eval_texts)  # (texts, classes)
        if logits is None:
            trial_loss = float(Loss()(found.double(), labels, weights))
        else:
            scales, trial_loss = fit_scales(
                (logits, found), labels, weights, prior=_SCALES, prior_texts=_SCALES_TEXTS
            )
        if trial_loss >= lowest:  # and so will be those of the following ones, which take longest
            break
        lowest, variance, best = trial_loss, trial, (ngrams, scales, found)
    ngrams, scales, found = best
    blended = found if logits is None else scales[0] * logits + scales[1] * found
    metrics = _measure(blended, labels, weights, loss)
    name = "N-grams"
    if logits is not None:
        name = "Network and n-grams, with the weights {:.2f} and {:.2f}".format(*scales.tolist())
    _LOGGER.info(
        "%s: log_loss %.4f, accuracy %.4f.", name, metrics["log_loss"], metrics["accuracy"]
    )
    if not task.eval_given:  # the linear model is refitted on all texts
        eval_loader: Any = prediction_loader(task.eval_set)
        eval_loader = WithUnknown(eval_loader, task.eval_set, task.eval_unknown, first=len(unknown))
        every = _Chain(train_loader, eval_loader)
        ngrams = next(fit(every, variance, more=task.eval_unknown.words))
    network = _blend(recurrent, ngrams, scales).to(device)
    right = {"ngrams": _right(found, labels)}
    if logits is None:
        return _Fitted(network, metrics, accuracies(right))
    right |= {"network": _right(logits, labels), "both": _right(blended, labels)}
    return _Fitted(network, metrics, accuracies(right), gain_error(right))


def _blend(
    recurrent: RecurrentClassifier | None, ngrams: NgramClassifier, scales: Tensor
) -> Network:
    """Return n-grams with a network if there is one, in evaluation mode."""
    if recurrent is None:
        return ngrams
    network = BlendedClassifier(recurrent, ngrams)
    network.scales.copy_(scales)
    return network.eval()


def _keep_ngrams(found: _Fitted, recurrent: RecurrentClassifier, before: Model | None) -> _Fitted:
    """Return the classifier of a fit that Ctrl-C ended before n-grams were fitted."""
    if before is None or before.ngrams is None:
        _LOGGER.warning("N-grams were not fitted (%s); the classifier has none.", CTRL_C)
        return found
    scales = torch.tensor(_SCALES)
    if isinstance(before.network, BlendedClassifier):
        scales = before.network.scales
    network = _blend(recurrent, deepcopy(before.ngrams), scales)
    _LOGGER.warning("N-grams were not fitted (%s); the classifier has its earlier ones.", CTRL_C)
    device = next(recurrent.parameters()).device
    return _Fitted(network.to(device), {}, {})  # nothing measured the two


def _right(logits: Tensor, labels: Tensor) -> NDArray[np.bool_]:
    """Tell which texts have the right labels, `(texts,)`."""
    if labels.is_floating_point():
        same = (logits > 0) == (labels > 0)  # (texts, labels)
        return same.all(dim=1).numpy()
    return (logits.argmax(dim=1) == labels).numpy()


def _encoded(dataset: WordDataset) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the ids of all texts, and the number of ids of each."""
    return dataset.input_ids.numpy(), dataset.lengths.numpy()


def _measure(
    logits: Tensor, labels: Tensor, weights: Tensor | None, loss: Loss
) -> dict[str, float]:
    """Return the metrics of logits (texts, classes), with the names that a network's have."""
    kind = MultilabelMetrics if labels.is_floating_point() else ClassificationMetrics
    metrics = kind(logits.shape[1])
    metrics.update(logits, labels)
    return {"log_loss": float(loss.cpu()(logits, labels, weights)), **metrics.compute()}


def _check_logits(network: Network, dataset: WordDataset) -> None:
    """Raise an error if the logits of the first texts are not finite."""
    some = dataset.select(range(min(len(dataset), _CHECKED_TEXTS)))
    if not bool(logits_of(network, *_encoded(some)).isfinite().all()):
        raise NonFiniteLossError(
            "The logits of the trained classifier are NaN or infinite. A lower `learning_rate` or "
            "`max_grad_norm` may help."
        )


class _Chain:
    """The batches of several loaders, one loader after the other, any number of times."""

    def __init__(self, *loaders: Iterable[Batch]) -> None:
        self.loaders = loaders

    def __iter__(self) -> Iterator[Batch]:
        return chain.from_iterable(self.loaders)


def _words(vocabulary: Vocabulary) -> list[str]:
    """Return the word of each id, empty for special tokens."""
    specials = len(vocabulary.specials)
    return [""] * specials + list(vocabulary.tokens[specials:])


def _to_model(found: _Fitted, cpu_seconds: dict[str, float], task: Task, outcome: Outcome) -> Model:
    """Return the model of a trained network, with the facts about its texts."""
    _check_logits(found.network, task.train_set)
    train_set, labels = task.train_set, cast("Tensor", task.train_set.labels)
    counts = labels.sum(0) if labels.ndim == 2 else labels.bincount(minlength=len(task.labels))
    words, unknown = _count_words(train_set)
    eval_words, eval_unknown = (0, 0) if task.eval_set is None else _count_words(task.eval_set)
    data = {
        "train_texts": len(train_set),
        "label_counts": [int(count) for count in counts],
        "mean_words": words / len(train_set),
        "cut_texts": int((train_set.lengths >= task.settings["max_length"]).sum()),
        "coverage": 1 - unknown / max(words, 1),
        "eval_texts": 0 if task.eval_set is None else len(task.eval_set),
        "eval_given": task.eval_given,
        "unlabelled_texts": task.unlabelled,
        "vectors": task.vectors,
        "stopped": outcome.stopped,
        "columns": None,
    }
    report = FitReport(
        texts=0 if task.eval_set is None else len(task.eval_set),
        accuracy=found.accuracy,
        cpu_seconds=cpu_seconds,
        gain_error=found.gain_error,
        unknown_words=eval_unknown / eval_words if eval_words else None,
    )
    if isinstance(found.network, BlendedClassifier):
        names, scales = ("network", "ngrams"), found.network.scales.tolist()
        report = replace(report, blend_weights=dict(zip(names, scales, strict=True)))
    return Model(
        network=found.network,
        vocabulary=train_set.vocabulary,
        tokenizer=train_set.tokenizer,
        labels=task.labels,
        settings=task.settings,
        data=data,
        report=report,
        history=outcome.history,
        metrics=found.metrics,
        eval_texts=(
            None if task.eval_set is None else (*_encoded(task.eval_set), task.eval_unknown)
        ),
    )
