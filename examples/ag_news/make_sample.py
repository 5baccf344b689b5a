"""Create the sample of AG News in `sample/`.

It was written by `python -m examples.ag_news.make_sample --data DIR` with a part of the training
texts in `train.parquet` and all test texts in `test.parquet`. Some copies of the training texts
lack their titles, so a training text is used only if it clearly has one:

- a wire service follows it, as in `TITLE (AP) AP - ...` or `TITLE ROME (Reuters) -`;
- or at least two of the first words are common words capitalized within a sentence, as in headlines
  ("Google Slashes Price ...").

The rules accept 46 % of the test texts, all of which have titles, and 1 % of the training texts
that certainly have none (they still have the quotes of their CSV field).
"""

import argparse
import re
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

from examples.ag_news.data import CLASSES, Texts, load_folder, write_parquet

__all__ = ["common_words", "has_title", "main", "sample"]

SIZES = {"train": 4000, "test": 1000}
_WORD = re.compile(r"[A-Za-z][a-z]+")
_WIRE = re.compile(r".{8,}? \(([A-Z][\w. ]*)\) \1\.? - ")
_DATELINE = re.compile(
    r"(?P<title>.{8,}?[\w')]) {1,2}[A-Z][A-Z. ]{2,}(?:, [A-Z][\w. ]+)? \([A-Z]\w+\) -+ "
)
_HEADLINE_WORDS = 8
_BODY_FROM = 13  # most titles have fewer words


def common_words(texts: Iterable[str]) -> set[str]:
    """Return the words that are in lower case at least three times out of four after the title."""
    small: Counter[str] = Counter()
    capital: Counter[str] = Counter()
    for text in texts:
        if not text.islower():
            for word in filter(_WORD.fullmatch, text.split()[_BODY_FROM:]):
                (small if word[0].islower() else capital)[word.lower()] += 1
    return {word for word, count in small.items() if count >= max(5, 3 * capital[word])}


def has_title(text: str, common: Collection[str]) -> bool:
    """Return whether a text clearly begins with a title."""
    if text == text.lower() or text.startswith('"'):
        return False
    if _WIRE.match(text):
        return True
    dateline = _DATELINE.match(text)
    if dateline and sum(word[-1].islower() for word in dateline["title"].split()) >= 3:
        return True
    words = text.split()[:_HEADLINE_WORDS]
    capitals = sum(
        word[0].isupper() and word.lower() in common and before[-1] not in ".?!:\"'-)"
        for before, word in pairwise(words)
    )
    return capitals >= 2


def sample(texts: Texts, rows: Iterable[int], size: int, *, seed: int) -> Texts:
    """Draw `size` of the texts at `rows`, balanced by class, in their original order."""
    generator = np.random.default_rng(seed)
    allowed = np.fromiter(rows, dtype=np.int64)
    labels = np.asarray(texts.labels)[allowed]
    drawn = [
        generator.choice(allowed[labels == label], size // len(CLASSES), replace=False)
        for label in range(len(CLASSES))
    ]
    return texts.select(np.sort(np.concatenate(drawn)).tolist())


def main(arguments: list[str] | None = None) -> None:
    """Write `train.parquet` and `test.parquet`."""
    parser = argparse.ArgumentParser(description="Create the sample of AG News.")
    parser.add_argument("--data", type=Path, required=True, help="folder with train and test files")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("sample"))
    options = parser.parse_args(arguments)
    train, test = load_folder(options.data)
    common = common_words(train.texts)
    titled = [row for row, text in enumerate(train.texts) if has_title(text, common)]
    options.output.mkdir(parents=True, exist_ok=True)
    for name, texts, rows in (("train", train, titled), ("test", test, range(len(test)))):
        drawn = sample(texts, rows, SIZES[name], seed=0)
        write_parquet(options.output / f"{name}.parquet", drawn)


if __name__ == "__main__":
    main()
