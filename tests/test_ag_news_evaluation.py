"""The two evaluation methods of the AG News example."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from examples.ag_news.data import Texts
from examples.ag_news.results import describe_predictions
from examples.ag_news.runner import TestLooks, draw_like_the_notebook

# The notebook used NumPy's global generator, which is what the draw must agree with.
legacy_seed, legacy_choice, legacy_state = np.random.seed, np.random.choice, np.random.get_state


def legacy_draw(texts, size):
    """Draw like the two lines of the notebook."""
    legacy_seed(42)
    return legacy_choice(np.arange(texts), size)


def test_the_draw_is_the_notebooks():
    """The draw has the same 5,000 of 7,600 texts as the notebook, 3,608 of them distinct."""
    rows, counts = draw_like_the_notebook(7600)
    assert counts.sum() == 5000
    assert len(rows) == 3608
    assert np.array_equal(np.repeat(rows, counts), np.sort(legacy_draw(7600, 5000)))


def test_the_draw_leaves_the_global_generator_alone():
    """The draw neither reads nor changes global state."""
    before = legacy_state()[1].copy()
    draw_like_the_notebook(100)
    assert np.array_equal(before, legacy_state()[1])


@pytest.mark.parametrize(("texts", "size"), [(1000, 658), (4, 3), (1, 1)])
def test_other_sizes_are_drawn_in_proportion(texts, size):
    """The same share of fewer texts is drawn, but at least one."""
    rows, counts = draw_like_the_notebook(texts)
    assert np.array_equal(np.repeat(rows, counts), np.sort(legacy_draw(texts, size)))


@given(st.integers(2, 300), st.randoms(use_true_random=False))
def test_accuracy_counts_a_text_as_often_as_it_was_drawn(texts, random):
    """The accuracy of an evaluation is that of the texts drawn with replacement."""
    right = np.array([random.random() < 0.5 for _ in range(texts)])
    rows, counts = draw_like_the_notebook(texts)
    looks = looks_of([right[rows].astype(int).tolist()], labels=[1] * len(rows), counts=counts)
    looks.on_batch_end(SimpleNamespace(step=1, steps_per_epoch=1, epoch=1))
    drawn = legacy_draw(texts, int(counts.sum()))
    assert looks.looks[0]["accuracy"] == pytest.approx(right[drawn].mean())


def looks_of(answers, *, labels=(0, 1, 1), counts=(1, 1, 1)):
    """Return a `TestLooks` whose model gives these answers in turn."""
    answers = iter(answers)

    def predict():
        return torch.nn.functional.one_hot(torch.tensor(next(answers)), 2).float()

    return TestLooks(predict, torch.tensor(labels), np.array(counts))


@pytest.mark.parametrize(
    ("steps", "updates"),
    [(938, [1, 470, 939, 1408]), (249, [1, 125, 250, 374]), (2, [1, 2, 3, 4]), (1, [1, 2])],
)
def test_looks_are_made_when_the_notebook_made_them(steps, updates):
    """Evaluations follow the first and the middle update: 1 and 470 of 938."""
    looks = looks_of([[0, 0, 0]] * 4)
    for step in range(1, 2 * steps + 1):
        epoch = 1 + (step - 1) // steps
        looks.on_batch_end(SimpleNamespace(step=step, steps_per_epoch=steps, epoch=epoch))
    assert [look["step"] for look in looks.looks] == updates
    assert [look["epoch"] for look in looks.looks] == [1 + (s - 1) // steps for s in updates]


def test_looks_tell_what_they_gain_and_lose():
    """Newly correct and newly wrong texts are counted between successive evaluations."""
    looks = looks_of([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    for step in (1, 2, 3):
        looks.on_batch_end(SimpleNamespace(step=step, steps_per_epoch=1, epoch=step))
    table = [(look["accuracy"], look["gained"], look["lost"]) for look in looks.looks]
    assert table == [
        (pytest.approx(1 / 3), 0, 0),
        (pytest.approx(2 / 3), 1, 0),
        (pytest.approx(2 / 3), 1, 1),
    ]


def test_looks_survive_an_interruption():
    """A callback with a restored state continues like the original one."""
    states = [SimpleNamespace(step=step, steps_per_epoch=1, epoch=step) for step in (1, 2, 3)]
    answers = [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    whole, first, second = looks_of(answers), looks_of(answers[:2]), looks_of(answers[2:])
    for state in states:
        whole.on_batch_end(state)
    for state in states[:2]:
        first.on_batch_end(state)
    second.load_state_dict(first.state_dict())
    second.on_batch_end(states[2])
    assert second.looks == whole.looks
    fresh = looks_of([])
    fresh.load_state_dict(looks_of([]).state_dict())
    assert fresh.looks == []


def test_predictions_are_described_with_the_surest_mistakes():
    """Only mistakes are listed, the most confident first, with their texts."""
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    described = describe_predictions(probabilities, Texts(["a", "b", "c", "d"], [0, 0, 0, 1]))
    assert (described["predictions"], described["labels"]) == ("0111", "0001")
    assert described["mistakes"] == [
        {"row": 2, "text": "c", "label": 0, "prediction": 1, "confidence": 0.8},
        {"row": 1, "text": "b", "label": 0, "prediction": 1, "confidence": 0.6},
    ]
    many = describe_predictions(np.tile(probabilities[:1], (30, 1)), Texts(["a"] * 30, [1] * 30))
    assert [mistake["row"] for mistake in many["mistakes"]] == list(range(20))
