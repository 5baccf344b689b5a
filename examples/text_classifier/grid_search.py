"""Choose settings with scikit-learn: a pipeline in a grid search.

Run it with `python -m examples.text_classifier.grid_search`. It evaluates each setting on three
folds of the included news texts and trains with the best one on all of them.
"""

import argparse
import html
import re
from collections.abc import Sequence

from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from examples.text_classifier.sample import read_sample
from textrnn import TextClassifier

__all__ = ["main"]


def unescape(texts: Sequence[str]) -> list[str]:
    """Repair the incomplete entities (`#39;`) of the news texts."""
    return [html.unescape(re.sub(r" ?&?#(\d+);", r"&#\1;", text)) for text in texts]


def main(argv: Sequence[str] | None = None) -> float:
    """Run the example and return the test accuracy of the best setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=600, help="number of training texts")
    parser.add_argument("--epochs", type=int, help="number of epochs")
    options = parser.parse_args(argv)
    texts, labels = read_sample("train", options.texts)

    classifier = TextClassifier(hidden_size=32, epochs=options.epochs, progress=False, seed=0)
    pipeline = Pipeline([("clean", FunctionTransformer(unescape)), ("classify", classifier)])
    grid = {"classify__cell": ["rnn", "gru"], "classify__word_dropout": [0.0, 0.2]}
    search = GridSearchCV(pipeline, grid, cv=3, verbose=1).fit(texts, labels)

    results = search.cv_results_
    for params, mean, spread in zip(
        results["params"], results["mean_test_score"], results["std_test_score"], strict=True
    ):
        print(f"{mean:.3f} ± {spread:.3f}  {params}")
    accuracy = float(search.score(*read_sample("test", options.texts)))
    print(f"best: {search.best_params_}, {accuracy:.3f} on test texts")
    return accuracy


if __name__ == "__main__":
    main()
