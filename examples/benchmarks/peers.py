"""The same model trained by Hugging Face's Trainer, by Lightning and by skorch.

In one benchmark each gets the same ready batches, so that only the loops differ. In the other each
gets raw texts and loads them as its documentation shows.
"""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from examples.benchmarks import notebook
from examples.benchmarks.corpus import Corpus
from examples.benchmarks.measuring import Measurement, in_turns, ratio
from examples.benchmarks.training import bucketed, classifier, one_epoch, ready_batches
from textrnn import Batch, RecurrentClassifier, Vocabulary, WordDataset, WordTokenizer

_TEXTS = 7680


class _Rows(IterableDataset[dict[str, Tensor]]):
    """Ready batches as dictionaries."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.rows = [
            {"input_ids": b.input_ids, "lengths": b.lengths, "labels": b.labels} for b in batches
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


class _WithLoss(nn.Module):
    """A model that computes its loss, as Hugging Face's Trainer requires."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.loss = nn.CrossEntropyLoss()

    def forward(self, input_ids: Tensor, lengths: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.model(input_ids, lengths)  # (batch, classes)
        return {"loss": self.loss(logits, labels), "logits": logits}


def hugging_face(
    model: nn.Module, data: Any, collate: Any, batch_size: int
) -> Callable[[], object]:
    """Return a call that trains for an epoch with Hugging Face's Trainer."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    folder = tempfile.mkdtemp()
    ready = isinstance(data, IterableDataset)
    arguments = TrainingArguments(
        output_dir=folder,
        num_train_epochs=1,
        max_steps=len(data) if ready else -1,
        per_device_train_batch_size=1 if ready else batch_size,
        learning_rate=1e-3,
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        optim="adamw_torch",
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    wrapped = _WithLoss(model)

    def run() -> None:
        trainer = Trainer(model=wrapped, args=arguments, train_dataset=data, data_collator=collate)
        trainer.remove_callback(PrinterCallback)
        trainer.train()

    return run


def lightning(model: nn.Module, loader: Any) -> Callable[[], object]:
    """Return a call that trains for an epoch with Lightning."""
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.loss = nn.CrossEntropyLoss()

        def training_step(self, batch: Any, index: int) -> Tensor:
            del index
            result: Tensor = self.loss(
                self.model(batch["input_ids"], batch["lengths"]), batch["labels"]
            )
            return result

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters())

    module = Module()

    def run() -> None:
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loader)

    return run


def skorch(model: nn.Module, dataset: Any, collate: Any, batch_size: int) -> Callable[[], object]:
    """Return a call that trains for an epoch with skorch."""
    from skorch import NeuralNet

    ready = isinstance(dataset, IterableDataset)
    net = NeuralNet(
        model,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        max_epochs=1,
        batch_size=None if ready else batch_size,
        iterator_train__shuffle=not ready,
        iterator_train__collate_fn=collate,
        train_split=None,
        verbose=0,
    )
    net.initialize()
    return lambda: net.partial_fit(dataset, y=None)


class _Pairs(IterableDataset[Any]):
    """Ready batches as pairs of inputs and targets, for skorch."""

    def __init__(self, rows: _Rows) -> None:
        self.rows = [
            ({"input_ids": r["input_ids"], "lengths": r["lengths"]}, r["labels"]) for r in rows.rows
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


def same_batches(corpus: Corpus, repeats: int) -> Iterator[Measurement]:
    """Train RNN 256 on the same ready batches with each library."""
    batches = ready_batches(corpus, _TEXTS // 128)
    rows = _Rows(batches)

    def model() -> RecurrentClassifier:
        return classifier(len(corpus.vocabulary), "RNN 256")

    peers = {
        "Hugging Face's Trainer": hugging_face(model(), rows, lambda items: items[0], 1),
        "Lightning": lightning(model(), DataLoader(rows, batch_size=None)),
        "skorch": skorch(model(), _Pairs(rows), None, 1),
    }
    ours = one_epoch(model(), batches)
    for name, theirs in peers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about few workers, old names and more
            mine, other = in_turns(ours, theirs, repeats=max(repeats, 5))
        work = (len(batches) * 128, len(batches) * 128)
        yield ratio("Trainer, RNN 256, ready batches", name, mine, other, work=work, bar=1.0)


class _RawTexts(Dataset[Any]):
    """A data set that encodes a text each time it is read, as in tutorials."""

    def __init__(self, texts: Sequence[str], labels: Sequence[int], vocabulary: Vocabulary) -> None:
        self.texts, self.labels, self.vocabulary = texts, labels, vocabulary

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        words = self.vocabulary.encode(notebook.tokenize(self.texts[index])[:254])
        return {"input_ids": torch.tensor([2, *words, 3]), "label": self.labels[index]}


def _padded(items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    ids = [item["input_ids"] for item in items]
    return {
        "input_ids": nn.utils.rnn.pad_sequence(ids, batch_first=True),
        "lengths": torch.tensor([len(row) for row in ids]),
        "labels": torch.tensor([item["label"] for item in items]),
    }


def _padded_pair(items: Sequence[Any]) -> tuple[dict[str, Tensor], Tensor]:
    batch = _padded([item[0] if isinstance(item, tuple) else item for item in items])
    labels = batch.pop("labels")
    return batch, labels


def raw_texts(corpus: Corpus, repeats: int) -> Iterator[Measurement]:
    """Train RNN 256 from raw texts, which each library encodes and batches in its own way."""
    split = corpus.train.head(_TEXTS)
    vocabulary = corpus.vocabulary
    data = _RawTexts(split.texts, split.labels, vocabulary)

    def model() -> RecurrentClassifier:
        return classifier(len(vocabulary), "RNN 256")

    loader = DataLoader(data, batch_size=128, shuffle=True, collate_fn=_padded)
    peers = {
        "Hugging Face's Trainer": hugging_face(model(), data, _padded, 128),
        "Lightning": lightning(model(), loader),
        "skorch": skorch(model(), data, _padded_pair, 128),
    }
    net = model()

    def ours() -> None:
        dataset = WordDataset(
            split.texts, split.labels, vocabulary, WordTokenizer(), max_length=256
        )
        one_epoch(net, bucketed(dataset))()

    for name, theirs in peers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as above
            mine, other = in_turns(ours, theirs, repeats=repeats)
        work = (len(split.texts), len(split.texts))
        name_of_row = "from raw texts, RNN 256, one epoch"
        yield ratio(name_of_row, name, mine, other, work=work, bar=2, aim=3)
