"""Tests of the cost of a fit: lazy paths, short histories and nothing imported in vain."""

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import get_ident

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.test_estimator import LABELS, TEXTS, small
from tests.test_ngrams import padded, random_texts
from textrnn.data import PaddingCollator
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.estimator import learning, model, settings
from textrnn.estimator.batches import RandomPart
from textrnn.estimator.threads import limited_threads
from textrnn.ngrams import fit_ngrams, ngram_path, solver
from textrnn.nn import RecurrentClassifier

ROOT = Path(__file__).parent.parent


def test_a_fit_does_not_import_the_compiler_of_pytorch():
    """Its import takes longer than the fit of a few texts."""
    program = (
        "import sys\n"
        "from textrnn import TextClassifier\n"
        "texts, labels = ['oil falls', 'a striker scores'] * 60, [0, 1] * 60\n"
        "TextClassifier(hidden_size=4, embedding_size=4, epochs=1).fit(texts, labels)\n"
        "assert 'torch' in sys.modules and 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)  # noqa: S603 # our own


def test_a_path_ends_where_the_held_out_loss_grows(monkeypatch):
    """Closer fits, which take longer, are not tried."""
    fitted = []

    def path(loader, **options):
        for each in ngram_path(loader, **options):
            fitted.append(options["prior_variances"])
            yield each

    monkeypatch.setattr(learning, "ngram_path", path)
    draw = random.Random(0)
    texts = [" ".join(draw.choices("abcdefghij", k=5)) for _ in range(300)]
    labels = ["a" in text if draw.random() < 0.8 else draw.random() < 0.5 for text in texts]
    small(epochs=1, validation_fraction=0.5).fit(texts, labels)
    assert len(fitted) < len(learning._VARIANCES)
    assert len(fitted[-1]) == 1  # the refit


def test_the_solution_does_not_depend_on_the_length_of_the_history(monkeypatch):
    """With many texts and classes, fewer past steps are kept."""
    texts, labels = random_texts(seed=5)
    batch = padded(texts, labels)
    models = []
    for values in (solver._MAX_HISTORY_VALUES, 1):
        monkeypatch.setattr(solver, "_MAX_HISTORY_VALUES", values)
        models.append(fit_ngrams([batch], vocab_size=40, num_classes=3))
    logits = [model(batch.input_ids, batch.lengths) for model in models]
    assert torch.allclose(*logits, atol=0.05)
    assert not torch.equal(*logits)


def watching(seen):
    """Return a tokenizer that notes the number of threads while a classifier is fitted."""

    def tokenize(text):
        seen.add(torch.get_num_threads())
        return text.split()

    return tokenize


@pytest.fixture
def four_threads():
    """Let PyTorch use four threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(("given", "used"), [(None, 1), (1, 1), (3, 3), (4, 4), (100, 4)])
def test_the_number_of_threads_is_a_limit_and_comes_back(given, used):
    """Few texts are trained on with one thread, and no number exceeds that of PyTorch."""
    seen = set()
    small(epochs=1, num_threads=given, tokenizer=watching(seen)).fit(TEXTS, LABELS)
    assert seen == {used}
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_many_texts_are_trained_on_with_all_threads(monkeypatch):
    """From 20,000 texts on, the default is PyTorch's own number."""
    monkeypatch.setattr(settings, "_MANY_TEXTS", len(TEXTS))
    seen = set()
    small(epochs=1, tokenizer=watching(seen)).fit(TEXTS, LABELS)
    assert seen == {4}


@pytest.mark.usefixtures("four_threads")
def test_threads_come_back_after_an_error():
    """Also if a fit fails."""
    with pytest.raises(AttributeError):
        small(tokenizer=lambda text: text.words).fit(TEXTS, LABELS)
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_fits_at_the_same_time_leave_the_number_of_threads():
    """A fit that begins within another one does not take its limit for PyTorch's number."""
    with limited_threads(1):
        with ThreadPoolExecutor(1) as pool:
            inside = pool.submit(small(epochs=1).fit, TEXTS, LABELS)
        assert inside.exception() is None
    assert torch.get_num_threads() == 4
    with ThreadPoolExecutor(1) as pool:  # a new thread begins with the last number that was set
        assert pool.submit(torch.get_num_threads).result() == 4


@pytest.mark.usefixtures("four_threads")
def test_a_limit_within_a_limit_gives_the_outer_one_back():
    """Also if the inner one is no limit."""
    for inner in (1, None, 9):
        with limited_threads(2):
            with limited_threads(inner):
                assert torch.get_num_threads() == min(inner or 2, 2)
            assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_batches_are_predicted_side_by_side(monkeypatch):
    """Each in a thread of its own with one core, with the same predictions in the same order."""
    classifier = small(epochs=1).fit(TEXTS, LABELS)
    texts = [*TEXTS, "oil"] * 2
    alone = classifier.predict_proba(texts)
    threads = []

    def watched(network, ids, lengths):
        threads.append((get_ident(), torch.get_num_threads()))
        return forward(network, ids, lengths)

    forward = RecurrentClassifier.forward
    monkeypatch.setattr(RecurrentClassifier, "forward", watched)
    monkeypatch.setattr(model, "_MIN_IDS", 20)
    np.testing.assert_allclose(classifier.predict_proba(texts), alone, atol=1e-6)
    assert len(threads) >= 4
    assert get_ident() not in {thread for thread, _ in threads}
    assert {number for _, number in threads} == {1}
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("number", [0, -1, 1.5, "two"])
def test_a_wrong_number_of_threads_is_refused(number):
    """It is a positive integer."""
    with pytest.raises((InvalidTypeError, InvalidValueError), match="`num_threads` to be"):
        small(num_threads=number).fit(TEXTS, LABELS)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    most=st.integers(3, 30),
    seed=st.integers(0, 99),
)
def test_a_random_part_is_a_run_of_tokens(lengths, most, seed):
    """Longer texts give a run of `max_length` tokens, other texts stay whole."""
    texts = [torch.arange(1, length + 1) for length in lengths]
    items = [{"input_ids": text, "label": 0, "index": i} for i, text in enumerate(texts)]
    collate = PaddingCollator()
    batch = RandomPart(collate, 0, most, seed=seed)(items)
    assert batch.input_ids.shape[1] <= max(most, max(lengths) if max(lengths) <= most else 0)
    for row, length, text in zip(batch.input_ids, batch.lengths.tolist(), texts, strict=True):
        assert length == min(len(text), most)
        assert (row[:length].diff() == 1).all()
        assert 1 <= row[0] <= len(text) - length + 1
        assert not row[length:].any()


def test_random_parts_cover_a_text():
    """Each run of tokens may be drawn, the first and the last one too."""
    part = RandomPart(PaddingCollator(), 0, 3, seed=0)
    items = [{"input_ids": torch.arange(1, 6), "label": 0, "index": 0}]
    assert {int(part(items).input_ids[0, 0]) for _ in range(50)} == {1, 2, 3}


def test_only_training_cuts_long_texts():
    """Predictions see all tokens, so that words at the end count."""
    padding = " ".join(["word"] * 200)
    texts = [f"{padding} {'good' if i % 2 else 'bad'}" for i in range(120)]
    classifier = small(ngram_order=2, max_train_length=20).fit(texts, [i % 2 for i in range(120)])
    assert classifier.settings_["max_train_length"] == 20
    assert classifier.predict([f"{padding} good", f"{padding} bad"]).tolist() == [1, 0]
