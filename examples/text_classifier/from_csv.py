"""From a CSV file to predictions: three commands, and two lines of Python to load the model.

Run it with `python -m examples.text_classifier.from_csv`. It first writes the included news texts
to CSV files. Your own files need a column of texts and a column of labels.
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
    """Write news texts to a CSV file with the columns `label` and `text`."""
    texts, labels = read_sample(part, limit)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("label", "text"), *zip(labels, texts, strict=True)])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, help="number of training texts (default: 4000)")
    parser.add_argument("--epochs", help="number of epochs (default: by the number of texts)")
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

        # In any other process:
        classifier = TextClassifier.load(model)
        print(classifier.predict(["Oil prices soar as the storm nears the coast"])[0])


if __name__ == "__main__":
    main()
