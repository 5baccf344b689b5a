"""Benchmarks of training, compared with the notebook's program and with a bare loop."""

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from examples.benchmarks import notebook
from examples.benchmarks.corpus import Corpus
from examples.benchmarks.measuring import Measurement, figure, in_turns, ratio, timed
from textrnn import (
    Batch,
    BucketBatchSampler,
    PaddingCollator,
    RecurrentClassifier,
    Trainer,
    WordDataset,
)

MODELS: dict[str, dict[str, Any]] = {
    "RNN 256": {"cell": "rnn", "hidden_size": 256, "num_layers": 1},
    "GRU 256": {"cell": "gru", "hidden_size": 256, "num_layers": 1},
    "GRU 512 x 3": {"cell": "gru", "hidden_size": 512, "num_layers": 3},
    "LSTM 512 x 3": {"cell": "lstm", "hidden_size": 512, "num_layers": 3},
}
_TEXTS = {"RNN 256": 6400, "GRU 256": 3840, "GRU 512 x 3": 768, "LSTM 512 x 3": 768}
_BARS = {"RNN 256": 2.0, "GRU 256": 2.0, "GRU 512 x 3": 1.7, "LSTM 512 x 3": 2.0}
_AIMS = {"RNN 256": 3.0, "GRU 256": 3.0, "GRU 512 x 3": 2.3, "LSTM 512 x 3": 3.0}


def bucketed(dataset: WordDataset, *, batch_size: int = 128) -> DataLoader[Any]:
    """Return a loader of batches of similar length."""
    sampler = BucketBatchSampler(dataset, batch_size, seed=0)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=PaddingCollator())


def classifier(vocab_size: int, name: str) -> RecurrentClassifier:
    """Return one of the notebook's models."""
    return RecurrentClassifier(vocab_size, num_classes=4, pooling="mean", **MODELS[name])


def one_epoch(
    model: nn.Module, loader: Any, *, precision: str = "fp32", fused: bool = False
) -> Callable[[], object]:
    """Return a call that trains for an epoch with Adam, fused or not."""
    trainer = Trainer(
        model,
        optimizer=torch.optim.Adam(model.parameters(), fused=fused),
        precision=precision,
        progress=False,
    )
    return lambda: trainer.fit(loader, epochs=1)


def against_the_notebook(corpus: Corpus, repeats: int) -> Iterator[Measurement]:
    """Train on the same texts as the notebook's program, each with its own batches."""
    ids = notebook.count_words(corpus.train.texts)
    whole = corpus.encoded(corpus.train)
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(whole), generator=generator)
    for name, settings in MODELS.items():
        picked = chosen[: _TEXTS[name]]
        texts = [corpus.train.texts[i] for i in picked.tolist()]
        labels = [corpus.train.labels[i] for i in picked.tolist()]
        program = notebook.Program(texts, labels, ids, **settings)
        loader = bucketed(whole.select(picked))
        runs = {
            precision: one_epoch(
                classifier(len(corpus.vocabulary), name),
                loader,
                precision=precision,
                fused=True,
            )
            for precision in ("fp32", "bf16")
            if precision == "fp32" or has_bf16()
        }
        for precision, run in runs.items():
            ours, theirs = in_turns(run, program.train, repeats=repeats)
            yield ratio(
                f"training {name}, {precision}",
                "the notebook's program",
                ours,
                theirs,
                work=(len(texts), len(texts)),
                bar=_BARS[name] if precision == "fp32" else 3.0,
                aim=_AIMS[name] if precision == "fp32" else 4.5,
            )


def has_bf16() -> bool:
    """Return whether the processor multiplies bf16 matrices in hardware."""
    capabilities = torch.backends.cpu.get_cpu_capability()
    return "AVX512" in capabilities and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 # torch has no public name for it


def ready_batches(corpus: Corpus, count: int) -> list[Batch]:
    """Return padded batches of AG-33k."""
    loader = iter(bucketed(corpus.encoded(corpus.train.head(count * 128))))
    return list(loader)


class BareLoop:
    """A minimal training loop in PyTorch."""

    def __init__(self, model: nn.Module, batches: list[Batch]) -> None:
        self.model, self.batches = model, batches
        self.optimizer = torch.optim.Adam(model.parameters())
        self.loss = nn.CrossEntropyLoss()

    def __call__(self) -> None:
        """Train for one epoch."""
        self.model.train()
        for batch in self.batches:
            self.optimizer.zero_grad()
            loss = self.loss(self.model(batch.input_ids, batch.lengths), batch.labels)
            loss.backward()
            self.optimizer.step()


def against_a_bare_loop(corpus: Corpus, repeats: int) -> Iterator[Measurement]:
    """Train RNN 256 on ready batches, compared with a bare loop."""
    batches = ready_batches(corpus, 60)
    size = len(corpus.vocabulary)
    ours = one_epoch(classifier(size, "RNN 256"), batches)
    bare = BareLoop(classifier(size, "RNN 256"), batches)
    mine, other = in_turns(ours, bare, repeats=max(repeats, 7))
    yield ratio(
        "Trainer, RNN 256, ready batches",
        "a bare PyTorch loop",
        mine,
        other,
        work=(len(batches) * 128, len(batches) * 128),
        bar=0.95,
        aim=0.99,
    )


def matrix_rate(corpus: Corpus, repeats: int) -> Iterator[Measurement]:
    """Compare useful matrix operations per second of training with a bare matrix product."""
    dataset = corpus.encoded(corpus.train.head(768))
    model = classifier(len(corpus.vocabulary), "GRU 512 x 3")
    weights = sum(p.numel() for name, p in model.encoder.named_parameters() if "weight" in name)
    # One multiplication and addition per weight and token, forward and twice backward.
    operations = 6.0 * weights * int(dataset.lengths.sum())
    run = one_epoch(model, bucketed(dataset), fused=True)
    run()
    one, two = torch.randn(2048, 2048), torch.randn(2048, 2048)
    shares, rates = [], []
    for _ in range(repeats):
        product = min(timed(lambda: one @ two) for _ in range(5))
        rate = operations / timed(run) / 1e9
        rates.append(rate)
        shares.append(rate * 1e9 / (2.0 * 2048**3 / product))
    yield figure(
        "useful matrix FLOP/s training GRU 512 x 3",
        shares,
        unit="of a bare product",
        bar=0.6,
        aim=0.8,
        smaller_is_better=False,
        gflops=statistics.median(rates),
    )


def long_texts(corpus: Corpus, repeats: int) -> Iterator[Measurement]:
    """Train GRU 256 on reviews of up to 400 tokens, compared with the notebook's program."""
    split = corpus.imdb.head(512)
    ids = notebook.count_words(split.texts, more_than=5)
    program = notebook.Program(split.texts, split.labels, ids, **MODELS["GRU 256"])
    dataset = corpus.encoded(split, max_length=400)
    run = one_epoch(classifier(len(corpus.vocabulary), "GRU 256"), bucketed(dataset, batch_size=64))
    ours, theirs = in_turns(run, program.train, repeats=min(repeats, 3))
    tokens = int(dataset.lengths.sum())
    yield ratio(
        "training GRU 256 on IMDB at 400 tokens",
        "the notebook's program (256 tokens)",
        ours,
        theirs,
        work=(512, 512),
        tokens_per_second=tokens / statistics.median(ours),
    )
