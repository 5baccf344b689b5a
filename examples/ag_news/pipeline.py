"""From texts to a trained network with the parts of the library: the module to copy from.

`Encoded` turns texts into data sets and loaders, `make_model` and `make_trainer` do the rest:
`make_trainer(...).fit(training_loader, evaluation_batches, epochs=5)` trains, `predict` applies.
"""

from collections.abc import Sequence
from math import ceil
from typing import Any

import torch
from torch.utils.data import DataLoader

from examples.ag_news.data import CLASSES, Corpus, Texts
from examples.ag_news.experiments import Experiment
from textrnn.data import Batch, BucketBatchSampler, PaddingCollator, WordDataset
from textrnn.nn import RecurrentClassifier
from textrnn.text import Vocabulary, WordTokenizer
from textrnn.training import Callback, Trainer
from textrnn.training.distributed import join

__all__ = ["Encoded", "make_model", "make_trainer", "scale_min_freq"]

BATCH_SIZE = 128
MAX_LENGTH = 256


def scale_min_freq(min_freq: int, texts: int) -> int:
    """Scale a minimum count in 120,000 texts to fewer texts, but not below 2.

    Unscaled, it would keep far fewer words: 4,653 instead of 11,842 in a quarter of the texts.
    """
    return max(min(min_freq, 2), ceil(min_freq * texts / 120_000))


class Encoded:
    """An encoded corpus, with the vocabulary of its training texts."""

    def __init__(self, corpus: Corpus, min_freq: int) -> None:
        self.tokenizer = WordTokenizer()
        self.vocabulary = Vocabulary.from_texts(
            corpus.train.texts, self.tokenizer, min_freq=min_freq
        )
        self.train = self.encode(corpus.train)
        self.validation = self.encode(corpus.validation)
        self.test = self.encode(corpus.test)

    def encode(self, part: Texts) -> WordDataset:
        """Return texts as sequences of ids."""
        return WordDataset(
            part.texts, part.labels, self.vocabulary, self.tokenizer, max_length=MAX_LENGTH
        )

    def training_loader(self, *, seed: int, pin_memory: bool = False) -> DataLoader[dict[str, Any]]:
        """Return a shuffled loader of this process's share of batches of similar length."""
        batch_size = ceil(BATCH_SIZE / join().count)
        return DataLoader(
            self.train,
            batch_sampler=BucketBatchSampler(self.train, batch_size, seed=seed),
            collate_fn=PaddingCollator(self.vocabulary.pad_id),
            pin_memory=pin_memory,
        )

    def evaluation_batches(self, dataset: WordDataset, device: torch.device) -> list[Batch]:
        """Return this process's share of the batches of a data set, kept on the device."""
        loader = DataLoader(
            dataset,
            batch_sampler=BucketBatchSampler(dataset, 2 * BATCH_SIZE, shuffle=False),
            collate_fn=PaddingCollator(self.vocabulary.pad_id),
        )
        return [batch.to(device) for batch in loader]


def make_model(experiment: Experiment, vocabulary: Vocabulary) -> RecurrentClassifier:
    """Return the network of an experiment, initialized from the global generator."""
    return RecurrentClassifier(
        len(vocabulary),
        num_classes=len(CLASSES),
        cell=experiment.cell,
        hidden_size=experiment.hidden_size,
        num_layers=experiment.num_layers,
        pooling=experiment.pooling,
        dropout=experiment.dropout,
        padding_id=vocabulary.pad_id,
    )


def make_trainer(
    experiment: Experiment,
    model: RecurrentClassifier,
    callbacks: Sequence[Callback],
    *,
    device: torch.device,
    precision: str,
) -> Trainer:
    """Return a trainer with Adam that keeps the weights of the best validation accuracy."""
    fused = device.type in {"cpu", "cuda"}  # faster, with the same updates
    optimizer = torch.optim.Adam(model.parameters(), lr=experiment.learning_rate, fused=fused)
    scheduler = None
    if experiment.gamma is not None:
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, experiment.gamma)
    return Trainer(
        model,
        optimizer=optimizer,
        scheduler=scheduler,
        precision=precision,
        monitor="accuracy",
        mode="max",
        callbacks=callbacks,
        device=device,
    )
