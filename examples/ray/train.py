"""Train in several processes, started by Ray Train or by `torchrun`.

`python -m examples.ray.train run` trains in two workers of a Ray cluster. Without a cluster, Ray
starts one on this machine. `torchrun --nproc-per-node=2 -m examples.ray.train run --here` runs the
same function without Ray. A run whose worker was killed goes on from its last checkpoint.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from examples.text_classifier.sample import read_sample
from textrnn import (
    BucketBatchSampler,
    PaddingCollator,
    RecurrentClassifier,
    Trainer,
    Vocabulary,
    WordDataset,
    WordTokenizer,
)
from textrnn.training import Callback, Checkpoint

__all__ = ["launch", "main", "train"]

PROCESSES, BATCH_SIZE = 2, 64


def train(folder: Path, *callbacks: Callback) -> None:
    """Train in each of the processes; `folder` is on a disk that all of them share."""
    torch.manual_seed(0)
    texts, names = read_sample("train")
    classes = sorted(set(names))
    tokenizer = WordTokenizer()
    vocabulary = Vocabulary.from_texts(texts, tokenizer, min_freq=2)
    data = WordDataset(texts, [classes.index(name) for name in names], vocabulary, tokenizer)
    parts = data.split(0.1, seed=0)
    loaders = [
        DataLoader(
            part,
            batch_sampler=BucketBatchSampler(part, BATCH_SIZE // PROCESSES, seed=0),
            collate_fn=PaddingCollator(vocabulary.pad_id),
        )
        for part in parts
    ]
    model = RecurrentClassifier(len(vocabulary), num_classes=len(classes), hidden_size=64)
    trainer = Trainer(
        model,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
        callbacks=[Checkpoint(folder / "checkpoints", every_steps=10), *callbacks],
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    history = trainer.fit(*loaders, epochs=2, resume_from="auto")
    if trainer.processes.is_main:
        print(f"accuracy {history[-1]['eval_accuracy']:.4f}")


def launch(function: Callable[[], None], folder: Path) -> None:
    """Call a function in the workers of a Ray cluster; if one of them dies, again in new ones."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    TorchTrainer(
        function,
        scaling_config=ScalingConfig(num_workers=PROCESSES, use_gpu=torch.cuda.is_available()),
        run_config=RunConfig(
            storage_path=str(folder / "ray"), failure_config=FailureConfig(max_failures=3)
        ),
    ).fit()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train with Ray, or in this process and those that `torchrun` started with it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="for checkpoints, on a disk that all share")
    parser.add_argument("--here", action="store_true", help="without Ray, for torchrun")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    if options.here:
        train(folder)
    else:
        launch(lambda: train(folder), folder)


if __name__ == "__main__":
    main()
