"""Training a classifier's embedding and encoder on texts without labels."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from textrnn.data import Batch, BucketBatchSampler, PaddingCollator, WordDataset
from textrnn.errors import InvalidTypeError, InvalidValueError, check_float, check_int, expected
from textrnn.nn import LanguageModel, RecurrentClassifier, perplexity
from textrnn.training.callbacks import Callback
from textrnn.training.evaluation import undisturbed_modes
from textrnn.training.history import History, Record
from textrnn.training.loaders import EpochBatches
from textrnn.training.resume.generators import undisturbed_generators
from textrnn.training.schedulers import linear_warmup
from textrnn.training.trainer import Trainer, check_model

__all__ = ["parameter_groups", "pretrain", "usual_batch_size"]

_BATCH_IDS = 2500  # of a batch on average: smaller ones learn more in an epoch, larger ones faster
_KEPT = ("epoch", "step", "loss", "learning_rate", "seconds")


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
    progress: bool = True,
    resume_from: str | PathLike[str] | None = None,
) -> History:
    """Train a classifier's embedding and encoder as a language model, in place.

    They learn to predict the words of texts, for which no labels are needed, and know words and
    phrases when the classifier is trained afterwards (Dai and Le, 2015, "Semi-supervised Sequence
    Learning"; Howard and Ruder, 2018, "Universal Language Model Fine-tuning for Text
    Classification"). Take the texts to classify, their labels left aside, and more of their kind.
    See `LanguageModel` for what is predicted; pooling and head are not touched.

    The rate of AdamW rises over a tenth of all steps and falls to 0 from there.

    Args:
        model: The classifier.
        dataset: The texts, with or without labels, as a `WordDataset`; or batches of them, anew
            each time they are iterated.
        eval_dataset: Texts to evaluate on at the end of each epoch; the weights of the lowest
            perplexity come back then. Default: none.
        epochs: How many times to go through the texts in all, also when resuming.
        batch_size: Texts in a batch of a `WordDataset`. Default: so many that a batch has 2,500
            tokens on average, but from 8 to 128.
        learning_rate: The highest rate.
        weight_decay: That of AdamW.
        dropout: Dropout on states, as for `LanguageModel`.
        max_grad_norm: The norm that gradients are scaled down to where they exceed it; None for
            any.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``, as for the `Trainer`.
        device: Where to train; the classifier is moved there. Default: where it is.
        seed: Seed of the order of a `WordDataset`, of the new weights and of dropout. The global
            generators are left as they were.
        callbacks: Those who watch, such as `Checkpoint`. They see the language model.
        progress: Whether to show a bar on a terminal.
        resume_from: The folder of a `Checkpoint` to continue from. Default: none.

    Returns:
        The history. Besides ``loss``, the mean negative logarithm of a token's probability, it has
        ``perplexity``, the exponential of that: between how many words the model hesitates. With
        ``eval_dataset`` there are ``eval_loss`` and ``eval_perplexity``, without dropout and
        exact over all tokens; while training, means are taken batch by batch. Where several
        processes train together, the part of each counts by its texts.

    Raises:
        InvalidTypeError: If an argument has a wrong type.
        InvalidValueError: If an argument is out of range, or there are no texts.
        NonFiniteLossError: If the loss became NaN or infinite.
        CorruptFileError: If a checkpoint is whole, but can't be used.

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
    with undisturbed_modes(model), undisturbed_generators(()):
        torch.manual_seed(seed)
        network = LanguageModel(model, dropout=dropout)
        trainer = Trainer(
            network,
            optimizer=torch.optim.AdamW(
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
            # A GPU wants all layers in one piece, which the first one may have been taken out of.
            model.encoder.rnn.flatten_parameters()
    return History(map(_in_words, history))


def parameter_groups(
    model: RecurrentClassifier, learning_rate: float, *, decay: float = 2.6
) -> list[dict[str, Any]]:
    """Divide a classifier's weights into groups whose rates fall from the head to the embedding.

    What was pretrained keeps more of what it knows if it is changed less than a new head
    ("discriminative fine-tuning": Howard and Ruder, 2018). Schedulers keep the ratio of the rates.

    Args:
        model: The classifier.
        learning_rate: The head's rate.
        decay: By how much each layer's rate is smaller than that of the layer above it, 1 or more;
            theirs is 2.6.

    Returns:
        Groups for a torch optimizer: the head, the recurrent layers from the last to the first,
        the embedding, each with its weights as ``"params"`` and its rate as ``"lr"``.

    Raises:
        InvalidTypeError: If an argument has a wrong type.
        InvalidValueError: If a number is out of range.

    Example:
        >>> model = RecurrentClassifier(100, num_classes=4, hidden_size=8)
        >>> optimizer = torch.optim.AdamW(parameter_groups(model, 0.002, decay=2))
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


class _Unlabelled:
    """Batches with a label that nobody reads for each text, since the trainer wants some.

    Args:
        loader: Batches, labelled or not.
    """

    def __init__(self, loader: Iterable[Batch]) -> None:
        self.loader: Any = loader
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        feed = EpochBatches(self.loader, epoch=self.epoch)
        while not feed.exhausted():
            for batch in feed.take(1):
                yield replace(batch, labels=torch.zeros(len(batch), dtype=torch.int64))


def _loader(
    name: str, source: Any, batch_size: int | None, device: torch.device, seed: int | None
) -> _Unlabelled:
    """Return batches, those of a data set in the order of the seed or of its lengths."""
    if not isinstance(source, WordDataset):
        if not isinstance(source, Iterable) or isinstance(source, Iterator):
            rule = "a WordDataset, or batches that can be iterated anew each time"
            raise InvalidTypeError(expected(name, rule, source))
        return _Unlabelled(source)
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
    )
    return _Unlabelled(loader)


def usual_batch_size(dataset: WordDataset) -> int:
    """Return how many texts `pretrain` puts in a batch where nobody says: 2,500 tokens on average.

    Args:
        dataset: The texts, at least one.

    Example:
        >>> from textrnn.text import Vocabulary
        >>> usual_batch_size(WordDataset(["oil " * 98] * 300, None, Vocabulary({}), str.split))
        25
    """
    mean = float(dataset.lengths.double().mean())
    return min(max(round(_BATCH_IDS / mean), 8), 128)


def _mean_loss(scores: Tensor, _labels: Tensor) -> Tensor:
    """Return the mean negative logarithm of the probability of a batch's tokens."""
    total, count = scores.sum(0)
    return torch.div(total, count.clamp(min=1))


def _in_words(record: Record) -> dict[str, float]:
    """Return what a record says of a language model: losses and perplexities."""
    kept = {name: record[name] for name in _KEPT}
    kept["perplexity"] = _exp(record["loss"])
    if "eval_perplexity" in record:
        # The trainer's own mean weighs all texts alike, however long they are.
        kept["eval_loss"] = math.log(record["eval_perplexity"])
        kept["eval_perplexity"] = record["eval_perplexity"]
    return kept


def _exp(loss: float) -> float:
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
