"""`python -m examples.accuracy.night`: a large LSTM for IMDB, pretrained on all its reviews.

It takes hours. Started again with the same folder, it continues from its last checkpoint.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils.data import DataLoader

from examples.accuracy.data import TASKS, Data, Reader, stratified
from examples.ag_news.results import choose_device, describe_environment, write_text
from textrnn import TextClassifier
from textrnn.data import BucketBatchSampler, PaddingCollator, WordDataset
from textrnn.errors import TextrnnError
from textrnn.nn import RecurrentClassifier
from textrnn.text import Vocabulary, WordPunctTokenizer
from textrnn.training import Checkpoint, Trainer, parameter_groups, pretrain, schedulers

__all__ = ["choose_share", "main", "mix"]

Array: TypeAlias = np.ndarray[Any, Any]

_HELD_OUT = 0.1  # share of the training texts that chooses the epoch and the blend
_TOKENIZER = WordPunctTokenizer()
_SHARES = np.linspace(0, 1, 21)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 1 after an error."""
    options = _parser().parse_args(arguments)
    try:
        reader = Reader(options.data, validation=options.validation)
        reader.check([TASKS["imdb"]], unlabelled=True)
        data = reader.read(TASKS["imdb"], options.seed, unlabelled=True)
        facts = _run(data, options)
    except TextrnnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    facts = {"part": reader.part, **facts}
    write_text(options.folder / "result.json", json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts["accuracy"]))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.accuracy.night",
        description="Pretrain a large LSTM on all reviews of IMDB, train it on the labelled ones, "
        "and blend it with a linear model of n-grams.",
    )
    add = parser.add_argument
    add("--folder", type=Path, default=Path("runs/night"), metavar="DIR")
    add("--data", type=Path, default=Path(os.environ.get("TEXTRNN_DATA", "data")), metavar="DIR")
    add("--validation", action="store_true", help="judge a fifth of the training texts")
    add("--hidden-size", type=int, default=512)
    add("--embedding-size", type=int, default=256)
    add("--vocab-size", type=int, default=30_000)
    add("--pretrain-epochs", type=int, default=2)
    add("--pretrain-length", type=int, default=256, help="tokens of a text to pretrain on")
    add("--epochs", type=int, default=3)
    add("--precision", default="bf16")
    add("--seed", type=int, default=0)
    return parser


def _run(data: Data, options: argparse.Namespace) -> dict[str, Any]:
    """Train both models, and return the accuracies."""
    count = round(_HELD_OUT * len(data.train))
    chosen = stratified(data.train.labels, count, seed=options.seed)
    held_out, others = set(chosen), range(len(data.train))
    train = data.train.select([row for row in others if row not in held_out])
    checked = data.train.select(chosen)
    corpus = [*train.texts, *(data.unlabelled or ())]
    vocabulary = Vocabulary.from_texts(corpus, _TOKENIZER, max_size=options.vocab_size)

    seconds: dict[str, float] = {}
    begun = time.process_time()
    model = RecurrentClassifier(
        len(vocabulary),
        num_classes=2,
        cell="lstm",
        hidden_size=options.hidden_size,
        embedding_size=options.embedding_size,
        pooling=("max", "mean", "last"),
        dropout=0.3,
        embedding_dropout=0.1,
        generator=torch.Generator().manual_seed(options.seed),
    )
    short = WordDataset(corpus, None, vocabulary, _TOKENIZER, max_length=options.pretrain_length)
    folder = options.folder / "pretraining"
    pretrained = pretrain(
        model,
        short,
        epochs=options.pretrain_epochs,
        precision=options.precision,
        seed=options.seed,
        callbacks=[Checkpoint(folder, every_steps=1000, keep=1)],
        resume_from="auto",
        progress=True,
    )
    seconds["pretrain"], begun = time.process_time() - begun, time.process_time()

    linear = TextClassifier(network=False, seed=options.seed, validation_fraction=0)
    linear.fit(train.texts, train.labels)
    ngrams = [np.log(linear.predict_proba(part.texts).clip(1e-9)) for part in (checked, data.judge)]
    seconds["ngrams"], begun = time.process_time() - begun, time.process_time()

    sets = [
        WordDataset(part.texts, part.labels, vocabulary, _TOKENIZER, max_length=1000)
        for part in (train, checked, data.judge)
    ]
    trainer = Trainer(
        model,
        optimizer=torch.optim.AdamW(parameter_groups(model, 2e-3), lr=2e-3, weight_decay=0.01),
        scheduler=schedulers.linear_warmup(),
        max_grad_norm=1.0,
        weight_averaging="ema",
        precision=options.precision,
        metrics={
            "blended_loss": lambda logits, labels: choose_share(
                logits.float().log_softmax(1).numpy(), ngrams[0], labels.numpy()
            )[1]
        },
        monitor="blended_loss",
        callbacks=[Checkpoint(options.folder / "training", every_steps=200, keep=1)],
        progress=True,
    )
    history = trainer.fit(
        _loader(sets[0], seed=options.seed),
        _loader(sets[1]),
        epochs=options.epochs,
        resume_from="auto",
    )
    network = [
        trainer.predict(_loader(each)).log_softmax(1).numpy()  # (texts, classes)
        for each in sets[1:]
    ]
    seconds["fit"] = time.process_time() - begun
    share, _ = choose_share(network[0], ngrams[0], np.array(checked.labels))
    blended = mix(share, network[1], ngrams[1])
    wanted = np.array(data.judge.labels)
    found = {"network": network[1], "ngrams": ngrams[1], "blend": blended}
    return {
        "accuracy": {
            name: float((each.argmax(1) == wanted).mean()) for name, each in found.items()
        },
        "share": share,
        "fingerprint": data.fingerprint,
        "settings": {
            name: str(value)
            for name, value in vars(options).items()
            if name not in {"data", "folder"}
        },
        "pretraining": list(pretrained),
        "history": list(history),
        "processor_seconds": {name: round(value, 1) for name, value in seconds.items()},
        "environment": describe_environment(choose_device("cpu")),
    }


def _loader(dataset: WordDataset, *, seed: int | None = None) -> DataLoader[Any]:
    """Return batches: of similar length and shuffled with a seed, otherwise in order."""
    collate = PaddingCollator(dataset.vocabulary.pad_id)
    if seed is None:  # the order of the n-grams' predictions
        return DataLoader(dataset, batch_size=64, collate_fn=collate)
    sampler = BucketBatchSampler(dataset, batch_size=32, seed=seed)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=collate)


def choose_share(network: Array, ngrams: Array, labels: Array) -> tuple[float, float]:
    """Return the network's share with the lowest loss, and that loss."""
    rows = np.arange(len(labels))
    losses = [-mix(share, network, ngrams)[rows, labels].mean() for share in _SHARES]
    best = int(np.argmin(losses))
    return float(_SHARES[best]), float(losses[best])


def mix(share: float, network: Array, ngrams: Array) -> Array:
    """Return the log-probabilities `(texts, classes)` of a blend of two models'."""
    mixed = share * network + (1 - share) * ngrams
    return mixed - np.logaddexp.reduce(mixed, axis=1, keepdims=True)


if __name__ == "__main__":
    sys.exit(main())
