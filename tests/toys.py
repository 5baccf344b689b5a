"""A small learnable task, its loaders, tables, and comparisons of runs, shared by tests."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from textrnn import Batch, BucketBatchSampler, PaddingCollator, RecurrentClassifier, WordDataset
from textrnn.text import Vocabulary
from textrnn.training import History, Trainer, TrainingState

NUM_CLASSES = 3
VOCABULARY = Vocabulary.build([[f"w{i}" for i in range(12)]])


def write_parquet(path: Path, texts: Sequence[str], labels: Sequence[int]) -> None:
    """Write a table with the columns `text` and `label`."""
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"text": texts, "label": labels}), path)


def make_dataset(num_texts: int = 40, *, seed: int = 0, labelled: bool = True) -> WordDataset:
    """Return texts of 1 to 7 words whose most frequent kind of word is their class."""
    generator = torch.Generator().manual_seed(seed)
    texts, labels = [], []
    for i in range(num_texts):
        length = int(torch.randint(1, 8, (), generator=generator))
        label = i % NUM_CLASSES
        noise = torch.randint(12, (length,), generator=generator).tolist()
        own = [label + NUM_CLASSES * (word % 4) for word in noise]
        texts.append(" ".join(f"w{word}" for word in [*own, *noise[: length // 3]]))
        labels.append(label)
    return WordDataset(texts, labels if labelled else None, VOCABULARY, str.split)


def bucketed(dataset: WordDataset, batch_size: int = 6, **settings: Any) -> DataLoader[Any]:
    """Return a loader with buckets."""
    sampler = BucketBatchSampler(dataset, batch_size, seed=0)
    settings.setdefault("collate_fn", PaddingCollator())
    return DataLoader(dataset, batch_sampler=sampler, **settings)


def shuffled(dataset: Any, batch_size: int = 6, **settings: Any) -> DataLoader[Any]:
    """Return a loader with PyTorch's own shuffling."""
    settings.setdefault("collate_fn", PaddingCollator())
    return DataLoader(dataset, batch_size, shuffle=True, **settings)


def make_batches(
    sizes: tuple[int, ...] = (5, 3, 6, 2),
    *,
    seed: int = 0,
    multilabel: bool = False,
    weighted: bool = False,
) -> list[Batch]:
    """Return ready batches of the given sizes, with indices that go on from one to the next."""
    generator = torch.Generator().manual_seed(seed)
    batches, first = [], 0
    for size in sizes:
        lengths = torch.randint(1, 6, (size,), generator=generator)
        ids = torch.randint(4, 16, (size, int(lengths.max())), generator=generator)
        ids[torch.arange(ids.shape[1]) >= lengths[:, None]] = 0
        labels = torch.randint(NUM_CLASSES, (size,), generator=generator)
        if multilabel:
            labels = torch.randint(2, (size, NUM_CLASSES), generator=generator).float()
        weights = 3 * torch.rand(size, generator=generator) if weighted else None
        indices = torch.arange(first, first + size)
        batches.append(Batch(ids, lengths, labels, indices, weights))
        first += size
    return batches


def merge(batches: list[Batch]) -> Batch:
    """Return all texts of some batches as one batch."""
    width = max(batch.input_ids.shape[1] for batch in batches)
    ids = [nn.functional.pad(b.input_ids, (0, width - b.input_ids.shape[1])) for b in batches]
    labels = [b.labels for b in batches if b.labels is not None]
    weights = [b.weights for b in batches if b.weights is not None]
    return Batch(
        torch.cat(ids),
        torch.cat([b.lengths for b in batches]),
        torch.cat(labels),
        weights=torch.cat(weights) if weights else None,
    )


def assert_same_batches(first: Batch, second: Batch) -> None:
    """Compare two batches tensor by tensor, with their types."""
    for field in fields(Batch):
        one, other = getattr(first, field.name), getattr(second, field.name)
        assert (one is None) == (other is None), field.name
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def make_model(seed: int = 0, **settings: Any) -> RecurrentClassifier:
    """Return a tiny classifier; the global generator is left as it was."""
    settings = {"hidden_size": 8, "num_classes": NUM_CLASSES, "dropout": 0.3} | settings
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RecurrentClassifier(len(VOCABULARY), **settings)


def make_trainer(model: nn.Module | None = None, **settings: Any) -> Trainer:
    """Return a quiet trainer of a tiny classifier, with Adam at a high rate."""
    model = make_model() if model is None else model
    settings = {"optimizer": torch.optim.Adam(model.parameters(), lr=0.01)} | settings
    return Trainer(model, progress=False, **settings)


def make_state(model: nn.Module | None = None, **settings: Any) -> TrainingState:
    """Return the state of a run that stands at its beginning."""
    model = make_model() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return TrainingState(model=model, optimizer=optimizer, **({"epochs": 2} | settings))


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of a model's tensors."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def worst_difference(one: Any, other: Any) -> float:
    """Return the largest difference of the numbers in two nested structures of the same form."""
    if isinstance(one, Tensor):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        if torch.equal(one, other):
            return 0.0
        return float((one.double() - other.double()).abs().max().nan_to_num(torch.inf))
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return max((worst_difference(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list | tuple):
        assert len(one) == len(other)
        return max(map(worst_difference, one, other), default=0.0)
    if isinstance(one, float | int) and not isinstance(one, bool):
        same = one == other or (math.isnan(one) and math.isnan(other))
        return 0.0 if same else abs(one - other)
    assert one == other
    return 0.0


def timeless(history: History) -> list[dict[str, float]]:
    """Return a history's records without the seconds, which no two runs share."""
    return [{name: v for name, v in record.items() if name != "seconds"} for record in history]


def reseal(folder: Path) -> None:
    """Compute a checkpoint's checksums anew, as someone would who has changed it on purpose."""
    sums = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "checksums.json"
    }
    (folder / "checksums.json").write_text(json.dumps(sums))
