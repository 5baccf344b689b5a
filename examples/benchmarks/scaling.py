"""Benchmarks of growth: the same work with 10,000, 100,000 and a million texts."""

from collections.abc import Iterator

from torch.utils.data import DataLoader

from examples.benchmarks.corpus import Corpus, Split
from examples.benchmarks.measuring import Measurement, figure, timed
from examples.benchmarks.training import one_epoch
from textrnn import (
    BucketBatchSampler,
    PaddingCollator,
    RecurrentClassifier,
    Trainer,
    Vocabulary,
    WordDataset,
    WordTokenizer,
)

SIZES = (10_000, 100_000, 1_000_000)


def growth(corpus: Corpus, repeats: int, sizes: tuple[int, ...] = SIZES) -> Iterator[Measurement]:
    """Measure microseconds per text of each part, at each size."""
    del repeats
    costs: dict[str, list[float]] = {}
    for size in sizes:
        for name, seconds in _seconds(corpus.made(size)).items():
            costs.setdefault(name, []).append(1e6 * seconds / size)
    for name, values in costs.items():
        yield figure(
            f"growth: {name}",
            [values[-1] / values[0]],
            unit="x the cost of a text",
            sizes=list(sizes),
            microseconds=[round(value, 2) for value in values],
        )


def _seconds(split: Split) -> dict[str, float]:
    """Return the seconds of each part."""
    tokenizer = WordTokenizer()
    seconds = {
        "tokenizing": timed(lambda: [len(tokenizer(text)) for text in split.texts]),
        "vocabulary": timed(lambda: Vocabulary.from_texts(split.texts, tokenizer)),
    }
    vocabulary = Vocabulary.from_texts(split.texts, tokenizer, max_size=20_000)
    made: list[WordDataset] = []
    seconds["encoding"] = timed(
        lambda: made.append(
            WordDataset(split.texts, split.labels, vocabulary, tokenizer, max_length=64)
        )
    )
    sampler = BucketBatchSampler(made[0], 512, seed=0)
    loader = DataLoader(made[0], batch_sampler=sampler, collate_fn=PaddingCollator())
    model = RecurrentClassifier(len(vocabulary), num_classes=4, cell="rnn", hidden_size=16)
    trainer = Trainer(model, progress=False)
    return seconds | {
        "sampling": timed(lambda: list(sampler)),
        "batches": timed(lambda: sum(len(batch) for batch in loader)),
        "an epoch (RNN 16)": timed(one_epoch(model, loader)),
        "prediction (RNN 16)": timed(lambda: trainer.predict(loader)),
    }
