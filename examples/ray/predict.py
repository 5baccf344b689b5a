"""Label the texts of Parquet files on all machines of a Ray cluster, without PyTorch.

`python -m examples.ray.predict model texts/ labelled/` reads the column `text` of all files of a
folder and writes each row with its label and the probability of it. Without a cluster, Ray starts
one on this machine.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from textrnn import runtime

__all__ = ["Labeller", "label", "main"]

BATCH_SIZE = 2048

Columns = dict[str, NDArray[Any]]


class Labeller:
    """A worker, which loads the model once."""

    def __init__(self, model: str) -> None:
        self.model = runtime.load(model)

    def __call__(self, columns: Columns) -> Columns:
        """Return a batch of rows with their labels."""
        probabilities = self.model.predict_proba(columns["text"])  # (rows, labels)
        best = probabilities.argmax(axis=1)  # (rows,)
        labels = self.model.classes_[best]
        return {**columns, "label": labels, "probability": probabilities.max(axis=1)}


def label(model: str, source: str, target: str, *, workers: int) -> None:
    """Label the texts of all Parquet files in a folder; `target` is a new folder."""
    import ray

    if Path(target).exists() and any(Path(target).iterdir()):
        raise FileExistsError(f"{target} has files of another run: name a new folder.")
    (
        ray.data.read_parquet(source)
        .map_batches(
            Labeller,
            fn_constructor_args=(model,),
            batch_size=BATCH_SIZE,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        .write_parquet(target)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Label the texts of a folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="folder of a saved classifier, on a disk that all share")
    parser.add_argument("source", help="folder of Parquet files with a column `text`")
    parser.add_argument("target", help="new folder for the labelled rows")
    parser.add_argument("--workers", type=int, default=2, help="default: 2")
    options = parser.parse_args(arguments)
    paths = (str(Path(path).resolve()) for path in (options.model, options.source, options.target))
    label(*paths, workers=options.workers)


if __name__ == "__main__":
    main()
