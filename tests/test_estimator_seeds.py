"""`TextClassifier` in threads: own random generators, equal results."""

import random
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from tests.test_estimator import LABELS, SMALL, TEXTS
from textrnn import TextClassifier

# Everything that draws random numbers, and nothing that is learned by heart.
DRAWING = {
    "epochs": 3,
    "learning_rate": 0.005,
    "num_layers": 2,
    "layer_dropout": 0.2,
    "pooling": ("max", "attention"),
    "pretrain_epochs": 1,
    "validation_fraction": 0.25,
}
MANY, THEIRS = TEXTS * 4, LABELS * 4


def fitted(**params):
    """Return a classifier that has drawn random numbers everywhere."""
    classifier = TextClassifier(**{**SMALL, **DRAWING, **params})
    return classifier.fit(MANY, THEIRS)


def weights(classifier):
    """Return all weights as bytes."""
    state = classifier.network_.state_dict()
    return {name: value.numpy().tobytes() for name, value in state.items()}


def generators():
    """Return the states of the global generators."""
    legacy = np.random.get_state()[1].tolist()  # noqa: NPY002 - the global one is meant
    return random.getstate(), legacy, torch.get_rng_state().tolist()


def test_two_fits_at_once_give_the_weights_of_two_in_turn():
    """Threads that train at the same time don't affect each other."""
    seeds = [0, 1, 0, 1]
    alone = [weights(fitted(seed=seed)) for seed in seeds[:2]]
    with ThreadPoolExecutor(len(seeds)) as pool:
        together = list(pool.map(lambda seed: weights(fitted(seed=seed)), seeds))
    assert together == alone * 2
    assert alone[0] != alone[1]


def test_fits_in_threads_leave_global_generators_alone():
    """Another thread draws the same numbers, whether classifiers are trained or not."""
    before = generators()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda seed: fitted(seed=seed).predict_proba(TEXTS), range(2)))
    assert generators() == before

    torch.manual_seed(3)
    generator = torch.Generator().manual_seed(3)
    done, drawn = Event(), []

    def train():
        try:
            fitted()
        finally:
            done.set()

    thread = Thread(target=train)
    thread.start()
    while not done.wait(0.001):
        drawn.append(torch.rand(()).item())
    thread.join()
    assert len(drawn) > 50
    assert drawn == [torch.rand((), generator=generator).item() for _ in drawn]


def test_global_seeds_do_not_change_the_result():
    """Weights depend only on `seed`, not on global generators."""
    torch.manual_seed(1)
    first = weights(fitted())
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002 - the global one is meant
    random.seed(2)
    assert weights(fitted()) == first


def test_a_grid_search_in_threads_gives_the_scores_of_one_in_turn():
    """Scores of scikit-learn's search don't depend on the number of threads."""
    texts = [f"{text} {number % 13} {number % 7}" for number, text in enumerate(TEXTS)]
    labels = LABELS[:]
    random.Random(0).shuffle(labels)
    base = TextClassifier(**{**SMALL, "epochs": 2, "learning_rate": 0.005, "ngram_order": 0})

    def scores():
        search = GridSearchCV(base, {"hidden_size": [6, 7, 8]}, cv=2, scoring="neg_log_loss")
        results = search.set_params(n_jobs=3).fit(texts, labels).cv_results_
        return results["mean_test_score"].tolist()

    with joblib.parallel_backend("sequential"):
        expected = scores()
    with joblib.parallel_backend("threading", n_jobs=3):
        assert scores() == expected
    assert len(set(expected)) == 3


@pytest.mark.parametrize("drawing", ["word_dropout", "dropout", "embedding_dropout"])
def test_continued_training_draws_from_the_seed_too(drawing):
    """A copy that trains on depends only on the seed, and the classifier keeps no generator."""
    none = dict.fromkeys(("word_dropout", "dropout", "embedding_dropout"), 0.0)
    params = {**none, "layer_dropout": 0.0, drawing: 0.5, "warm_start": True, "ngram_order": 0}
    found = {}
    for seed in (5, 5, 6):
        classifier = fitted(**params, pretrain_epochs=0).set_params(seed=seed).fit(MANY, THEIRS)
        found.setdefault(seed, []).append(weights(classifier))
        assert classifier.network_.generator is None
    assert found[5][0] == found[5][1]
    assert found[5][0] != found[6][0]
