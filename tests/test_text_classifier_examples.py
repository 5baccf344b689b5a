"""The examples of `TextClassifier` run on a few texts."""

import pytest

from examples.text_classifier import from_csv, grid_search, hugging_face
from examples.text_classifier.sample import read_sample

FEW = ["--texts", "80", "--epochs", "1"]


def test_the_sample_has_names_for_its_classes():
    """The sample has the names of four classes."""
    texts, labels = read_sample("test", 30)
    assert len(texts) == len(labels) == 30
    assert set(read_sample("train")[1]) == {"World", "Sports", "Business", "Sci/Tech"}


def test_from_a_csv_to_predictions(capfd):
    """Three commands run, and each test text has a prediction."""
    from_csv.main(FEW)
    lines = capfd.readouterr().out.splitlines()
    commands = [line.split()[2] for line in lines if line.startswith("$ textrnn")]
    assert commands == ["train", "evaluate", "predict"]
    answers = lines[lines.index(next(line for line in lines if " predict " in line)) + 1 :]
    assert len(answers) == 81
    assert set(answers) <= {"World", "Sports", "Business", "Sci/Tech"}


def test_a_command_that_fails_ends_the_example():
    """The example exits with the exit code of the command."""
    with pytest.raises(SystemExit) as stop:
        from_csv.main(["--texts", "80", "--epochs", "0"])
    assert stop.value.code == 1


def test_a_hugging_face_data_set(capsys):
    """The class names of the data set are the labels."""
    assert 0 <= hugging_face.main(FEW) <= 1
    assert "Sci/Tech" in capsys.readouterr().out


def test_a_grid_search(capsys):
    """Every setting is evaluated, and the best one is printed."""
    assert 0 <= grid_search.main(FEW) <= 1
    output = capsys.readouterr().out
    assert output.count(" ± ") == 4
    assert "best: {'classify__cell': " in output


def test_half_entities_are_repaired():
    """Incomplete entities of apostrophes become apostrophes."""
    assert grid_search.unescape(["It #39;s here", "&#39;Yes"]) == ["It's here", "'Yes"]
