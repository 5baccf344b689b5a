"""The benchmarks: their arithmetic and reports, and a run of each kind of work."""

import json

import pytest
import torch

from examples.benchmarks import notebook
from examples.benchmarks.corpus import Corpus, Split
from examples.benchmarks.measuring import Measurement, figure, in_turns, ratio
from examples.benchmarks.report import describe, report, table, write_plot
from examples.benchmarks.training import BareLoop, bucketed, classifier, one_epoch
from textrnn import Vocabulary, WordDataset, WordTokenizer

TEXTS = ["Oil prices soar!", "The keeper can't save it.", "Stocks fall.", "A striker scores"] * 4
LABELS = [2, 1, 2, 1] * 4


def test_a_ratio_is_the_median_of_the_turns():
    """Each turn gives a ratio of work per second; a slow turn does not change it."""
    row = ratio("ours", "theirs", [1.0, 10.0, 2.0], [3.0, 30.0, 10.0], bar=3, aim=4)
    assert (row.value, row.low, row.high) == (3.0, 3.0, 5.0)
    assert row.reaches(row.bar) is True
    assert row.reaches(row.aim) is False
    assert row.reaches(None) is None


def test_a_ratio_counts_the_work_of_each():
    """Half the work in half the time is not faster."""
    row = ratio("ours", "theirs", [1.0], [2.0], work=(50, 100))
    assert row.value == 1.0
    assert row.details["per_second"] == 50


def test_a_figure_can_have_an_upper_bar():
    """A figure at its upper bar reaches it."""
    row = figure("memory", [40.0, 50.0, 60.0], unit="MiB", bar=50)
    assert row.value == 50.0
    assert row.reaches(row.bar) is True


def test_work_is_timed_in_turns_after_a_warm_up():
    """The two calls alternate, and the warm-up is not timed."""
    calls = []
    ours, theirs = in_turns(lambda: calls.append("a"), lambda: calls.append("b"), repeats=2)
    assert "".join(calls) == "ababab"
    assert len(ours) == len(theirs) == 2


def test_the_table_says_which_bars_are_reached(tmp_path):
    """A row has the baseline, the spread, and whether bar and aim are reached."""
    row = Measurement(
        name="training", against="a loop", value=2.5, low=2.25, high=3.0, bar=2.0, aim=3.0
    ).to_dict()
    line = table([json.loads(json.dumps(row))]).splitlines()[-1]
    assert line == "| training | a loop | 2.5x | 2.25 to 3 | 2 reached | 3 missed |"
    write_plot([row], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"


def test_a_plot_without_ratios_is_left_out(tmp_path):
    """Without ratios no plot is written."""
    write_plot([figure("time", [1.0], unit="s").to_dict()], tmp_path / "plot.png")
    assert not (tmp_path / "plot.png").exists()


def test_the_baseline_cuts_texts_as_the_library_does():
    """Both programs give the same tokens."""
    tokenizer = WordTokenizer()
    assert [notebook.tokenize(text) for text in TEXTS] == [tokenizer(text) for text in TEXTS]


def test_the_baseline_trains_and_predicts():
    """The notebook's program learns the training texts."""
    torch.manual_seed(0)
    ids = notebook.count_words(TEXTS, more_than=0)
    program = notebook.Program(TEXTS, LABELS, ids, cell="gru", hidden_size=16, num_layers=1)
    for _ in range(40):
        program.train()
    assert program.evaluate(TEXTS, LABELS, ids) == 1.0


def test_the_bare_loop_and_the_trainer_do_the_same_steps():
    """On the same batches both end with the same weights."""
    vocabulary = Vocabulary.from_texts(TEXTS)
    dataset = WordDataset(TEXTS, LABELS, vocabulary, WordTokenizer())
    batches = list(bucketed(dataset, batch_size=4))
    models = []
    for train in (lambda model: one_epoch(model, batches), lambda model: BareLoop(model, batches)):
        torch.manual_seed(0)
        model = classifier(len(vocabulary), "RNN 256")
        train(model)()
        models.append(model)
    pairs = zip(models[0].parameters(), models[1].parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_a_missing_data_folder_ends_in_one_line(tmp_path):
    """Without data the message says which folder to set, as soon as data are needed."""
    corpus = Corpus(str(tmp_path))
    with pytest.raises(SystemExit, match="set the folder with the data sets"):
        _ = corpus.train


def test_made_texts_have_the_words_and_lengths_of_real_ones(data_dir):
    """Generated texts are reproducible and have the words and lengths of real texts."""
    corpus = Corpus(str(data_dir))
    made = corpus.made(200, seed=1)
    assert isinstance(made, Split)
    assert len(made.texts) == len(made.labels) == 200
    assert made == corpus.made(200, seed=1)
    known = set(Vocabulary.from_texts(corpus.train.texts).tokens)
    assert all(word in known for text in made.texts for word in text.split())
    mean = sum(len(text.split()) for text in made.texts) / 200
    assert 25 < mean < 50


def test_figures_say_where_they_come_from():
    """A sentence names date, threads, processor, versions and commit."""
    where = {
        "date": "2026-11-23",
        "threads": 2,
        "processor": "AVX2",
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "commit": "0123456789abcdef",
    }
    assert describe(where) == (
        "Measured on 2026-11-23 with 2 threads of a processor with AVX2; python 3.11.7, "
        "torch 2.13.0; commit 012345678."
    )
    assert describe(where | {"commit": None}).endswith("commit unknown.")


def test_each_environment_has_a_table_of_its_own():
    """Rows of the same environment are in one table."""
    here = {"date": "2026-11-23", "threads": 2, "processor": "AVX2", "versions": {}, "commit": "a"}
    there = here | {"processor": "AVX512"}
    row = Measurement(name="one", value=1.0, low=1.0, high=1.0).to_dict()
    parts = {
        "first": {"environment": here, "rows": [row]},
        "second": {"environment": there, "rows": [row | {"name": "two"}]},
        "third": {"environment": here, "rows": [row | {"name": "three"}]},
    }
    text = report(json.loads(json.dumps(parts)))
    first, second = text.split(describe(here))
    assert text.count("| what |") == 2
    assert "| one |" in first
    assert "| three |" in first
    assert "| two |" in second
    assert second.endswith(f"{describe(there)}\n")
