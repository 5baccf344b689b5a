"""The example that measures word vectors: vectors, runs and table."""

import json

import pytest

from examples.accuracy.vectors import main, report, train_vectors
from tests.toys import write_parquet
from textrnn.text import Vocabulary, read_vectors

TEXTS = ["a good fine film", "a bad awful film"] * 40
GLOVE = "a 0 0 1\ngood 1 0 0\nfine 0.9 0.1 0\nbad -1 0 0\nawful -0.9 0.1 0\nfilm 0 1 0\n"


def test_few_reviews_are_measured_with_and_without_vectors(tmp_path, capsys):
    """Each method is measured on each draw, and the table has the means."""
    (tmp_path / "imdb").mkdir()
    write_parquet(tmp_path / "imdb" / "train.parquet", TEXTS, [1, 0] * 40)
    vectors, output = tmp_path / "glove.txt", tmp_path / "runs" / "vectors.json"
    vectors.write_text(GLOVE)
    arguments = ["--vectors", vectors, "--data", tmp_path, "--output", output]
    assert main([*map(str, arguments), "--sizes", "12", "--seeds", "2"]) == 0
    runs = json.loads(output.read_text())["runs"]
    assert len(runs) == 6
    assert {run["accuracy"] for run in runs} == {1.0}
    assert capsys.readouterr().out.endswith("| 12 | 100.0 ± 0.0 | 100.0 ± 0.0 | 100.0 ± 0.0 |\n")
    assert "| 12 | 100.0 |" in report(runs[:3])


def test_missing_data_are_told_in_one_line(tmp_path, capsys):
    """The message names the file, also that of the texts to train vectors on."""
    assert main(["--vectors", str(tmp_path / "none"), "--data", str(tmp_path)]) == 1
    assert "error: There is no" in capsys.readouterr().err


def test_vectors_are_trained_without_labels(tmp_path):
    """Words that occur often have vectors in a file."""
    pytest.importorskip("fasttext")
    path = tmp_path / "made" / "vectors.vec"
    train_vectors(TEXTS, path)
    found = read_vectors(path, Vocabulary({"good": 1, "awful": 1, "unheard": 1}))
    assert found.coverage.words_found == 2
    assert [each.name for each in path.parent.iterdir()] == ["vectors.vec"]
