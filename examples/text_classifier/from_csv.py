"""From a CSV file to predictions: three commands, and two lines of Python to load the model.

Run it with ``python -m examples.text_classifier.from_csv``. It writes the carried news texts into
CSV files first, so that it has something to begin with; yours need a column of texts and one of
labels.
"""

import argparse
import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path

from examples.text_classifier.sample import read_sample
from textrnn import TextClassifier
from textrnn.cli import main as textrnn

__all__ = ["main"]


def write_csv(path: Path, part: str, limit: int | None) -> None:
    """Write news texts into a CSV file with the columns ``label`` and ``text``."""
    texts, labels = read_sample(part, limit)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("label", "text"), *zip(labels, texts, strict=True)])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, help="how many texts to learn from (default: 4000)")
    parser.add_argument("--epochs", help="how often to go through them (default: by their number)")
    options = parser.parse_args(argv)
    epochs = [] if options.epochs is None else ["--epochs", options.epochs]

    with tempfile.TemporaryDirectory() as folder:
        train, test, model = (f"{folder}/{name}" for name in ("train.csv", "test.csv", "model"))
        write_csv(Path(train), "train", options.texts)
        write_csv(Path(test), "test", options.texts)

        # In a terminal: textrnn train --train train.csv --output model, and so on.
        for command in (
            ["train", "--train", train, "--output", model, *epochs],
            ["evaluate", model, test],
            ["predict", model, test],
        ):
            print("$ textrnn", *command, flush=True)
            if code := textrnn(command):
                raise SystemExit(code)

        # Anywhere else, also in another process:
        classifier = TextClassifier.load(model)
        print(classifier.predict(["Oil prices soar as the storm nears the coast"])[0])


if __name__ == "__main__":
    main()
