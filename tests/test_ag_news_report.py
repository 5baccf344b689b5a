"""The report of the AG News example: figures and sentences, on made-up results."""

import html
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from examples.ag_news import plots
from examples.ag_news.analysis import analyse, confusion, grade
from examples.ag_news.experiments import EXPERIMENTS, Experiment
from examples.ag_news.report import write_report
from examples.ag_news.results import Result, load_results
from textrnn.errors import InvalidValueError

RESULTS = Path(__file__).parents[1] / "examples" / "ag_news" / "results"
TEXTS = 1000
LABELS = "".join(str(row % 4) for row in range(TEXTS))


def make_up(name, accuracy, *, seed=0, looks=None, validation=None, first_wrong=0, **changes):
    """Return a result of that accuracy, with wrong texts from `first_wrong` on."""
    experiment = EXPERIMENTS.get(name, name)
    wrong = round((1 - accuracy) * TEXTS)
    predictions = "".join(
        str((int(label) + (first_wrong <= row < first_wrong + wrong)) % 4)
        for row, label in enumerate(LABELS)
    )
    looks = [0.25, *[accuracy] * (2 * experiment.epochs - 1)] if looks is None else looks
    result = Result(
        experiment=experiment.name,
        parent=experiment.parent,
        change=experiment.change,
        group=experiment.group,
        seed=seed,
        preset="full",
        precision="fp32",
        settings=experiment.settings(),
        data={
            "name": "sample",
            "fingerprint": "0123456789abcdef",
            "train_texts": 3800,
            "validation_texts": 200,
            "test_texts": TEXTS,
        },
        environment={
            "device": "cpu",
            "device_name": "a processor",
            "threads": 2,
            "platform": "Linux",
            "python": "3.11.9",
            "torch": "2.13.0",
            "numpy": "2.3.0",
            "textrnn": "0.1.0",
            "commit": "c0ffee",
        },
        vocabulary_size=5000,
        parameters=1_000_000,
        steps_per_epoch=30,
        seconds=90.0,
        look_seconds=3.0,
        texts_per_second=400.0,
        history=[
            {
                "epoch": epoch,
                "step": 30 * epoch,
                "loss": 1 / epoch,
                "learning_rate": 1e-3,
                "seconds": 9.0 * epoch,
                "eval_loss": 0.5,
                "eval_accuracy": accuracy,
            }
            for epoch in range(1, experiment.epochs + 1)
        ],
        looks=[
            {"epoch": 1 + n // 2, "step": 1 + 15 * n, "accuracy": look, "gained": 5, "lost": 5}
            for n, look in enumerate(looks)
        ],
        chosen={"step": 30, "epoch": 1, "accuracy": accuracy if validation is None else validation},
        predictions=predictions,
        labels=LABELS,
        mistakes=[
            {"row": 3, "text": "Cup | `final` <b>", "label": 3, "prediction": 0, "confidence": 0.99}
        ],
    )
    return replace(result, **changes)


def make_up_model(name, accuracy, **changes):
    """Return a result of a model that was not trained like the notebook's networks."""
    values = {"parent": "baseline-mean", "group": "model", "settings": {}, "history": []}
    run = make_up(Experiment(name=name, change=f"{name} itself"), accuracy, **values)
    return replace(run, looks=[], steps_per_epoch=0, **changes)


def words_in(report):
    """Return the words of a report, with a bar after each cell of a table."""
    body = re.sub(r"<style>.*</style>", "", report.read_text("utf-8"), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", re.sub("</t[dh]>", "|", body))).split())


@pytest.fixture(name="words_of")
def _words_of(tmp_path, monkeypatch):
    """Return a function that writes the report without plots and returns its words."""
    for name in plots.__all__:
        monkeypatch.setattr(plots, name, lambda *_: "<svg/>")

    def words(results):
        return words_in(write_report(results, tmp_path))

    return words


def test_nothing_helped(words_of):
    """With equal models, no change helped or hurt, and no model differs from the best."""
    names = ("baseline-mean", "baseline-max", "exp1-gru", "exp2-gru-3-layers", "exp3-15-epochs")
    words = words_of([make_up(name, 0.8) for name in names])
    assert "Helped: none of the 4 changes compared." in words
    assert "Hurt: none of the 4 changes compared." in words
    assert (
        "No significant difference: baseline-max, exp1-gru, exp2-gru-3-layers and exp3-15-epochs."
    ) in words
    assert "It does not differ significantly from any of the 4 others." in words
    assert "80.00 % gives no point, and so does 80.00 % by the notebook's method." in words
    assert (
        "exp1-gru|+0.00|+0.00 to +0.00|1.000|no significant difference|0, 0|baseline-mean|cell rnn "
        "to gru|+0.74|helped|"
    ) in words


def test_many_changes_without_a_difference_are_counted(words_of):
    """More than six of them are not named one by one above the table."""
    names = [name for name in EXPERIMENTS if not name.startswith("exp")]
    words = words_of([make_up("exp1-gru", 0.8), *(make_up(name, 0.8) for name in names)])
    assert "No significant difference: all 11 changes." in words
    results = [make_up(name, 0.8 - 0.2 * (name == "concat-last")) for name in names]
    words = words_of([make_up("exp1-gru", 0.8), *results])
    assert "No significant difference: the other 10 changes." in words
    assert "It differs significantly only from concat-last." in words


def test_some_changes_helped_and_some_hurt(words_of):
    """The largest effect comes first, with its size and its parent."""
    results = [
        make_up("baseline-mean", 0.80),
        make_up("exp1-gru", 0.85),
        make_up("exp2-gru-3-layers", 0.95),
        make_up("exp3-15-epochs", 0.70),
        make_up("baseline-max", 0.801),
    ]
    words = words_of(results)
    assert (
        "Helped: exp2-gru-3-layers (+10.00 points against exp1-gru), "
        "exp1-gru (+5.00 points against baseline-mean)."
    ) in words
    assert "Hurt: exp3-15-epochs (-25.00 points against exp2-gru-3-layers)." in words
    assert "No significant difference: baseline-max." in words
    assert "95.00 % exp2-gru-3-layers 3 layers instead of 1" in words
    assert "It has the best validation accuracy (95.00 %)." in words
    assert "It differs significantly from every other model." in words
    assert "95.00 % gives three points" in words


def test_everything_hurt(words_of):
    """If all changes hurt, the baseline is best and no change helped."""
    results = [make_up("baseline-mean", 0.9), make_up("baseline-max", 0.8)]
    words = words_of([*results, make_up("exp1-gru", 0.7)])
    assert "Helped: none of the 2 changes compared." in words
    assert "No significant difference:" not in words
    assert "The best model 90.00 % baseline-mean" in words
    assert "90.00 % gives one point" in words


def test_a_single_run_has_no_empty_section(words_of):
    """Without comparisons there is no word of changes; its curves are the picture."""
    words = words_of([make_up("baseline-mean", 0.8)])
    assert "1 run of 1 model on the included sample: 3,800 training texts" in words
    assert "The model 80.00 % baseline-mean" in words
    assert "The picture Accuracy in per cent over epochs" in words
    assert words.count("Loss over epochs") == 1
    assert "Experiments without a finished run: baseline-max, exp1-gru" in words
    for absent in ("helped", "changes", "on average", "best model", "differ significantly"):
        assert absent not in words.replace("descriptions of changes", "")


def test_a_missing_parent_is_not_compared(words_of):
    """Experiments without results are named, and their children are not compared."""
    words = words_of([make_up("baseline-mean", 0.8), make_up("exp2-gru-3-layers", 0.9)])
    assert "Experiments without a finished run: baseline-max, exp1-gru, exp3-15-epochs," in words
    assert "Which changes helped" not in words


def test_the_report_begins_with_what_the_notebook_is_and_the_best_model(words_of):
    """Its first lines say what "the notebook" is; best model, changes and picture follow."""
    words = words_of([make_up("baseline-mean", 0.8), make_up("exp1-gru", 0.9)])
    order = [
        "The notebook is a program that classified them with recurrent networks",
        "The best model 90.00 % exp1-gru",
        "Which changes helped Helped: exp1-gru (+10.00 points against baseline-mean)",
        "The picture",
        "All figures",
    ]
    assert sorted(order, key=words.index) == order


def test_other_models_are_compared_without_the_notebooks_method(words_of):
    """A model without evaluations on drawn texts has blanks, and needs no network beside it."""
    models = [make_up_model("tf-idf", 0.85), make_up_model("text-classifier", 0.95)]
    words = words_of([make_up("baseline-mean", 0.8), *models])
    assert "The best model 95.00 % text-classifier text-classifier itself" in words
    assert "Helped: text-classifier (+15.00 points against baseline-mean), tf-idf (+5.00" in words
    assert re.search(r"text-classifier\|95.00\|[\d.]+ to [\d.]+\|95.00\|\|\|1,000,000\|", words)
    assert "95.00 % gives three points. Environment" in words
    words = words_of(models)
    for absent in ("Its method", "The notebook's method", "convergence"):
        assert absent not in words


@pytest.mark.parametrize(
    ("best_looks", "difference", "runs"),
    [
        (
            (0.83, 0.85),
            "4.00 points higher",
            " on average (higher in 2 of 2 runs",
        ),
        ((0.78, 0.79), "1.50 points lower", " on average (higher in 0 of 2 runs"),
        (
            (0.83, 0.79),
            "1.00 points higher",
            " on average (higher in 1 of 2 runs",
        ),
        ((0.83,), "3.00 points higher", "."),
        ((0.79,), "1.00 points lower", "."),
    ],
)
def test_the_notebooks_method_may_give_more_or_less(words_of, best_looks, difference, runs):
    """The report says whether the notebook's method gives a higher or a lower accuracy."""
    names = ("baseline-mean", "baseline-max")
    results = [
        make_up(name, 0.8, looks=[0.25, 0.7, best, 0.6, 0.6, 0.6])
        for name, best in zip(names, best_looks, strict=False)
    ]
    words = words_of(results)
    assert f"the accuracy of a run is {difference} than by the honest one{runs}" in words


def test_the_difference_of_the_methods_has_two_parts(words_of):
    """The effects of selection by test texts and of the draw are separated."""
    result = make_up("baseline-mean", 0.8, looks=[0.25, 0.7, 0.9, 0.6, 0.6, 0.6])
    row = analyse([result]).rows[0]
    drawn = np.random.RandomState(42).choice(np.arange(TEXTS), 658)
    assert row.drawn == pytest.approx(np.mean([result.correct[text] for text in drawn]))
    assert (
        f"both on the drawn texts: {100 * (0.9 - row.drawn):+.2f} points. Draw: that "
        "checkpoint on the drawn texts, instead of all test texts: "
        f"{100 * (row.drawn - 0.8):+.2f} points."
    ) in words_of([result])


def test_stability_is_a_number(words_of):
    """Stability is spread, range, drift and differences after the first third of training."""
    looks = [0.25, 0.5, 0.80, 0.82, 0.80, 0.82]
    steady = make_up("baseline-mean", 0.8, looks=[0.25, 0.5, 0.8, 0.8, 0.8, 0.8])
    restless = make_up("baseline-max", 0.8, looks=looks)
    restless.looks[4].update(gained=5, lost=60)
    analysis = analyse([steady, restless])
    stability = analysis.rows[1].stability
    assert stability["looks"] == 4
    assert stability["spread"] == pytest.approx(np.std([0.8, 0.82, 0.8, 0.82], ddof=1))
    assert stability["width"] == pytest.approx(0.02)
    assert stability["drift"] == pytest.approx(0.0)
    assert (stability["swings"], stability["significant"]) == (3, 1)
    assert analysis.rows[0].stability["significant"] == 0
    words = words_of([steady, restless])
    assert (
        "a standard deviation of 0.00 points (baseline-mean) to 1.15 points "
        "(baseline-max). 1 of 6 differences between successive evaluations is significant"
    ) in words


def test_steady_runs_have_no_significant_difference(words_of):
    """The report says so if no difference between evaluations is significant."""
    words = words_of([make_up("baseline-mean", 0.8)])
    assert "a standard deviation of 0.00 points (baseline-mean). None of the 5 differences" in words


def test_runs_that_are_too_short_have_no_stability(words_of):
    """Two evaluations are too few."""
    words = words_of([make_up("baseline-mean", 0.8, looks=[0.25, 0.8])])
    assert "The runs are too short to measure the stability of convergence." in words


def test_figures_are_those_of_the_results():
    """Accuracy, interval, difference, gains and p-value follow from the predictions."""
    parent, child = make_up("baseline-mean", 0.80), make_up("exp1-gru", 0.82, first_wrong=150)
    analysis = analyse([child, parent])
    assert [row.name for row in analysis.rows] == ["baseline-mean", "exp1-gru"]
    interval = stats.binomtest(800, TEXTS).proportion_ci(0.95, method="wilson")
    assert analysis.rows[0].interval == (interval.low, interval.high)
    (comparison,) = analysis.comparisons
    # The parent is wrong on texts 0 to 199, the child on 150 to 329.
    assert (comparison.gained, comparison.lost) == (150, 130)
    assert comparison.difference == pytest.approx(0.02)
    assert (
        comparison.p_value == comparison.adjusted == pytest.approx(stats.binomtest(150, 280).pvalue)
    )
    assert comparison.interval[0] < 0.02 < comparison.interval[1]
    assert comparison.verdict == "open"
    assert comparison.notebook == pytest.approx(0.0074)
    assert dict(comparison.changes) == {"cell": ("rnn", "gru")}


def test_a_change_of_two_settings_is_named(words_of):
    """exp7 differs in cell and epochs, and the report says so."""
    words = words_of([make_up("exp6-exponential-lr", 0.8), make_up("exp7-lstm", 0.9)])
    assert "exp7-lstm differs from its parent in 2 settings at once (cell, epochs)" in words


def test_seeds_are_paired_and_averaged(words_of):
    """Only common seeds are compared; figures are means over seeds."""
    results = [
        *(make_up("baseline-mean", 0.80 + seed / 100, seed=seed) for seed in range(3)),
        *(make_up("exp1-gru", 0.85 + seed / 100, seed=seed) for seed in (0, 2)),
    ]
    analysis = analyse(results)
    (comparison,) = analysis.comparisons
    assert list(comparison.seeds) == [0, 2]
    assert comparison.difference == pytest.approx(0.05)
    assert (comparison.gained, comparison.lost) == (100, 0)
    assert comparison.verdict == "helped"
    assert analysis.rows[0].accuracy == pytest.approx(0.81)
    assert analysis.rows[0].seed_spread == pytest.approx(0.01)
    words = words_of(results)
    assert "Each comparison is between 2 pairs of trained models, one per seed" in words
    assert "a standard deviation of 1.00 to 1.41 points" in words
    assert "Deviation of seeds" in words


def test_experiments_without_a_common_seed_are_not_compared():
    """A comparison needs a common seed."""
    results = [make_up("baseline-mean", 0.8, seed=0), make_up("exp1-gru", 0.9, seed=1)]
    analysis = analyse(results)
    assert not analysis.comparisons
    assert not analysis.rivals


def test_the_best_is_chosen_by_validation_not_by_test_texts():
    """The best model has the highest validation accuracy, not the highest test accuracy."""
    results = [
        make_up("baseline-mean", 0.80, validation=0.90),
        make_up("exp1-gru", 0.95, validation=0.85),
    ]
    assert analyse(results).best.name == "baseline-mean"


@pytest.mark.parametrize(
    ("validation", "expected"),
    [
        (0.85, "Of the 1 setting of the search, search-dropout-0 has the best validation"),
        (
            0.80,
            "Of the 1 setting of the search, none has a higher validation accuracy than",
        ),
    ],
)
def test_the_search_is_judged_by_the_validation_part(words_of, validation, expected):
    """The report names the best setting, or says that none is better."""
    results = [make_up("exp1-gru", 0.8), make_up("search-dropout-0", 0.8, validation=validation)]
    assert expected in words_of(results)


def test_confusions_are_counted_by_label_and_prediction():
    """Rows are true classes, columns predicted ones."""
    result = make_up("baseline-mean", 0.8, labels="0011", predictions="0131")
    assert confusion(result).tolist() == [[1, 1, 0, 0], [0, 1, 0, 1], [0] * 4, [0] * 4]


def test_confusions_are_described(words_of):
    """The most common mistake is named with its count; a perfect model has none."""
    words = words_of([make_up("baseline-mean", 0.8)])
    assert "The most common mistake is World predicted as Sports: 50 of 250 texts." in words
    perfect = make_up("baseline-mean", 1.0, mistakes=[])
    words = words_of([perfect])
    assert "Every test text is classified correctly." in words
    assert "most confident mistakes" not in words


@pytest.mark.parametrize(
    ("accuracy", "points"),
    [(0.8999, 0), (0.90, 1), (0.9099, 1), (0.91, 2), (0.9149, 2), (0.915, 3), (1.0, 3)],
)
def test_grades_are_the_notebooks(accuracy, points):
    """90 %, 91 % and 91.5 % give one, two and three points."""
    assert grade(accuracy) == points


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AG-33k", "AG-33k is a part of the notebook's 120,000 training texts"),
        ("AG-78k", "AG-78k is 65 % of the notebook's 120,000 training texts"),
        ("AG News", "These are all texts of the notebook."),
        ("sample", "It is far too small for conclusions"),
        ("other data (8 + 8 texts)", "These are not the texts of the notebook."),
    ],
)
def test_the_data_set_is_named(words_of, name, expected):
    """Every report describes its data."""
    result = make_up("baseline-mean", 0.8)
    words = words_of([replace(result, data={**result.data, "name": name})])
    assert f"on {'the included sample' if name == 'sample' else name}: 3,800" in words
    assert expected in words


def test_a_preset_is_named(words_of):
    """The report says which settings a preset reduced."""
    words = words_of([make_up("baseline-mean", 0.8, preset="quick")])
    assert "all experiments ran with two thirds of the epochs and a quarter of the hidden" in words


def test_a_checkpoint_of_each_seed_is_named(words_of):
    """The table of convergence has one epoch per seed."""
    results = [make_up("baseline-mean", 0.8, seed=seed) for seed in (0, 1)]
    results[1].chosen["step"] = 45
    assert "|1.0, 1.5 of 5|" in words_of(results)


@pytest.fixture(scope="module", name="report")
def _report(tmp_path_factory):
    """Return a report with all plots."""
    results = [make_up("baseline-mean", 0.8), make_up("exp1-gru", 0.85)]
    return write_report(results, tmp_path_factory.mktemp("report"))


def test_the_report_is_the_same_each_time(report, tmp_path):
    """Two reports on the same results are equal byte by byte, including plots."""
    results = [make_up("baseline-mean", 0.8), make_up("exp1-gru", 0.85)]
    assert write_report(results, tmp_path).read_bytes() == report.read_bytes()


class Page(HTMLParser):
    """Collect the text and the sources of a page, and check that its tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.text, self.sources = [], [], []

    def handle_starttag(self, tag, attrs):
        """Record the tag and its sources."""
        if tag not in {"meta", "img"}:
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag):
        """Check that the last open tag is closed."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Collect the text."""
        self.text.append(data)


def test_the_page_is_self_contained_and_well_formed(report):
    """It loads nothing, closes its tags, escapes markup in texts, and lets wide tables scroll."""
    page = Page()
    page.feed(report.read_text("utf-8"))
    assert not page.open
    assert len(page.sources) == 2 + 4 + 1  # accuracies and changes, curves, confusions
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert any("Cup | `final` <b>" in text for text in page.text)
    source = report.read_text("utf-8")
    assert source.count('<div class="table" tabindex="0"><table>') == source.count("<table>") == 4
    assert ".table { overflow-x: auto;" in source


@pytest.mark.parametrize("name", ["ag-33k", "ag-78k", "sample"])
def test_the_committed_reports_are_those_of_the_committed_results(words_of, name):
    """Each committed page has the words that its results give."""
    assert words_of(load_results(RESULTS / name)) == words_in(RESULTS / name / "report.html")


def test_the_table_of_measured_results_is_that_of_the_committed_runs():
    """Each row of the README of the results has the accuracies of the committed runs."""
    readme = (RESULTS / "README.md").read_text("utf-8")
    found = re.findall(
        r"^\| `([\w.-]+)` \| ([\d. ±]*?) *\| ([\d.]*) *\| ([\d.]*) *\|$", readme, re.MULTILINE
    )
    expected = {name: ["", "", ""] for name in EXPERIMENTS}
    for column, data in enumerate(("ag-78k", "ag-33k")):
        for row in analyse(load_results(RESULTS / data)).rows:
            spread = "" if row.seed_spread is None else f" ± {100 * row.seed_spread:.2f}"
            expected[row.name][column] = f"{100 * row.accuracy:.2f}{spread}"
            expected[row.name][2] = "" if row.notebook is None else f"{100 * row.notebook:.2f}"
    assert {name: figures for name, *figures in found} == expected


def test_results_of_different_data_are_not_mixed():
    """Results of several data sets, or no results, raise an error."""
    result = make_up("baseline-mean", 0.8)
    other = make_up("exp1-gru", 0.8, data={**result.data, "fingerprint": "f" * 16})
    with pytest.raises(InvalidValueError, match="The results are of different data sets"):
        analyse([result, other])
    with pytest.raises(InvalidValueError, match="There are no finished runs"):
        analyse([])
