"""The benchmark of deployed models: its programs, its rows and its sizes."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from examples.benchmarks import answering, deploy
from examples.benchmarks.report import table


@pytest.fixture(autouse=True)
def _tiny(monkeypatch) -> None:
    """Use few texts and a tiny model; fastText may be missing."""
    monkeypatch.setattr(deploy, "TRAIN_TEXTS", 60)
    monkeypatch.setattr(deploy, "SENTENCES", 20)
    monkeypatch.setattr(deploy, "STRINGS", 3)
    monkeypatch.setattr(deploy, "SETTINGS", {"epochs": 1, "hidden_size": 8, "embedding_size": 8})
    monkeypatch.setattr(deploy, "find_spec", lambda _: None)


def test_sentences_are_short_and_real():
    """They are parts of the texts, without empty ones."""
    sentences = deploy.read_sentences()
    assert len(sentences) == 20
    assert all(len(each) < 400 and each.strip() for each in sentences)


def test_a_request_gives_the_time_of_each_batch():
    """Each batch is answered once, in its order."""
    answered: list[list[str]] = []
    times = answering.measure(answered.append, [["oil"], ["goal", "tea"]])
    assert answered == [["oil"], ["goal", "tea"]]
    assert len(times["seconds"]) == 2
    assert all(seconds >= 0 for seconds in times["seconds"])


def test_a_program_that_fails_ends_the_benchmark(tmp_path, capfd):
    """A missing model gives the exit code, and the reason on the error stream."""
    with pytest.raises(RuntimeError, match="exit code 1"):
        deploy.Program("numpy", tmp_path / "none", "oil")
    assert "MissingFileError" in capfd.readouterr().err


@pytest.mark.slow
def test_all_of_a_deployed_model_is_measured(capfd):
    """The rows have start, memory, speed, equality and sizes of each program."""
    rows = [json.loads(json.dumps(row.to_dict())) for row in deploy.deploy(None, 1)]
    values = {row["name"]: row["value"] for row in rows}
    for program in ("textrnn.runtime", "TextClassifier"):
        assert 0 < values[f"fresh process to first answer, {program}"] < 600
        assert 5 < values[f"resident memory, {program}"] < 2000
        assert 0 < values[f"one short string, {program}"] < 60_000
    assert values["resident memory, textrnn.runtime"] < values["resident memory, TextClassifier"]
    assert values["20 sentences, textrnn.runtime"] > 0
    assert values["difference of probabilities, textrnn.runtime and TextClassifier"] < 1e-6
    assert values["model on disk, int8"] < values["model on disk, fp32"]
    assert values["installed, textrnn.runtime"] < values["installed, TextClassifier"]
    assert len(table(rows).splitlines()) == len(rows) + 2
    assert capfd.readouterr() == ("", "")


def test_packages_of_extras_are_not_needed():
    """What comes with the library is followed through all its packages."""
    needed = deploy.required("textrnn")
    assert {"torch", "numpy", "regex", "sympy"} <= needed.keys()
    assert needed.keys().isdisjoint({"pytest", "ruff", "sphinx", "scikit-learn"})
    assert 10 < deploy.installed_size("numpy") < 500


def test_a_folder_is_measured_without_compiled_files(tmp_path):
    """Files of subfolders count, bytecode does not."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.py").write_bytes(b"x" * 3000)
    (tmp_path / "a.pyc").write_bytes(b"x" * 9000)
    assert deploy.folder_size(tmp_path) == 0.003


@pytest.mark.slow
@pytest.mark.skipif(find_spec("fasttext") is None, reason="needs the extra `benchmarks`")
def test_fasttext_answers_with_all_labels(tmp_path):
    """The quantized model gives a probability to each label."""
    path: Path = tmp_path / "model.ftz"
    texts = ["oil prices soar today", "stocks fall again", "a goal", "two goals today"] * 20
    deploy.fit_fasttext(texts, ["b u", "b u", "s", "s"] * 20, path)
    labels, probabilities = answering.load("fasttext", str(path))(["oil stocks"])
    assert sorted(labels[0]) == ["__label__b_u", "__label__s"]
    assert abs(sum(probabilities[0]) - 1) < 1e-3
