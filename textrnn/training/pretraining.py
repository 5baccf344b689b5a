"""Pretrain a classifier's embedding and encoder as a language model, on texts without labels."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from textrnn.data import Batch, BucketBatchSampler, PaddingCollator, WordDataset
from textrnn.errors import InvalidTypeError, InvalidValueError, check_float, check_int, expected
from textrnn.nn import LanguageModel, RecurrentClassifier, perplexity
from textrnn.training.adamw import AdamW
from textrnn.training.callbacks import Callback
from textrnn.training.evaluation import undisturbed_modes
from textrnn.training.history import History, Record
from textrnn.training.loaders import EpochBatches, draws_from_own
from textrnn.training.schedulers import linear_warmup
from textrnn.training.trainer import Trainer, check_model

__all__ = ["parameter_groups", "pretrain", "usual_batch_size"]

_BATCH_TOKENS = 2500  # on average: smaller batches learn more per epoch, larger ones are faster
_RECORDED = ("epoch", "step", "loss", "learning_rate", "seconds")


def pretrain(
    model: RecurrentClassifier,
    dataset: WordDataset | Iterable[Batch],
    eval_dataset: WordDataset | Iterable[Batch] | None = None,
    *,
    epochs: int = 1,
    batch_size: int | None = None,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.01,
    dropout: float = 0.1,
    max_grad_norm: float | None = 1.0,
    precision: str = "fp32",
    device: torch.device | str | None = None,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
    resume_from: str | PathLike[str] | None = None,
) -> History:
    """Train a classifier's embedding and encoder as a language model, in place.

    They learn to predict the words of texts, which needs no labels, before the classifier is
    trained (Dai and Le, 2015, "Semi-supervised Sequence Learning"; Howard and Ruder, 2018,
    "Universal Language Model Fine-tuning for Text Classification"). Use the texts to classify and
    more of their kind. See `LanguageModel` for the training objective; pooling and head do not
    change.

    The learning rate of AdamW rises over a tenth of all steps and then falls to 0.

    Args:
        model: The classifier.
        dataset: The texts, with or without labels, as a `WordDataset`, or batches of them that
            can be iterated repeatedly. Weights of texts are ignored.
        eval_dataset: Texts to evaluate on at the end of each epoch; the weights of the lowest
            perplexity are restored at the end. Default: none.
        epochs: Total number of epochs, also when resuming. Default: 1.
        batch_size: Texts per batch of a `WordDataset`. Default: that of batches of 2,500
            tokens on average, from 8 to 128.
        learning_rate: Maximum learning rate. Default: 0.002.
        weight_decay: Weight decay of AdamW. Default: 0.01.
        dropout: Dropout on states, see `LanguageModel`. Default: 0.1.
        max_grad_norm: Norm to which larger gradients are scaled, or None for no limit.
            Default: 1.0.
        precision: `"fp32"`, `"bf16"` or `"fp16"`, see `Trainer`. Default: `"fp32"`.
        device: Device to train on; the classifier is moved there. Default: its own.
        seed: Seed of the order of a `WordDataset`, of new weights and of dropout. Global
            generators are not used, except by batches of one's own. Default: 0.
        callbacks: Callbacks such as `Checkpoint`; they see the language model. Default: none.
        progress: None for a bar on a terminal or in a notebook, True for a line per epoch elsewhere
            too, False for neither; see `ProgressBar`. Default: None.
        resume_from: Folder of a `Checkpoint` to continue from, or `"auto"`, see `Trainer.fit`.
            Default: none.

    Returns:
        The history. Besides `loss`, the mean negative log-likelihood per token, it has
        `perplexity`, the exponential of that. With `eval_dataset` there are `eval_loss` and
        `eval_perplexity`, without dropout and exact over all tokens; values of training are means
        over batches. Several processes are weighted by their numbers of texts.

    Raises:
        InvalidTypeError: If an argument has a wrong type.
        InvalidValueError: If an argument is out of range, or there are no texts.
        NonFiniteLossError: If the loss became NaN or infinite.
        CorruptFileError: If a checkpoint is complete but can't be used.

    Example:
        >>> from textrnn.text import Vocabulary
        >>> texts = ["oil prices soar", "oil prices fall", "gas prices fall"] * 8
        >>> vocabulary = Vocabulary.build(map(str.split, texts))
        >>> dataset = WordDataset(texts, None, vocabulary, str.split)
        >>> model = RecurrentClassifier(len(vocabulary), num_classes=2, hidden_size=16)
        >>> history = pretrain(model, dataset, epochs=20, batch_size=8, learning_rate=0.02)
        >>> history["perplexity"][0] > 5, history["perplexity"][-1] < 2
        (True, True)
    """
    if not isinstance(model, RecurrentClassifier):
        raise InvalidTypeError(expected("model", "a RecurrentClassifier", model))
    learning_rate = check_float("learning_rate", learning_rate, minimum=0.0, exclusive=True)
    weight_decay = check_float("weight_decay", weight_decay, minimum=0.0)
    seed = check_int("seed", seed, minimum=0)
    if batch_size is not None:
        batch_size = check_int("batch_size", batch_size)
    _, target = check_model(model, device)
    loader = _loader("dataset", dataset, batch_size, target, seed)
    eval_loader = None
    if eval_dataset is not None:
        eval_loader = _loader("eval_dataset", eval_dataset, batch_size, target, None)
    with undisturbed_modes(model), _drawing_from(model, torch.Generator().manual_seed(seed)):
        network = LanguageModel(model, dropout=dropout)
        trainer = Trainer(
            network,
            optimizer=AdamW(
                network.parameters(),
                lr=learning_rate,
                weight_decay=weight_decay,
                fused=target.type in {"cpu", "cuda"},
            ),
            loss=_mean_loss,
            scheduler=linear_warmup(),
            max_grad_norm=max_grad_norm,
            precision=precision,
            metrics={"perplexity": lambda scores, _: perplexity(scores)},
            monitor="perplexity" if eval_loader is not None else "loss",
            callbacks=callbacks,
            progress=progress,
            device=target,
        )
        try:
            history = trainer.fit(loader, eval_loader, epochs=epochs, resume_from=resume_from)
        finally:
            # A GPU wants all weights in one block, which the first layer may have left.
            model.encoder.rnn.flatten_parameters()
    return History(map(_with_perplexity, history))


def parameter_groups(
    model: RecurrentClassifier, learning_rate: float, *, decay: float = 2.6
) -> list[dict[str, Any]]:
    """Return parameter groups whose learning rates fall from the head to the embedding.

    Lower rates preserve more of what was pretrained ("discriminative fine-tuning": Howard and
    Ruder, 2018). Schedulers keep the ratio of the rates.

    Args:
        model: The classifier.
        learning_rate: Learning rate of the head.
        decay: Factor by which each layer's rate is smaller than that of the layer above it,
            at least 1. Default: 2.6.

    Returns:
        Groups for a torch optimizer: the head, the recurrent layers from the last to the first,
        the embedding, each with its weights as `"params"` and its rate as `"lr"`.

    Raises:
        InvalidTypeError: If an argument has a wrong type.
        InvalidValueError: If a number is out of range.

    Example:
        >>> model = RecurrentClassifier(100, num_classes=4, hidden_size=8)
        >>> optimizer = AdamW(parameter_groups(model, 0.002, decay=2))
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.002, 0.001, 0.0005]
    """
    if not isinstance(model, RecurrentClassifier):
        raise InvalidTypeError(expected("model", "a RecurrentClassifier", model))
    rate = check_float("learning_rate", learning_rate, minimum=0.0, exclusive=True)
    decay = check_float("decay", decay, minimum=1.0)
    encoder = model.encoder
    directions = 2 if encoder.bidirectional else 1
    weights = encoder.rnn.all_weights  # of each layer and direction
    layers = [
        [weight for part in weights[first : first + directions] for weight in part]
        for first in range(0, len(weights), directions)
    ]
    lower = [list(model.embedding.parameters()), *layers]
    known = {id(weight) for group in lower for weight in group}
    head = [weight for weight in model.parameters() if id(weight) not in known]
    return [
        {"params": params, "lr": rate / decay**depth}
        for depth, params in enumerate((head, *reversed(lower)))
    ]


@contextmanager
def _drawing_from(model: RecurrentClassifier, generator: torch.Generator) -> Iterator[None]:
    """Make a model draw from a generator, and at the end from its own again."""
    own, model.generator = model.generator, generator
    try:
        yield
    finally:
        model.generator = own


class _DummyLabels:
    """Batches of a loader with zeros as labels, which the trainer requires and the loss ignores."""

    def __init__(self, loader: Iterable[Batch]) -> None:
        self.loader: Any = loader
        self.draws_from_own = draws_from_own(loader)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the next epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        feed = EpochBatches(self.loader, epoch=self.epoch)
        while not feed.exhausted():
            for batch in feed.take(1):
                labels = torch.zeros(len(batch), dtype=torch.int64)
                yield replace(batch, labels=labels, weights=None)


def _loader(
    name: str, source: Any, batch_size: int | None, device: torch.device, seed: int | None
) -> _DummyLabels:
    """Return batches; those of a data set are shuffled by the seed, or sorted by length without."""
    if not isinstance(source, WordDataset):
        if not isinstance(source, Iterable) or isinstance(source, Iterator):
            rule = "a WordDataset, or batches that can be iterated anew each time"
            raise InvalidTypeError(expected(name, rule, source))
        return _DummyLabels(source)
    if not len(source):
        raise InvalidValueError(expected(name, "at least one text", source))
    if batch_size is None:
        batch_size = usual_batch_size(source)
    sampler = BucketBatchSampler(source, batch_size, shuffle=seed is not None, seed=seed or 0)
    loader: DataLoader[Any] = DataLoader(
        source,
        batch_sampler=sampler,
        collate_fn=PaddingCollator(source.vocabulary.pad_id),
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # so that it draws nothing from the global one
    )
    return _DummyLabels(loader)


def usual_batch_size(dataset: WordDataset) -> int:
    """Return the number of texts per batch for 2,500 tokens on average, from 8 to 128."""
    mean = float(dataset.lengths.double().mean())
    return min(max(round(_BATCH_TOKENS / mean), 8), 128)


def _mean_loss(scores: Tensor, _labels: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of a batch's tokens."""
    total, count = scores.sum(0)
    return torch.div(total, count.clamp(min=1))


def _with_perplexity(record: Record) -> dict[str, float]:
    """Return a record with the losses and perplexities of a language model."""
    kept = {name: record[name] for name in _RECORDED}
    kept["perplexity"] = _exp(record["loss"])
    if "eval_perplexity" in record:
        # The trainer's own mean weights all texts equally, however long they are.
        kept["eval_loss"] = math.log(record["eval_perplexity"])
        kept["eval_perplexity"] = record["eval_perplexity"]
    return kept


def _exp(loss: float) -> float:
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
