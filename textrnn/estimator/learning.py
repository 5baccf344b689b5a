"""Training of a classifier: train the network, add the n-grams."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from time import process_time
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textrnn.data import Batch, WordDataset
from textrnn.errors import NonFiniteLossError
from textrnn.estimator.batches import Examples, WithUnknown, prediction_loader
from textrnn.estimator.fit_report import FitReport, accuracies, gain_error
from textrnn.estimator.model import Model, Network, logits_of
from textrnn.estimator.network import Outcome, fit_network, plain_loss
from textrnn.estimator.settings import Data, choose
from textrnn.estimator.task import Task, count_words, make_task
from textrnn.estimator.threads import limited_threads
from textrnn.ngrams import BlendedClassifier, NgramClassifier, fit_scales, ngram_path
from textrnn.nn import RecurrentClassifier
from textrnn.text import Vocabulary
from textrnn.training import ClassificationMetrics, History, MultilabelMetrics
from textrnn.training.distributed.processes import join
from textrnn.training.loop import CTRL_C
from textrnn.training.losses import Loss

__all__ = ["learn"]

_LOGGER = logging.getLogger("textrnn")
_CHECKED_TEXTS = 64
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
        task = make_task(
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
    words, unknown = count_words(train_set)
    eval_words, eval_unknown = (0, 0) if task.eval_set is None else count_words(task.eval_set)
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
