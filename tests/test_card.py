"""The model card of a saved classifier."""

import torch

from tests.models import fit
from textrnn import TextClassifier


def test_the_card_tells_a_person_what_the_model_is(tmp_path):
    """The card has labels, data, metrics, settings and use, in valid tables."""
    texts, labels = ["oil prices", "the striker scores"] * 4, ["a|b\n*c*", "plain"] * 4
    params = {"hidden_size": 4, "epochs": 2, "device": "cpu", "progress": False}
    classifier = TextClassifier(**params).fit(texts, labels, eval_set=(texts, labels))
    classifier.save(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: textrnn\npipeline_tag: text-classification\n")
    assert "| a\\|b\\\\n\\*c\\* | 4 |" in card
    assert f"| accuracy | {classifier.metrics_['accuracy']:.4f} |" in card
    assert "| training texts | 8 |" in card
    assert "| `epochs` | 2 |" in card
    assert 'TextClassifier.load("this/folder")' in card
    assert f"PyTorch {torch.__version__}" in card
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert all(line.endswith(" |") for line in rows)


def test_the_card_of_a_model_without_measures_says_so(tmp_path):
    """Without metrics the card has none."""
    fit(labels=[["a"], ["b"]]).save(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Nothing was measured" in card
    assert "any number of labels out of 2" in card


def test_the_card_lists_the_first_labels_only(tmp_path):
    """A long list of labels is cut."""
    texts = [f"word{i}" for i in range(60)]
    TextClassifier(hidden_size=2, epochs=1, progress=False).fit(texts, range(60)).save(
        tmp_path / "model"
    )
    card = (tmp_path / "model" / "README.md").read_text()
    assert "and 10 more, all of them in `labels.json`" in card


def test_the_card_escapes_what_a_terminal_or_a_browser_obeys(tmp_path):
    """A label is text, whatever characters it has."""
    fit(labels=("\x1b[2Jgone", "<script>alert(1)</script>")).save(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "\x1b" not in card
    assert "\\x1b" in card
    assert "\\<script>" in card
    assert card.count("<script>") == card.count("\\<script>")


def test_the_card_shortens_long_labels(tmp_path):
    """One label of thousands of characters does not hide the others."""
    fit(labels=("short", "x" * 9000)).save(tmp_path / "model")
    assert len((tmp_path / "model" / "README.md").read_text()) < 5000
