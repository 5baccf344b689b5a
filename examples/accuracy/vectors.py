"""`python -m examples.accuracy.vectors`: what word vectors bring where few texts have labels.

The vectors are trained without labels, by fastText's skipgram on the unlabelled reviews of IMDB.
All methods are trained on the same draws of its training reviews, and evaluated on a fifth of the
training reviews. No test file is read.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from examples.accuracy.data import Data, Reader, Task
from examples.accuracy.methods import Fitted
from examples.accuracy.recipes import Recipe
from examples.ag_news.results import choose_device, describe_environment, write_text
from textrnn.errors import TextrnnError, import_extra
from textrnn.text import Vocabulary, WordPunctTokenizer, encode_texts, read_vectors

__all__ = ["main", "report", "train_vectors"]

_SOURCE = "imdb"
_SKIPGRAM = {"model": "skipgram", "dim": 100, "epoch": 3, "thread": 1}
_TITLES = {
    "default": "`TextClassifier(network=True)`",
    "vectors": "`TextClassifier(vectors=...)`",
    "average": "average of the vectors + LR",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 1 after an error."""
    options = _parser().parse_args(arguments)
    try:
        reader = Reader(options.data, validation=True)
        tasks = [Task(f"{_SOURCE}-{size}", _SOURCE, size) for size in options.sizes]
        reader.check(tasks, unlabelled=not options.vectors.exists())
        if not options.vectors.exists():
            first = reader.read(tasks[0], 0, unlabelled=True)
            train_vectors(first.unlabelled or (), options.vectors)
        runs = list(_run(reader, tasks, options))
    except TextrnnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    facts = {
        "vectors": {"file": options.vectors.name, **_SKIPGRAM},
        "environment": describe_environment(choose_device("cpu")),
        "runs": runs,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    rows = ",\n  ".join(json.dumps(run) for run in facts.pop("runs"))
    head = json.dumps(facts, indent=1).removesuffix("\n}")
    write_text(options.output, f'{head},\n "runs": [\n  {rows}\n ]\n}}\n')
    print(report(runs))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.accuracy.vectors",
        description="Compare TextClassifier with and without word vectors, and logistic regression "
        "on the average of the same vectors, on few reviews of IMDB.",
    )
    add = parser.add_argument
    add(
        "--vectors",
        type=Path,
        required=True,
        metavar="FILE",
        help="text file of word vectors; if there is none, it is trained on imdb/unsup.parquet",
    )
    add("--sizes", type=int, nargs="+", default=[100, 300, 1000], help="default: 100 300 1000")
    add("--seeds", type=int, default=5, help="number of draws; default: 5")
    add("--data", type=Path, default=Path(os.environ.get("TEXTRNN_DATA", "data")), metavar="DIR")
    add("--output", type=Path, default=Path("runs/vectors.json"), metavar="FILE")
    return parser


def train_vectors(texts: Sequence[str], path: Path) -> None:
    """Train word vectors with fastText's skipgram, and write them as text."""
    fasttext = import_extra("fasttext", extra="benchmarks")
    tokenize = WordPunctTokenizer()
    path.parent.mkdir(parents=True, exist_ok=True)
    corpus = path.with_name(f"{path.name}.texts")
    with corpus.open("w", encoding="utf-8") as file:
        file.writelines(f"{' '.join(tokenize(text))}\n" for text in texts)
    model = fasttext.train_unsupervised(str(corpus), verbose=0, **_SKIPGRAM)
    corpus.unlink()
    words = model.get_words()
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{len(words)} {_SKIPGRAM['dim']}\n")
        for word in words:
            numbers = " ".join(f"{value:.5g}" for value in model.get_word_vector(word))
            file.write(f"{word} {numbers}\n")


def _run(
    reader: Reader, tasks: Sequence[Task], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Train and evaluate each method on each draw."""
    recipes: dict[str, dict[str, Any]] = {
        "default": {"network": True},
        "vectors": {"vectors": str(options.vectors)},
    }
    methods: dict[str, Callable[[Data, int], Fitted]] = {
        name: _recipe(name, settings) for name, settings in recipes.items()
    }
    methods["average"] = lambda data, _seed: _average(data, options.vectors)
    for task in tasks:
        for seed in range(options.seeds):
            data = reader.read(task, seed)
            for name, fit in methods.items():
                fitted = fit(data, seed)
                found = np.array(fitted.predict(data.judge.texts))
                run: dict[str, Any] = {
                    "texts": task.size,
                    "seed": seed,
                    "method": name,
                    "accuracy": float((found == np.array(data.judge.labels)).mean()),
                    "fingerprint": data.fingerprint,
                }
                print(f"{task.size} texts, seed {seed}, {name}: {100 * run['accuracy']:.2f} %")
                yield run


def _recipe(name: str, settings: dict[str, Any]) -> Callable[[Data, int], Fitted]:
    recipe = Recipe(name, settings, device="cpu")
    return lambda data, seed: recipe.fit(data.train.texts, data.train.labels, seed=seed)


def _average(data: Data, path: Path) -> Fitted:
    """Fit logistic regression on averages of vectors, weighted by rank as in model2vec."""
    linear = import_extra("sklearn.linear_model", extra="benchmarks")
    selection = import_extra("sklearn.model_selection", extra="benchmarks")
    tokenize = WordPunctTokenizer()
    texts = [*data.train.texts, *data.judge.texts]  # only their words are looked up
    vocabulary = Vocabulary.from_texts(texts, tokenize)
    vectors = read_vectors(path, vocabulary).matrix
    ranks = np.zeros(len(vocabulary))
    for rank, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        ranks[vocabulary.get(line.partition(" ")[0], 0)] = rank
    vectors *= np.log(1 + ranks)[:, np.newaxis]
    vectors[0] = 0

    def features(rows: Sequence[str]) -> Any:
        ids, lengths = encode_texts(rows, tokenize, vocabulary)
        sums = np.add.reduceat(vectors[ids], lengths.cumsum() - lengths)  # (texts, size)
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)

    model = selection.GridSearchCV(
        linear.LogisticRegression(max_iter=1000), {"C": np.logspace(-4, 4, 10)}, cv=5
    )
    model.fit(features(data.train.texts), data.train.labels)
    return Fitted(lambda rows: model.predict(features(rows)).tolist())


def report(runs: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table of mean accuracies with their standard deviations."""
    sizes = dict.fromkeys(run["texts"] for run in runs)
    lines = [
        f"| labelled reviews | {' | '.join(_TITLES.values())} |",
        f"|---|{'---|' * len(_TITLES)}",
    ]
    for size in sizes:
        cells = []
        for name in _TITLES:
            found = [
                100 * run["accuracy"]
                for run in runs
                if (run["texts"], run["method"]) == (size, name)
            ]
            spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
            cells.append(f"{statistics.fmean(found):.1f}{spread}")
        lines.append(f"| {size:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
