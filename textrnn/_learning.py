"""From columns of texts and labels to a trained model, and from that to predictions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from textrnn._labels import LabelSet, LabelValues, label_values
from textrnn._loading import Column, learning_loader, prediction_loader
from textrnn._model import Model
from textrnn._settings import Settings
from textrnn.data import WordDataset
from textrnn.data.splitting import draw_stratified
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    check_float,
    expected,
    show,
)
from textrnn.nn import RecurrentClassifier
from textrnn.text import Vocabulary, WordTokenizer
from textrnn.training import Callback, EarlyStopping, History, Trainer, WeightAveraging, schedulers
from textrnn.training.callbacks import ProgressBar

__all__ = ["Examples", "hold_out", "learn", "resolve_device"]

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
            InvalidTypeError: If one of them is no column.
            InvalidValueError: If there are no texts, a label is missing, or there are not as many
                labels as texts.
        """
        column, values = Column.of(texts), label_values(labels)
        if len(values) != len(column):
            rule = f"as many as the {len(column)} texts"
            raise InvalidValueError(expected("labels", rule, len(values)))
        if not len(column):
            raise InvalidValueError(expected("texts", "at least one text", []))
        return cls(column, values)


def learn(
    params: Mapping[str, Any],
    examples: Examples,
    eval_examples: Examples | None,
    before: Model | None,
) -> Model:
    """Train a model, or train one further.

    Args:
        params: The parameters of a `TextClassifier`.
        examples: What to learn from.
        eval_examples: What tells which weights are best and when to stop; None holds out a part
            of `examples`, unless they are too few.
        before: The model to go on with, or None.

    Returns:
        A new model; `before` is not changed.

    Raises:
        InvalidTypeError: If a parameter has the wrong type.
        InvalidValueError: If a parameter is out of range.
        MissingKeyError: If a label is not known.
    """
    labels = LabelSet.of(examples.labels) if before is None else before.labels
    targets = labels.encode(examples.labels)
    settings = Settings.choose(params, num_texts=len(targets), multi_label=labels.multi_label)
    class_weights = _class_weights(params["class_weight"], labels)
    device = resolve_device(params["device"])
    eval_targets = None if eval_examples is None else labels.encode(eval_examples.labels)
    texts, eval_texts = examples.texts, None if eval_examples is None else eval_examples.texts
    if eval_texts is None and len(targets) >= _LEAST_TO_HOLD_OUT and settings.validation_fraction:
        held_out = hold_out(targets, settings.validation_fraction, settings.seed)
        eval_texts, eval_targets = Column(texts.texts, held_out), targets[held_out]
        texts, targets = Column(texts.texts, ~held_out), targets[~held_out]
    tokenizer = params["tokenizer"] or (WordTokenizer() if before is None else before.tokenizer)
    if before is None:
        vocabulary = Vocabulary.from_texts(
            texts, tokenizer, min_freq=settings.min_freq, max_size=settings.max_vocab_size
        )
    else:
        vocabulary = before.vocabulary

    def encoded(column: Column, column_targets: NDArray[Any] | None) -> WordDataset:
        return WordDataset(
            column, column_targets, vocabulary, tokenizer, max_length=settings.max_length
        )

    train_set = encoded(texts, targets)
    eval_set = None if eval_texts is None else encoded(eval_texts, eval_targets)
    with _seeded(settings.seed, device):
        network = _network(settings, len(vocabulary), len(labels), before)
        history, metrics = _train(
            network,
            train_set,
            eval_set,
            settings,
            class_weights=class_weights,
            device=device,
            progress=params["progress"],
        )
    return Model(
        network=network,
        vocabulary=vocabulary,
        tokenizer=tokenizer,
        labels=labels,
        max_length=settings.max_length,
        settings=settings.to_dict(),
        data=_describe(train_set, targets, len(labels), settings.max_length)
        | {
            "eval_texts": 0 if eval_set is None else len(eval_set),
            "eval_given": eval_examples is not None,
        },
        history=history,
        metrics=metrics,
    )


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


def resolve_device(device: Any) -> torch.device:
    """Return the device of that name; `"auto"` is a CUDA GPU where there is one, else the CPU.

    Raises:
        InvalidTypeError: If `device` is no name of a device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except (RuntimeError, TypeError):
        rule = "'auto' or the name of a device, such as 'cpu' or 'cuda:0'"
        raise InvalidTypeError(expected("device", rule, device)) from None


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from torch's generators as if they were seeded, and leave them as they were."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _network(
    settings: Settings, vocab_size: int, num_classes: int, before: Model | None
) -> RecurrentClassifier:
    """Return a new network, or a copy of the one that there was."""
    if before is not None:
        return deepcopy(before.network)
    return RecurrentClassifier(
        vocab_size,
        num_classes=num_classes,
        cell=settings.cell,
        hidden_size=settings.hidden_size,
        embedding_size=settings.embedding_size,
        num_layers=settings.num_layers,
        bidirectional=settings.bidirectional,
        pooling=settings.pooling,
        dropout=settings.dropout,
        embedding_dropout=settings.embedding_dropout,
        layer_dropout=settings.layer_dropout,
    )


def _train(
    network: RecurrentClassifier,
    train_set: WordDataset,
    eval_set: WordDataset | None,
    settings: Settings,
    *,
    class_weights: Any,
    device: torch.device,
    progress: bool,
) -> tuple[History, dict[str, float]]:
    """Train a network in place; return the history and the measures of the weights kept."""
    loader = learning_loader(
        train_set,
        batch_size=settings.batch_size,
        word_dropout=settings.word_dropout,
        seed=settings.seed,
        pin_memory=device.type == "cuda",
    )
    eval_loader = None if eval_set is None else prediction_loader(eval_set)
    callbacks: list[Callback] = [ProgressBar(disable=None if progress else True)]
    if eval_loader is not None:
        callbacks.append(EarlyStopping(settings.patience))
    network.to(device)
    trainer = Trainer(
        network,
        optimizer=torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        ),
        scheduler=schedulers.linear_warmup(),
        class_weights=class_weights,
        label_smoothing=settings.label_smoothing,
        max_grad_norm=settings.max_grad_norm,
        weight_averaging=_averaging(settings, len(loader) * settings.epochs),
        precision=settings.precision,
        callbacks=callbacks,
    )
    history = trainer.fit(loader, eval_loader, epochs=settings.epochs)
    network.eval()
    return history, {} if eval_loader is None else trainer.evaluate(eval_loader)


def _averaging(settings: Settings, steps: int) -> WeightAveraging | None:
    """Return how weights are averaged; an EMA forgets within a tenth of all steps."""
    if settings.weight_averaging == "ema":
        return WeightAveraging(kind="ema", decay=min(max(1 - 10 / steps, 0.5), 0.999))
    kind = settings.weight_averaging
    return None if kind is None else WeightAveraging.of(kind)


def _class_weights(given: Any, labels: LabelSet) -> Any:
    """Return a weight for each class, or what the trainer understands by itself."""
    if given is None or (isinstance(given, str) and given == "balanced"):
        return given
    if not isinstance(given, Mapping):
        rule = "'balanced', or a mapping of labels to weights"
        raise InvalidTypeError(expected("class_weight", rule, given))
    weights = [1.0] * len(labels)
    for name, weight in given.items():
        weights[labels.id_of(name)] = check_float(
            f"class_weight[{show(name)}]", weight, minimum=0.0, exclusive=True
        )
    return weights


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
