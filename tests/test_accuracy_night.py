"""The example that pretrains a large LSTM for hours: result, continuation and blend."""

import json

import numpy as np
import pytest

from examples.accuracy.night import choose_share, main, mix
from tests.toys import write_parquet

TEXTS = ["a good fine film", "a bad awful film"] * 40


@pytest.fixture
def data(tmp_path):
    """Return a folder of labelled and unlabelled reviews."""
    folder = tmp_path / "data" / "imdb"
    folder.mkdir(parents=True)
    for part in ("train", "unsup"):
        write_parquet(folder / f"{part}.parquet", TEXTS, [1, 0] * 40)
    return folder.parent


def test_a_second_start_continues_from_the_checkpoints(data, tmp_path, capsys):
    """It trains nothing again, and its result is the same but for the seconds."""
    sizes = ["--hidden-size", "8", "--embedding-size", "8", "--epochs", "1", "--precision", "fp32"]
    arguments = ["--data", str(data), "--folder", str(tmp_path / "night"), "--validation", *sizes]
    results = []
    for _ in range(2):
        assert main(arguments) == 0
        results.append(json.loads((tmp_path / "night" / "result.json").read_text()))
        assert set(results[-1].pop("processor_seconds")) == {"pretrain", "fit", "ngrams"}
    assert results[0] == results[1]
    assert results[0]["accuracy"]["ngrams"] == 1.0
    assert [record["epoch"] for record in results[0]["pretraining"]] == [1, 2]
    printed = capsys.readouterr()
    assert printed.out.count('"blend"') == 2
    assert printed.err.count("epoch 1 of 2") == 1


def test_missing_reviews_are_told_in_one_line(data, tmp_path, capsys):
    """Without the unlabelled reviews, the message names the file."""
    (data / "imdb" / "unsup.parquet").unlink()
    assert main(["--data", str(data), "--folder", str(tmp_path), "--validation"]) == 1
    assert "error: There is no" in capsys.readouterr().err


def test_the_better_model_gets_the_larger_share():
    """The share has the lowest loss, and a mix is a distribution."""
    sure, wrong = np.log([[0.9, 0.1], [0.1, 0.9]]), np.log([[0.2, 0.8], [0.8, 0.2]])
    labels = np.array([0, 1])
    assert choose_share(sure, wrong, labels) == (1.0, pytest.approx(-np.log(0.9)))
    assert choose_share(wrong, sure, labels) == (0.0, pytest.approx(-np.log(0.9)))
    np.testing.assert_allclose(mix(0.0, wrong, sure), sure)
    even = np.exp(mix(0.5, sure, wrong))
    np.testing.assert_allclose(even, [[0.6, 0.4], [0.4, 0.6]])
