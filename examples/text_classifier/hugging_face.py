"""Train on a Hugging Face data set and keep the names of its classes.

Run it with `python -m examples.text_classifier.hugging_face`. It makes the data set from the
included news texts, so it needs no network. `datasets.load_dataset("fancyzhx/ag_news")` returns a
data set of the same form.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from datasets import ClassLabel, Dataset, Features, Value

from examples.text_classifier.sample import read_sample
from textrnn import TextClassifier

__all__ = ["main"]


def make_dataset(part: str, limit: int | None) -> Any:
    """Return news texts as a data set with the columns `text` and `label`."""
    texts, labels = read_sample(part, limit)
    names = ClassLabel(names=["World", "Sports", "Business", "Sci/Tech"])
    features = Features({"text": Value("string"), "label": names})
    return Dataset.from_dict({"text": texts, "label": labels}, features=features)


def main(argv: Sequence[str] | None = None) -> float:
    """Run the example and return the accuracy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, help="number of training texts (default: 4000)")
    parser.add_argument("--epochs", type=int, help="number of epochs")
    options = parser.parse_args(argv)
    train, test = make_dataset("train", options.texts), make_dataset("test", options.texts)

    # Pass columns directly; use the names of the classes as labels.
    name_of = train.features["label"].int2str
    classifier = TextClassifier(epochs=options.epochs, seed=0)
    classifier.fit(train["text"], [name_of(label) for label in train["label"]])

    report = classifier.evaluate(test["text"], [name_of(label) for label in test["label"]])
    print(report)
    for text, best in zip(test["text"][:3], classifier.top_k(test["text"][:3], k=2), strict=True):
        print(f"\n{text[:70]}...\n  {best}")
    return classifier.score(test["text"], [name_of(label) for label in test["label"]])


if __name__ == "__main__":
    main()
