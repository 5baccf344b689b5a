"""From columns of texts and labels to a trained model, and from that to predictions."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from textrnn.data import Batch, WordDataset
from textrnn.data.dataset import draw_stratified
from textrnn.errors import InvalidTypeError, InvalidValueError, expected
from textrnn.estimator.batches import Column, Loader, prediction_loader
from textrnn.estimator.labels import LabelSet, LabelValues, label_values
from textrnn.estimator.model import Model
from textrnn.estimator.network import class_weights_of, fit_network, resolve_device, seeded
from textrnn.estimator.settings import Settings
from textrnn.ngrams import BlendedClassifier, NgramClassifier, fit_scales, ngram_path
from textrnn.ngrams.model import longest_order
from textrnn.nn import RecurrentClassifier
from textrnn.text import Vocabulary, WordPunctTokenizer
from textrnn.training.distributed.processes import join
from textrnn.training.evaluation import evaluate, predict
from textrnn.training.losses import Loss
from textrnn.training.step import Precision

__all__ = ["Examples", "blend", "hold_out", "learn", "strings"]

_LEAST_TO_HOLD_OUT = 100  # fewer texts are too few to spare some, and to tell epochs apart


@dataclass(frozen=True)
class Examples:
    """Texts with a label for each, or with a list of labels for each.

    Args:
        texts: The texts.
        labels: Their labels, as `label_values` gives them.

    Raises:
        InvalidValueError: If there are none, or not as many labels as texts.
    """

    texts: Column
    labels: LabelValues

    @classmethod
    def of(cls, texts: Any, labels: Any) -> "Examples":
        """Return examples from columns of any kind.

        Raises:
            InvalidTypeError: If one of them is no column, or a text is not a string.
            InvalidValueError: If there are no texts, a label is missing, or there are not as many
                labels as texts.
        """
        column, values = strings("texts", texts), label_values(labels)
        if len(values) != len(column):
            rule = f"as many as the {len(column)} texts"
            raise InvalidValueError(expected("labels", rule, len(values)))
        if not len(column):
            raise InvalidValueError(expected("texts", "at least one text", []))
        return cls(column, values)


def strings(name: str, texts: Any) -> Column:
    """Return a column of strings.

    Args:
        name: What the argument is called, for the messages.
        texts: A column of any kind.

    Raises:
        InvalidTypeError: If it is no column, or a text is not a string.
    """
    column = Column.of(texts, name)
    for position, text in enumerate(column):
        # Looked for here, since a part of the texts would have other positions.
        if not isinstance(text, str):
            raise InvalidTypeError(expected(f"{name}[{position}]", "a string", text))
    return column


def learn(
    params: Mapping[str, Any],
    examples: Examples,
    eval_examples: Examples | None,
    unlabelled: Column | None,
    before: Model | None,
) -> Model:
    """Train a model, or train one further.

    Args:
        params: The parameters of a `TextClassifier`.
        examples: What to learn from.
        eval_examples: What tells which weights are best and when to stop; None holds out a part
            of `examples`, unless they are too few.
        unlabelled: Texts without labels to pretrain on besides those of `examples`, or None.
        before: The model to go on with, or None.

    Returns:
        A new model; `before` is not changed.

    Raises:
        InvalidTypeError: If a parameter has the wrong type.
        InvalidValueError: If a parameter is out of range, or nothing is pretrained on `unlabelled`.
        MissingKeyError: If a label is not known.
    """
    join()  # of several processes each has its own GPU from here on
    labels = LabelSet.of(examples.labels) if before is None else before.labels
    targets = labels.encode(examples.labels)
    settings = Settings.choose(
        params,
        num_texts=len(targets),
        multi_label=labels.multi_label,
        num_unlabelled=0 if unlabelled is None else len(unlabelled),
    )
    if before is not None:  # what was learned with labels would be lost by pretraining again
        settings = replace(settings, pretrain_epochs=0)
        if before.ngrams is not None:
            settings = replace(settings, spelling=before.ngrams.spelling)
    if unlabelled is not None and not settings.pretrain_epochs:
        _refuse_unlabelled(unlabelled, goes_on=before is not None)
    class_weights = class_weights_of(params["class_weight"], labels)
    device = resolve_device(params["device"])
    eval_targets = None if eval_examples is None else labels.encode(eval_examples.labels)
    texts, eval_texts = examples.texts, None if eval_examples is None else eval_examples.texts
    if eval_texts is None and len(targets) >= _LEAST_TO_HOLD_OUT and settings.validation_fraction:
        held_out = hold_out(targets, settings.validation_fraction, settings.seed)
        eval_texts, eval_targets = Column(texts.texts, held_out), targets[held_out]
        texts, targets = Column(texts.texts, ~held_out), targets[~held_out]
    tokenizer = params["tokenizer"]
    if tokenizer is None:
        tokenizer = WordPunctTokenizer() if before is None else before.tokenizer
    if before is None:
        vocabulary = Vocabulary.from_texts(
            chain(texts, unlabelled or ()),
            tokenizer,
            min_freq=settings.min_freq,
            max_size=settings.max_vocab_size,
        )
    else:
        vocabulary = before.vocabulary
    if params["ngram_order"] is None:  # of millions of words there are too many sequences to number
        longest = longest_order(len(vocabulary))
        settings = replace(settings, ngram_order=min(settings.ngram_order, longest))

    def encoded(column: Iterable[Any], column_targets: NDArray[Any] | None) -> WordDataset:
        return WordDataset(
            column, column_targets, vocabulary, tokenizer, max_length=settings.max_length
        )

    train_set = encoded(texts, targets)
    eval_set = None if eval_texts is None else encoded(eval_texts, eval_targets)
    corpus = encoded(chain(texts, unlabelled or ()), None) if settings.pretrain_epochs else None
    network, outcome = fit_network(
        train_set,
        eval_set,
        settings,
        before=None if before is None else before.recurrent,
        corpus=corpus,
        num_classes=len(labels),
        class_weights=class_weights,
        device=device,
        progress=params["progress"],
    )
    with seeded(settings.seed, device):
        blended, metrics = None, outcome.metrics
        if settings.ngram_order:
            blended, metrics = blend(
                network,
                train_set,
                eval_set,
                settings,
                previous=None if before is None else before.ngrams,
                class_weights=class_weights,
                loss=outcome.loss,
                held_out=eval_examples is None,
            )
    return Model(
        network=blended or network,
        vocabulary=vocabulary,
        tokenizer=tokenizer,
        labels=labels,
        max_length=settings.max_length,
        settings=settings.to_dict(),
        data=_describe(train_set, targets, len(labels), settings.max_length)
        | {
            "eval_texts": 0 if eval_set is None else len(eval_set),
            "eval_given": eval_examples is not None,
            "unlabelled_texts": 0 if unlabelled is None else len(unlabelled),
            "stopped": outcome.stopped,
        },
        history=outcome.history,
        metrics=metrics,
    )


def _refuse_unlabelled(unlabelled: Column, *, goes_on: bool) -> None:
    """Complain about texts that nobody would read."""
    rule = "None where nothing is pretrained: pretrain_epochs is 0"
    if goes_on:
        rule = "None where training goes on (warm_start), since nothing is pretrained again"
    raise InvalidValueError(expected("unlabelled", rule, unlabelled.texts))


def hold_out(targets: NDArray[Any], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose the texts of a validation part, of every class its share.

    Args:
        targets: Class ids `(texts,)`, or multi-label targets `(texts, labels)`.
        fraction: The share of the texts to choose.
        seed: Seed of the choice.

    Returns:
        Whether each text is chosen, bool `(texts,)`.
    """
    strata = np.zeros(len(targets), dtype=np.int64) if targets.ndim == 2 else targets
    strata = np.unique(strata, return_inverse=True)[1]
    chosen = draw_stratified(strata, fraction, np.random.default_rng(seed))
    # The only text of a class has to be learned from.
    return chosen & ((np.bincount(strata) > 1)[strata] | (targets.ndim == 2))


def _describe(
    train_set: WordDataset, targets: NDArray[Any], num_labels: int, max_length: int
) -> dict[str, Any]:
    """Return the numbers that a model card tells about the data."""
    counts = targets.sum(0) if targets.ndim == 2 else np.bincount(targets, minlength=num_labels)
    words = len(train_set.input_ids) - 2 * len(train_set)
    unknown = int((train_set.input_ids == train_set.vocabulary.unk_id).sum())
    return {
        "train_texts": len(train_set),
        "label_counts": [int(count) for count in counts],
        "mean_words": words / len(train_set),
        "cut_texts": int((train_set.lengths >= max_length).sum()),
        "coverage": 1 - unknown / max(words, 1),
    }


_PRIOR_VARIANCES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_UNTRIED = 10.0  # where there is no validation part to choose by
_MOST_WEIGHTS = 2**23  # of the linear model, whose solver holds some 25 copies: 800 MB


class _Chain:
    """The batches of several loaders, one after the other, any number of times."""

    def __init__(self, *loaders: Iterable[Batch]) -> None:
        self.loaders = loaders

    def __iter__(self) -> Iterator[Batch]:
        return chain.from_iterable(self.loaders)


def blend(
    recurrent: RecurrentClassifier,
    train_set: WordDataset,
    eval_set: WordDataset | None,
    settings: Settings,
    *,
    previous: NgramClassifier | None,
    class_weights: Any,
    loss: Loss,
    held_out: bool,
) -> tuple[BlendedClassifier, dict[str, float]]:
    """Put a linear model over n-grams beside a trained recurrent network.

    The validation part tells how closely that model should fit, and how much each of the two has to
    say.

    Args:
        recurrent: The trained network.
        train_set: The texts to learn from.
        eval_set: The validation part, or None.
        settings: How to train.
        previous: A linear model to go on from, or None.
        class_weights: As the `Trainer` takes them.
        loss: What measures the loss.
        held_out: Whether the validation part was taken from the texts to learn from. The linear
            model, whose fit is chosen by then, learns from it as well in the end.

    Returns:
        Both together, and the measures of the validation part before the linear model saw it.
    """
    device = next(recurrent.parameters()).device
    precision = Precision("fp32", device)
    train_loader: Any = prediction_loader(train_set)
    most = _MOST_WEIGHTS // (recurrent.num_classes * (1 + settings.spelling))
    arguments: dict[str, Any] = {
        "vocab_size": recurrent.vocab_size,
        "num_classes": recurrent.num_classes,
        "max_order": settings.ngram_order,
        "max_ngrams": min(settings.max_ngrams, most),
        "padding_id": recurrent.padding_id,
        "class_weights": class_weights,
        "words": _words(train_set.vocabulary) if settings.spelling else None,
        "previous": previous,
    }
    if eval_set is None:
        path = ngram_path(train_loader, prior_variances=(_UNTRIED,), **arguments)
        return BlendedClassifier(recurrent, path[0]).to(device).eval(), {}
    eval_loader: Loader = prediction_loader(eval_set)
    path = ngram_path(train_loader, prior_variances=_PRIOR_VARIANCES, **arguments)
    read = predict(recurrent, eval_loader, precision=precision)  # (texts, classes)
    labels = cast("Tensor", eval_set.labels)
    trials = []
    for ngrams in path:
        found = predict(ngrams.to(device), eval_loader, precision=precision)  # (texts, classes)
        trials.append(fit_scales((read, found), labels))
    best = min(range(len(trials)), key=lambda index: trials[index][1])
    network = BlendedClassifier(recurrent, path[best])
    network.scales.copy_(trials[best][0])
    network.to(device).eval()
    metrics = evaluate(network, eval_loader, loss, precision=precision)
    if held_out:
        variances = _PRIOR_VARIANCES[best : best + 1]
        both = _Chain(train_loader, eval_loader)
        network.ngrams = ngram_path(both, prior_variances=variances, **arguments)[0].to(device)
    return network, metrics


def _words(vocabulary: Vocabulary) -> list[str]:
    """Return the word of each id; special tokens are none."""
    specials = len(vocabulary.specials)
    return [""] * specials + list(vocabulary.tokens[specials:])
