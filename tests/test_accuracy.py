"""The accuracy example: texts, baselines, result files and report."""

import json
import re
import shutil
import sys
from collections import Counter
from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from examples.accuracy.__main__ import main
from examples.accuracy.baselines import (
    BASELINES,
    FastText,
    LinearSvc,
    NbSvm,
    TfIdf,
    VowpalWabbit,
    plain_line,
)
from examples.accuracy.data import (
    TASKS,
    Data,
    Reader,
    cut_sentences,
    first_sentence,
    stratified,
)
from examples.accuracy.notebook import NotebookGru
from examples.accuracy.recipes import Recipe, read_recipe
from examples.accuracy.report import overview, report, write_report
from examples.accuracy.results import (
    Result,
    finished,
    load_results,
    measure,
    result_path,
    save_result,
)
from examples.accuracy.rows import Row, rows_of
from examples.ag_news import data as ag_news
from examples.ag_news.data import Corpus, Texts, load_folder
from examples.ag_news.experiments import EXPERIMENTS
from examples.ag_news.runner import Runner
from tests.toys import write_parquet
from textrnn.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    MissingDependencyError,
    MissingKeyError,
)

SAMPLE = Path(ag_news.__file__).with_name("sample")
TINY = ["tiny", "epochs=1", "hidden_size=4", "embedding_size=4", "max_length=12"]
NEWS = ["oil prices soar", "stocks fall", "a striker scores", "the keeper saves"]
PAIRS = Texts(NEWS * 8, [2, 2, 1, 1] * 8)
DATA = Data("news", PAIRS, PAIRS.select(range(4)))


@pytest.fixture(name="folder")
def _folder(tmp_path):
    """Return a folder with the news sample, and with reviews without a test file."""
    shutil.copytree(SAMPLE, tmp_path / "data" / "ag_news")
    (tmp_path / "data" / "imdb").mkdir()
    texts = [f"Fine! The film number {i} was good to look at.<br />More of it." for i in range(50)]
    write_parquet(tmp_path / "data" / "imdb" / "train.parquet", texts, [0, 1] * 25)
    return tmp_path / "data"


def row_of(task="ag-news-1000", method="tf-idf", accuracies=(0.5,), **others):
    """Return a result for each accuracy."""
    values = {
        "task": task,
        "part": "test",
        "method": method,
        "title": method.upper(),
        "baseline": method in BASELINES,
        "settings": {},
        "data": {
            "title": "AG-33k",
            "fingerprint": "0",
            "train_texts": 1000,
            "judge_texts": 400,
            "mean_words": 35.3,
        },
        "seconds": {"fit": 30.0, "fit_processor": 55.0, "predict": 0.5, "predict_processor": 0.9},
        "facts": {},
        "environment": {"device_name": "a processor", "threads": 2, "commit": "1" * 40},
    }
    values |= others
    return [
        Result(**values, seed=seed, accuracy=accuracy, correct=round(accuracy * 400))
        for seed, accuracy in enumerate(accuracies)
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One two three four five six.", "One two three four five six."),
        ("One two three four five.", None),
        ("Too short. This one has just enough words. And more.", "This one has just enough words."),
        ("Wow!!! Was this (really) the film of 1999? Yes.", "Was this (really) the film of 1999?"),
        ('"A film for all the family." So they say.', '"A film for all the family."'),
        ("No full stop at its end<br /><br />Next line.", "No full stop at its end"),
        ("The 3.5 stars of it are too many. No.", "The 3.5 stars of it are too many."),
        ("one two three - four ... five", None),
        (
            "first line is short\nbut the second one is long enough",
            "but the second one is long enough",
        ),
        (
            " ".join(["word"] * 31) + ". Now one that is not too long.",
            "Now one that is not too long.",
        ),
        (" ".join(["word"] * 30), " ".join(["word"] * 30)),
        ("", None),
    ],
)
def test_a_reviews_sentence_is_the_first_of_6_to_30_words(text, sentence):
    """Sentences end at marks before white space, at line breaks and at line-break tags."""
    assert first_sentence(text) == sentence


@given(st.text(alphabet="ab1 .!?\"')\n<br/>", max_size=200))
def test_a_sentence_is_a_part_of_its_text_and_has_6_to_30_words(text):
    """The sentence is a substring of the text, and punctuation does not count as a word."""
    sentence = first_sentence(text)
    if sentence is not None:
        assert sentence in text
        assert 6 <= sum(any(map(str.isalnum, piece)) for piece in sentence.split()) <= 30
        assert first_sentence(sentence) == sentence


def test_a_review_without_such_a_sentence_gives_none():
    """The other texts keep their labels."""
    texts = Texts(["Short.", "This film is a bit too long. I slept."], [0, 1])
    assert cut_sentences(texts) == Texts(["This film is a bit too long."], [1])


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60).flatmap(
        lambda labels: st.tuples(st.just(labels), st.integers(0, len(labels)))
    ),
    st.integers(0, 5),
)
def test_a_part_has_its_size_and_every_class_in_proportion(drawn, seed):
    """Each class has its share, rounded up or down, and no text is drawn twice."""
    labels, count = drawn
    rows = stratified(labels, count, seed=seed)
    assert len(rows) == len(set(rows)) == count
    assert rows == sorted(rows)
    chosen = Counter(labels[row] for row in rows)
    for label, all_of_it in Counter(labels).items():
        assert abs(chosen[label] - all_of_it * count / len(labels)) < 1


def test_parts_differ_by_seed_and_grow():
    """The same seed gives the same texts, and a larger part contains a smaller one."""
    labels = [0, 1] * 100
    small, large = (stratified(labels, count, seed=3) for count in (20, 100))
    assert set(small) < set(large)
    assert small == stratified(labels, 20, seed=3)
    assert small != stratified(labels, 20, seed=4)


def test_a_validation_part_is_cut_from_the_training_texts(folder):
    """The evaluation texts are always the same fifth and are not used for training."""
    reader = Reader(folder, validation=True)
    whole = reader.read(TASKS["ag-news"], seed=0)
    assert (len(whole.train), len(whole.judge)) == (3200, 800)
    train, _ = ag_news.load_folder(SAMPLE)
    assert sorted([*whole.train.texts, *whole.judge.texts]) == sorted(train.texts)
    part = reader.read(TASKS["ag-news-1000"], seed=1)
    assert part.judge == whole.judge
    assert len(part.train) == 1000
    assert set(part.train.texts) <= set(whole.train.texts)
    assert part.train != reader.read(TASKS["ag-news-1000"], seed=2).train
    assert part.fingerprint != whole.fingerprint


def test_the_test_texts_judge_otherwise(folder):
    """All training texts are used for training, and the test file for evaluation."""
    data = Reader(folder, validation=False).read(TASKS["ag-news"], seed=0)
    train, test = ag_news.load_folder(SAMPLE)
    assert (data.train, data.judge) == (train, test)
    assert data.title == "AG News (4,000 training texts)"


def test_sentences_are_cut_after_the_validation_part(folder):
    """No review contributes to both training and evaluation texts."""
    data = Reader(folder, validation=True).read(TASKS["sentences"], seed=0)
    assert (len(data.train), len(data.judge)) == (40, 10)
    assert data.train.texts[0].startswith("The film number ")
    assert not set(data.train.texts) & set(data.judge.texts)
    assert data.title.endswith(", short sentences")


def test_validation_opens_no_test_file(folder, tmp_path):
    """A missing or unreadable test file does not matter."""
    (folder / "ag_news" / "test.parquet").write_bytes(b"not to be read")
    arguments = ["--data", str(folder), "--output", str(tmp_path / "out"), "--validation"]
    arguments += ["--only", "ag-news-1000", "--seeds", "1", "--model", "tf-idf"]
    assert main(arguments) == 0
    assert not (tmp_path / "out" / "test").exists()
    reader = Reader(folder, validation=True)
    reader.check([TASKS["imdb"]])  # these reviews have no test file at all
    assert len(reader.read(TASKS["imdb"], seed=0).judge) == 10


def test_missing_and_damaged_data_are_told_in_one_line(folder, tmp_path, capsys):
    """The message names the file and says what to do."""
    arguments = ["--data", str(folder), "--output", str(tmp_path / "out"), "--model", "tf-idf"]
    assert main([*arguments, "--only", "imdb"]) == 1
    assert re.match(
        r"error: There is no \S+imdb/test\.parquet: set the folder", capsys.readouterr().err
    )
    (folder / "imdb" / "train.parquet").write_bytes(b"no table")
    assert main([*arguments, "--only", "imdb", "--validation"]) == 1
    assert "has no columns `text` and `label`" in capsys.readouterr().err


def test_columns_of_other_kinds_are_refused(tmp_path):
    """Texts are strings, labels are class ids."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "imdb").mkdir()
    path = tmp_path / "imdb" / "train.parquet"
    reader = Reader(tmp_path, validation=True)
    parquet.write_table(arrow.table({"text": ["a", None], "label": [0, 1]}), path)
    with pytest.raises(CorruptFileError, match="texts that are not strings"):
        reader.read(TASKS["imdb"], seed=0)
    parquet.write_table(arrow.table({"text": ["a", "b"], "label": [0, -1]}), path)
    with pytest.raises(CorruptFileError, match="labels that are not class ids"):
        reader.read(TASKS["imdb"], seed=0)


def test_texts_without_labels_are_added_where_asked_for(folder):
    """They are read from their own file, and labels in it are ignored."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    reader = Reader(folder, validation=True)
    with pytest.raises(InvalidValueError, match=r"There is no \S+imdb/unsup\.parquet"):
        reader.check([TASKS["imdb"]], unlabelled=True)
    texts = ["Short.", "This film is a bit too long. I slept."]
    path = folder / "imdb" / "unsup.parquet"
    parquet.write_table(arrow.table({"text": texts, "label": [-1, -1]}), path)
    reader.check([TASKS["imdb"]], unlabelled=True)
    plain = reader.read(TASKS["imdb"], seed=0)
    whole = reader.read(TASKS["imdb"], seed=0, unlabelled=True)
    assert (plain.unlabelled, whole.unlabelled) == (None, texts)
    assert (plain.train, plain.judge) == (whole.train, whole.judge)
    assert plain.fingerprint != whole.fingerprint
    cut = reader.read(TASKS["sentences"], seed=0, unlabelled=True)
    assert cut.unlabelled == ["This film is a bit too long."]
    parquet.write_table(arrow.table({"body": texts}), path)
    with pytest.raises(CorruptFileError, match="has no column `text`"):
        Reader(folder, validation=True).read(TASKS["imdb"], seed=0, unlabelled=True)


def test_a_part_of_the_training_texts_has_all_texts_without_labels(folder):
    """Unlabelled texts are not reduced with the labelled ones."""
    write_parquet(folder / "ag_news" / "unsup.parquet", ["Oil soars"] * 3, [0] * 3)
    data = Reader(folder, validation=True).read(TASKS["ag-news-1000"], seed=0, unlabelled=True)
    assert (len(data.train), data.unlabelled) == (1000, ["Oil soars"] * 3)


def test_a_recipe_learns_from_texts_without_labels(folder, tmp_path, capsys):
    """The result records them, and other unlabelled texts make another run."""
    write_parquet(folder / "ag_news" / "unsup.parquet", ["gas soars"] * 30, [0] * 30)
    out = tmp_path / "out"
    arguments = ["--data", str(folder), "--output", str(out), "--only", "ag-news-1000"]
    arguments += ["--model", "tf-idf", "--seeds", "1", "--device", "cpu"]
    more = ["--recipe", *TINY, "pretrain_epochs=1", "unlabelled=true"]
    assert main([*arguments, *more]) == 0
    plain, tiny = load_results(out, "test")
    assert (plain.data["unlabelled_texts"], tiny.data["unlabelled_texts"]) == (0, 30)
    assert plain.data["fingerprint"] != tiny.data["fingerprint"]
    assert tiny.settings["unlabelled"] is True
    assert tiny.facts["settings"]["pretrain_epochs"] == 1
    assert "unlabelled=True" in (out / "test.md").read_text("utf-8")
    write_parquet(folder / "ag_news" / "unsup.parquet", ["war"] * 30, [0] * 30)
    assert main([*arguments, *more]) == 1
    assert "has other settings or other texts" in capsys.readouterr().err
    assert main([*arguments, "--recipe", "x", "unlabelled=true"]) == 1
    assert "Expected `unlabelled` to be None where nothing is pretrained" in capsys.readouterr().err


def test_named_recipes_have_a_preset():
    """The two `best` recipes differ only in unlabelled texts."""
    best, more = (read_recipe([name], device="cpu") for name in ("best", "best-unlabelled"))
    best.prepare()
    more.prepare()
    assert (best.unlabelled, more.unlabelled) == (False, True)
    assert more.settings == {**best.settings, "unlabelled": True}
    with pytest.raises(InvalidTypeError, match="`unlabelled` to be true or false, but got 'yes'"):
        read_recipe(["my", "unlabelled=yes"], device="cpu").prepare()


def test_a_recipe_without_a_network_has_no_epochs():
    """The result file of n-grams alone has 0 epochs, and the report of the fit."""
    texts, labels = ["oil prices", "striker scores"] * 60, [0, 1] * 60
    recipe = read_recipe(["alone", "network=false"], device="cpu")
    facts = recipe.fit(texts, labels, seed=0).facts
    assert facts["epochs"] == 0
    assert facts["report"]["accuracy"] == {"ngrams": 1.0}


def test_a_recipe_with_minutes_is_tuned():
    """The result records the trials; pretraining on other texts is not searched."""
    texts, labels = ["oil prices soar", "the keeper saves"] * 60, [0, 1] * 60
    recipe = read_recipe([*TINY, "minutes=0.001"], device="cpu")
    recipe.prepare()
    fitted = recipe.fit(texts, labels, seed=1)
    assert fitted.predict(texts[:2]) == [0, 1]
    assert (fitted.facts["tuned"], fitted.facts["trials"]) == ({}, [])
    assert fitted.facts["settings"]["seed"] == 1
    assert read_recipe(["tuned"], device="cpu").settings == {"minutes": 10}
    with pytest.raises(InvalidValueError, match="Expected `minutes` to be a number above 0"):
        read_recipe(["my", "minutes=0"], device="cpu").prepare()
    with pytest.raises(InvalidValueError, match="Expected `unlabelled` to be false with"):
        read_recipe(["my", "minutes=1", "unlabelled=true"], device="cpu").prepare()


def test_a_task_needs_its_texts(folder):
    """A part larger than the data set raises an error."""
    reader = Reader(folder, validation=True)
    with pytest.raises(InvalidValueError, match=r"needs 5,000 training texts, but .* has 3,200"):
        reader.read(TASKS["ag-news-5000"], seed=0)


def test_known_sets_have_their_names(data_dir):
    """AG-33k is not called AG News."""
    reader = Reader(data_dir, validation=True)
    assert reader.read(TASKS["ag-news"], seed=0).title == "AG-33k"
    assert reader.read(TASKS["imdb"], seed=0).title == "IMDB"


def test_the_linear_model_is_scikit_learns():
    """It learns, and its settings are those of the result file."""
    method = TfIdf()
    fitted = method.fit(PAIRS.texts, PAIRS.labels, seed=0)
    assert fitted.predict(["oil soars", "striker"]) == [2, 1]
    assert fitted.facts["features"] == 16
    assert method.settings == {
        "ngram_range": [1, 2],
        "sublinear_tf": True,
        "C": 10.0,
        "max_iter": 1000,
    }


def test_fasttext_learns_chooses_and_repeats_itself():
    """The same texts and seed give the same model, with the settings that predict best."""
    pytest.importorskip("fasttext")
    method = FastText(choices=((50, 1.0, 0), (1, 0.001, 5)))
    fitted = [method.fit(PAIRS.texts, PAIRS.labels, seed=1) for _ in range(2)]
    texts = ["Oil soars", "A striker\nscores!", ""]
    assert fitted[0].facts["chosen"] == [50, 1.0, 0]
    assert fitted[0].predict(texts)[:2] == [2, 1]
    assert fitted[0].predict(texts) == fitted[1].predict(texts)


@pytest.mark.parametrize(
    "method", [LinearSvc(), NbSvm(), VowpalWabbit()], ids=lambda method: method.name
)
def test_other_baselines_learn_and_repeat_themselves(method):
    """The same texts and seed give the same predictions; signs that a file reserves are words."""
    pytest.importorskip("vowpalwabbit") if method.name == "vowpal-wabbit" else method.prepare()
    fitted = [method.fit(PAIRS.texts, PAIRS.labels, seed=1) for _ in range(2)]
    texts = ["Oil soars", "A striker | scores: 1:0!", ""]
    assert fitted[0].predict(texts)[:2] == [2, 1]
    assert fitted[0].predict(texts) == fitted[1].predict(texts)


def test_texts_for_fasttext_can_not_pass_for_labels():
    """A text is one line in lower case without label marks."""
    assert plain_line("__label__1 (Oil)<br />soars\n</s>!") == "1 ( oil ) soars < / s> !"


@pytest.mark.parametrize(
    ("method", "module"),
    [
        ("fasttext", "fasttext"),
        ("tf-idf", "sklearn.linear_model"),
        ("linear-svc", "sklearn.svm"),
        ("nb-svm", "sklearn.svm"),
        ("vowpal-wabbit", "vowpalwabbit"),
    ],
)
def test_a_missing_package_is_told_at_once(method, module, folder, monkeypatch, capsys):
    """The message names the extra, and no run has started."""
    out = folder / "out"
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'textrnn\[benchmarks\]'"):
        BASELINES[method].prepare()
    arguments = ["--data", str(folder), "--output", str(out), "--only", "ag-news-1000"]
    assert main([*arguments, "--model", "default", method]) == 1
    assert f"This needs `{module}`" in capsys.readouterr().err
    assert not out.exists()


def test_the_notebooks_gru_is_that_of_the_experiment(tmp_path):
    """It predicts what the experiment predicts, with the same checkpoint."""
    train, test = (texts.select(range(200)) for texts in load_folder(SAMPLE))
    runner = Runner(Corpus.of(train, test), tmp_path, torch.device("cpu"))
    run = runner.run(EXPERIMENTS["exp1-gru"], 1)
    gru = NotebookGru("cpu")
    gru.prepare()
    fitted = gru.fit(train.texts, train.labels, seed=1)
    assert fitted.predict(test.texts) == [int(digit) for digit in run.predictions]
    assert fitted.facts["validation"] == run.chosen["accuracy"]
    assert gru.settings == run.settings


def test_a_recipe_has_settings_as_json_or_plain_words():
    """Lists become tuples, and the classifier checks the names of its parameters."""
    recipe = read_recipe(["my-1", "hidden_size=3", "cell=rnn", 'pooling=["max"]'], device="cpu")
    assert recipe.settings == {"hidden_size": 3, "cell": "rnn", "pooling": ["max"]}
    recipe.prepare()
    facts = (
        Recipe("tiny", {**recipe.settings, "epochs": 1}, "cpu")
        .fit(*vars(PAIRS).values(), seed=5)
        .facts
    )
    assert facts["settings"]["pooling"] == ("max",)
    assert facts["settings"]["seed"] == 5
    assert facts["settings"]["hidden_size"] == 3
    assert facts["epochs"] == 1
    with pytest.raises(InvalidValueError, match="Expected a parameter of TextClassifier"):
        read_recipe(["my", "epoch=3"], device="cpu").prepare()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["best of all"], "a recipe name of lower-case letters"),
        (["../x", "cell=rnn"], "a recipe name of lower-case letters"),
        (["tf-idf", "cell=rnn"], "'tf-idf' is a baseline"),
        (["wide"], "There is no recipe 'wide'; choose from: default"),
        (["default", "cell=rnn"], "'default' has fixed settings"),
        (["wide", "cell"], "a setting as key=value, but got 'cell'"),
        (["wide", "seed=3"], "Expected 'seed' from --seeds"),
        (["wide", "device=cpu"], "Expected 'device' from --device"),
    ],
)
def test_bad_recipes_are_refused(words, message):
    """Each message says what is wrong."""
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        read_recipe(words, device="cpu")


def test_a_run_is_measured_and_kept(tmp_path):
    """The result file records the settings and texts of the run, and is found again."""
    task, method = TASKS["ag-news-1000"], TfIdf()
    result = measure(task, DATA, method, part="test", seed=1, device="cpu")
    assert (result.accuracy, result.correct) == (1.0, 4)
    assert result.seconds.keys() == {"fit", "fit_processor", "predict", "predict_processor"}
    assert result.data["train_texts"] == 32
    assert result.environment.keys() >= {
        "device_name",
        "threads",
        "commit",
        "torch",
        "scikit-learn",
    }
    path = result_path(tmp_path, task, "test", method, 1)
    assert finished(path, method.settings, DATA.fingerprint) is None
    save_result(path, result)
    assert [entry.name for entry in path.parent.iterdir()] == ["ag-news-1000-tf-idf-seed1.json"]
    assert finished(path, method.settings, DATA.fingerprint) == result
    assert load_results(tmp_path, "test") == [result]
    for settings, fingerprint in (({}, DATA.fingerprint), (method.settings, "other")):
        with pytest.raises(InvalidValueError, match="other settings or other texts"):
            finished(path, settings, fingerprint)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format_version": 2}', "versions"])
def test_a_damaged_result_is_told(content, tmp_path):
    """An invalid file or another version raises an error that names the file."""
    path = result_path(tmp_path, TASKS["imdb"], "test", TfIdf(), 0)
    save_result(path, row_of()[0])
    if content == "versions":
        content = json.dumps(json.loads(path.read_text()) | {"format_version": 2})
    path.write_text(content)
    with pytest.raises(CorruptFileError, match=r"imdb-tf-idf-seed0\.json is not a result file"):
        load_results(tmp_path, "test")


def test_the_command_measures_reports_and_skips(folder, tmp_path, capsys):
    """Each run prints a line and writes a file; finished runs are skipped."""
    out = tmp_path / "out"
    arguments = ["--data", str(folder), "--output", str(out), "--only", "ag-news-1000"]
    arguments += ["--model", "tf-idf", "--recipe", *TINY, "--device", "cpu"]
    assert main([*arguments, "--seeds", "1"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"\[2/2\] ag-news-1000 tiny seed 0: accuracy [\d.]+ % on 1,000 test", printed)
    files = {path.name: path.read_bytes() for path in (out / "test").iterdir()}
    assert sorted(files) == ["ag-news-1000-tf-idf-seed0.json", "ag-news-1000-tiny-seed0.json"]
    assert main([*arguments, "--seeds", "2"]) == 0
    assert capsys.readouterr().out.count(": finished before; ") == 2
    assert all((out / "test" / name).read_bytes() == files[name] for name in files)
    text = (out / "test.md").read_text("utf-8")
    assert "| 1,000 | TF-IDF + logistic regression | " in text
    assert "## AG News (4,000 training texts)\n\n1,000 evaluation texts; " in text
    assert (out / "test.svg").read_text("utf-8").startswith("<?xml")
    assert main(["--report-only", "--output", str(out)]) == 0
    assert main(["--report-only", "--output", str(tmp_path / "empty")]) == 1
    assert "There are no finished runs in" in capsys.readouterr().err


def test_what_has_no_chance_in_it_runs_once(folder, tmp_path, monkeypatch):
    """On all texts the linear model does not depend on the seed."""
    runs = []
    measured = row_of()[0]

    def note(task, data, method, **others):
        del data
        runs.append((task.name, method.name, others["seed"]))
        return measured

    monkeypatch.setattr("examples.accuracy.__main__.measure", note)
    monkeypatch.setattr("examples.accuracy.__main__.save_result", mock.Mock())
    monkeypatch.setattr("examples.accuracy.__main__.write_report", mock.Mock(return_value=[]))
    arguments = ["--data", str(folder), "--output", str(tmp_path), "--seeds", "2"]
    arguments += ["--only", "ag-news", "ag-news-1000", "--model", "tf-idf", "default"]
    assert main(arguments) == 0
    assert runs == [
        ("ag-news", "tf-idf", 0),
        ("ag-news", "default", 0),
        ("ag-news-1000", "tf-idf", 0),
        ("ag-news-1000", "default", 0),
        ("ag-news", "default", 1),
        ("ag-news-1000", "tf-idf", 1),
        ("ag-news-1000", "default", 1),
    ]


def test_ctrl_c_leaves_what_is_finished(folder, tmp_path, monkeypatch, capsys):
    """The command says how to continue, and exits with 130."""
    interrupted = mock.Mock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr("examples.accuracy.__main__.measure", interrupted)
    arguments = ["--data", str(folder), "--output", str(tmp_path), "--only", "ag-news-1000"]
    assert main([*arguments, "--model", "tf-idf"]) == 130
    assert "run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "ag"], "There is no task 'ag'; choose from: ag-78k, ag-news"),
        (["--model", "svm"], "There is no method 'svm'; choose from: tf-idf, linear-svc"),
        (["--recipe", "a", "cell=rnn", "--recipe", "a", "cell=gru"], "Two recipes have the same"),
        (["--device", "abacus"], "The device 'abacus' can't be used here"),
    ],
)
def test_a_wrong_choice_is_told(arguments, message, capsys):
    """The message lists the choices."""
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "many"])
def test_seeds_are_counted(number, capsys):
    """The number of seeds is a positive integer."""
    with pytest.raises(SystemExit, match="2"):
        main(["--seeds", number])
    assert f"expected a positive integer, but got '{number}'" in capsys.readouterr().err


def test_the_list_names_tasks_and_methods(capsys):
    """The list has all tasks and methods, with their settings."""
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(
        f"\n  {name} " in printed for name in [*TASKS, *BASELINES, "notebook-gru", "default"]
    )
    assert "ngram_range=[1, 2], sublinear_tf=True, C=10.0, max_iter=1000" in printed


def test_a_difference_is_taken_seed_by_seed_to_the_best_baseline():
    """The best baseline has the highest mean; the spread is that of the differences."""
    rows = rows_of(
        [
            *row_of(method="tf-idf", accuracies=(0.80, 0.90)),
            *row_of(method="fasttext", accuracies=(0.81, 0.83)),
            *row_of(method="wide", accuracies=(0.82, 0.91, 0.99)),
        ]
    )
    assert [row.rival and row.rival.method for row in rows] == [None, None, "tf-idf"]
    assert rows[2].differences == pytest.approx([2, 1])
    text = report(rows, "test")
    assert "| AG-33k, 1,000 | TF-IDF, 85.00 ± 7.07 | +1.50 ± 0.71 |" in text
    assert ("| 1,000 | WIDE | 90.67 ± 8.50 | 3 | +1.50 ± 0.71 | 30.0 (55.0) | 300 | 0.5 |") in text


def test_a_baseline_without_chance_stands_against_every_seed():
    """A single run is compared with each seed."""
    rows = rows_of([*row_of(accuracies=(0.9,)), *row_of(method="wide", accuracies=(0.91, 0.93))])
    assert rows[1].differences == pytest.approx([1, 3])


def test_a_report_says_what_judged():
    """The title names the evaluation texts."""
    rows = rows_of(row_of(accuracies=(0.5,)))
    assert report(rows, "test").startswith("# Accuracy on the test texts\n")
    assert report(rows, "validation").startswith(
        "# Accuracy on validation parts, 20 % of the training texts; no test text was read\n"
    )
    assert "Difference to the best baseline\n" not in report(rows, "test")  # nothing to compare


def test_a_report_tells_rules_and_settings():
    """The sentence rule is included only if a task has short sentences."""
    sentences = row_of("sentences-1000", "wide", settings={"hidden_size": 256})
    text = report(rows_of(sentences), "test")
    assert "- **WIDE** (`wide`): `hidden_size=256`; other settings: defaults" in text
    assert "the first sentence that has 6 to 30 words" in text
    assert "6 to 30 words" not in report(rows_of(row_of()), "test")


def test_a_report_warns_of_results_from_several_states_of_the_code():
    """The commits of baselines do not matter."""
    other = {"device_name": "a processor", "threads": 1, "commit": "2" * 40 + "+"}
    rows = rows_of([*row_of(environment=other), *row_of(method="wide")])
    text = report(rows, "test")
    assert "- 1 run: a processor, 1 thread; ; commit 2222222222+" in text
    assert "come from" not in text
    rows = rows_of([*row_of(method="a", environment=other), *row_of(method="b")])
    assert "come from 2 commits" in report(rows, "test")


def test_a_picture_has_a_panel_for_each_set(tmp_path):
    """The bytes of the plot depend only on the figures."""
    pytest.importorskip("matplotlib")
    for name in ("one", "two"):
        reviews = row_of()[0].data | {"title": "IMDB"}
        for result in (*row_of(), *row_of("imdb", "wide", (0.5, 0.6), data=reviews)):
            path = tmp_path / name / "test" / f"{result.task}-{result.method}-{result.seed}.json"
            save_result(path, result)
        assert write_report(tmp_path / name) == [tmp_path / name / "test.md"]
    for file in ("test.svg", "test-seconds.svg", "test-overview.svg"):
        pictures = [(tmp_path / name / file).read_bytes() for name in ("one", "two")]
        assert pictures[0] == pictures[1]
        assert b"IMDB" in pictures[0]


def test_times_in_the_overview_are_plain_numbers(tmp_path):
    """A range of hardly a decade has no labels in powers of ten, which overlap."""
    pytest.importorskip("matplotlib")
    for method, time in (("tf-idf", 3.5), ("wide", 47.0)):
        (result,) = row_of(method=method, seconds=row_of()[0].seconds | {"fit_processor": time})
        save_result(tmp_path / "test" / f"{method}.json", result)
    write_report(tmp_path)
    picture = (tmp_path / "test-overview.svg").read_text("utf-8")
    assert ">30</text>" in picture
    assert "\N{MULTIPLICATION SIGN}" not in picture


def test_the_overview_has_the_largest_task_of_each_set():
    """The table has accuracies and processor seconds; the best mean is bold."""
    larger = row_of()[0].data | {"train_texts": 2500}
    rows = rows_of(
        [
            *row_of(method="tf-idf", accuracies=(0.80, 0.90)),
            *row_of("ag-news-2500", "tf-idf", (0.85,), data=larger),
            *row_of("ag-news-2500", "wide", (0.88,), data=larger),
        ]
    )
    head, rule, *lines = overview(rows).splitlines()
    assert head == "| method | AG-33k, 2,500 |"
    assert rule == "|---|---:|"
    assert re.fullmatch(r"\| WIDE \| \*\*88.0 %\*\*, \S+ s \|", lines[0])
    assert re.fullmatch(r"\| TF-IDF \| 85.0 %, \S+ s \|", lines[1])


def test_a_row_without_a_rival_has_no_difference():
    """Without a baseline there is no difference."""
    row = Row(task="imdb", method="wide", runs=row_of(method="wide"))
    assert row.differences == []


def test_any_method_can_be_what_others_are_compared_with():
    """The table has a row per method, best first, and a column per task."""
    rows = rows_of(
        [
            *row_of(method="tf-idf", accuracies=(0.80, 0.90)),
            *row_of(method="plain", accuracies=(0.82, 0.84)),
            *row_of(method="wide", accuracies=(0.83, 0.87)),
            *row_of("ag-news-2500", "plain", (0.9,)),
            *row_of("ag-news-2500", "wide", (0.89,)),
        ],
        "plain",
    )
    rivals = [row.rival and row.rival.method for row in rows]
    assert rivals == ["plain", None, "plain", None, "plain"]
    lines = report(rows, "validation", "plain").splitlines()
    assert "## Difference to `plain`" in lines
    head = lines.index("| method | AG-33k, 1,000: 83.00 ± 1.41 | AG-33k, 1,000: 90.00 |")
    assert lines[head + 2 : head + 4] == [
        "| TF-IDF | +2.00 ± 5.66 |  |",
        "| WIDE | +2.00 ± 1.41 | -1.00 |",
    ]


def test_a_picture_of_differences_has_a_panel_for_each_task(tmp_path):
    """The plot names the methods, and its bytes depend only on the figures."""
    pytest.importorskip("matplotlib")
    for name in ("one", "two"):
        for result in (*row_of(method="plain"), *row_of(method="wide", accuracies=(0.5, 0.6))):
            path = tmp_path / name / "test" / f"{result.task}-{result.method}-{result.seed}.json"
            save_result(path, result)
        assert write_report(tmp_path / name, "plain") == [tmp_path / name / "test.md"]
    pictures = [(tmp_path / name / "test.svg").read_bytes() for name in ("one", "two")]
    assert pictures[0] == pictures[1]
    assert b"difference, points" in pictures[0]


def test_a_picture_of_the_reference_alone_is_empty(tmp_path):
    """The report can be written when there are no differences yet."""
    pytest.importorskip("matplotlib")
    save_result(tmp_path / "test" / "a.json", row_of(method="plain")[0])
    write_report(tmp_path, "plain")
    assert "Difference to" not in (tmp_path / "test.md").read_text("utf-8")


def test_a_reference_without_runs_is_told_before_any_run(folder, tmp_path, capsys):
    """The message lists the available methods, including those of finished runs."""
    pytest.importorskip("sklearn")
    with pytest.raises(MissingKeyError, match="'wide' to compare with; choose from: tf-idf"):
        rows_of(row_of(), "wide")
    save_result(tmp_path / "runs" / "validation" / "a.json", row_of(method="narrow")[0])
    words = ["--data", str(folder), "--only", "ag-news-1000", "--output", str(tmp_path / "runs")]
    words += ["--validation", "--model", "tf-idf", "--reference", "wide"]
    assert main(words) == 1
    assert "choose from: tf-idf, narrow." in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "runs" / "validation").iterdir()] == ["a.json"]
