"""Tests of the cost of a fit: lazy paths, short histories and nothing imported in vain."""

import random
import subprocess
import sys
from pathlib import Path

import torch

from tests.test_estimator import small
from tests.test_ngrams import padded, random_texts
from textrnn.estimator import learning
from textrnn.ngrams import fit_ngrams, ngram_path, solver

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
        for model in ngram_path(loader, **options):
            fitted.append(options["prior_variances"])
            yield model

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
