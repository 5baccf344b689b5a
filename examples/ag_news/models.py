"""Two other models for the same texts: `TextClassifier()`, and TF-IDF with logistic regression."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from examples.ag_news.data import CLASSES, Corpus
from examples.ag_news.results import Result, describe_environment, describe_predictions
from textrnn import TextClassifier
from textrnn.errors import import_extra

__all__ = ["probabilities", "train_text_classifier", "train_tf_idf"]


def train_tf_idf(corpus: Corpus) -> Result:
    """Train scikit-learn's logistic regression on TF-IDF of words and pairs of words."""
    text = import_extra("sklearn.feature_extraction.text", extra="examples")
    linear = import_extra("sklearn.linear_model", extra="examples")
    pipeline = import_extra("sklearn.pipeline", extra="examples")
    words, regression = {"ngram_range": (1, 2), "sublinear_tf": True}, {"C": 10, "max_iter": 1000}
    vectorizer = text.TfidfVectorizer(**words)
    model = linear.LogisticRegression(**regression)
    values = _train(pipeline.make_pipeline(vectorizer, model), corpus)
    versions = {"scikit-learn": import_extra("sklearn", extra="examples").__version__}
    return Result(
        experiment="tf-idf",
        change="TF-IDF of words and pairs of words, logistic regression",
        settings={"TfidfVectorizer": words, "LogisticRegression": regression},
        environment=describe_environment(torch.device("cpu")) | versions,
        vocabulary_size=len(vectorizer.vocabulary_),
        parameters=model.coef_.size + model.intercept_.size,
        **values,
    )


def train_text_classifier(corpus: Corpus, device: torch.device) -> tuple[TextClassifier, Result]:
    """Train a `TextClassifier` with its default settings."""
    classifier = TextClassifier(device=str(device), seed=0)
    values = _train(classifier, corpus)
    result = Result(
        experiment="text-classifier",
        change="TextClassifier() with its default settings",
        settings={"TextClassifier": classifier.settings_},
        environment=describe_environment(device),
        vocabulary_size=len(classifier.vocabulary_),
        parameters=sum(p.numel() for p in classifier.network_.parameters()),
        **values,
    )
    return classifier, result


def probabilities(classifier: Any, texts: Sequence[str]) -> NDArray[np.float64]:
    """Return probabilities `(texts, classes)` with the columns in the order of `CLASSES`."""
    columns = [list(classifier.classes_).index(name) for name in CLASSES]
    found: NDArray[np.float64] = classifier.predict_proba(texts)[:, columns]
    return found


def _train(classifier: Any, corpus: Corpus) -> dict[str, Any]:
    """Train and evaluate a classifier with scikit-learn's methods, on the texts of a run."""
    train, validation, test = corpus.train, corpus.validation, corpus.test
    start = time.perf_counter()
    classifier.fit(train.texts, [CLASSES[label] for label in train.labels])
    seconds = time.perf_counter() - start
    right = probabilities(classifier, validation.texts).argmax(1) == np.array(validation.labels)
    return {
        "parent": "baseline-mean",
        "group": "model",
        "data": corpus.describe(),
        "seconds": round(seconds, 1),
        "texts_per_second": round(len(train) / max(seconds, 1e-9), 1),
        "chosen": {"step": 0, "epoch": 0, "accuracy": float(right.mean())},
        **describe_predictions(probabilities(classifier, test.texts), test),
    }
