"""The report of the AG News example: figures and sentences, on made-up results."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from examples.ag_news import plots
from examples.ag_news.analysis import analyse, confusion, grade
from examples.ag_news.document import (
    Bullets,
    Cards,
    Chip,
    Code,
    Figure,
    Heading,
    Paragraph,
    Strong,
    Table,
    line,
    to_html,
    to_markdown,
)
from examples.ag_news.experiments import EXPERIMENTS
from examples.ag_news.plots import plot_run, training_losses
from examples.ag_news.report import write_report
from examples.ag_news.results import Result
from examples.ag_news.significance import mcnemar, wilson_interval
from textrnn.errors import InvalidValueError

TEXTS = 1000
LABELS = "".join(str(row % 4) for row in range(TEXTS))


def make_up(name, accuracy, *, seed=0, looks=None, validation=None, first_wrong=0, **changes):
    """Return a result of that accuracy, with wrong texts from `first_wrong` on."""
    experiment = EXPERIMENTS[name]
    wrong = round((1 - accuracy) * TEXTS)
    predictions = "".join(
        str((int(label) + (first_wrong <= row < first_wrong + wrong)) % 4)
        for row, label in enumerate(LABELS)
    )
    looks = [0.25, *[accuracy] * (2 * experiment.epochs - 1)] if looks is None else looks
    result = Result(
        experiment=name,
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


@pytest.fixture(name="words_of")
def _words_of(tmp_path, monkeypatch):
    """Return a function that writes the Markdown report without plots and without code marks."""
    for name in plots.__all__[:-1]:
        monkeypatch.setattr(plots, name, lambda path, _: write_bytes(path, b"<svg/>"))

    def words(results, **options):
        markdown, _ = write_report(analyse(results, **options), tmp_path)
        return markdown.read_text("utf-8").replace("`", "").replace("\\", "")

    return words


def write_bytes(path, data):
    """Write a file and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_nothing_helped(words_of):
    """With equal models, no change helped or hurt, and no model differs from the best."""
    names = ("baseline-mean", "baseline-max", "exp1-gru", "exp2-gru-3-layers", "exp3-15-epochs")
    words = words_of([make_up(name, 0.8) for name in names])
    assert "**Helped:** none of the 4 changes compared." in words
    assert "**Hurt:** none of the 4 changes compared." in words
    assert (
        "**No significant difference:** baseline-max, exp1-gru, exp2-gru-3-layers and "
        "exp3-15-epochs."
    ) in words
    assert "It does not differ significantly from any of the 4 others." in words
    assert "80.00 % gives **no point**, and so does 80.00 % by the notebook's method" in words
    assert not re.search(r"\| (helped|hurt) \|.*\| *\|$", words, re.MULTILINE)
    table = [row for row in words.splitlines() if row.startswith("| exp1-gru | baseline-mean")]
    assert [cell.strip() for cell in table[0].split("|")][4:9] == [
        "+0.00",
        "+0.00 to +0.00",
        "0, 0",
        "1.000",
        "no significant difference",
    ]


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
        "**Helped:** exp2-gru-3-layers (+10.00 points against exp1-gru), "
        "exp1-gru (+5.00 points against baseline-mean)."
    ) in words
    assert "**Hurt:** exp3-15-epochs (-25.00 points against exp2-gru-3-layers)." in words
    assert "**No significant difference:** baseline-max." in words
    assert "exp2-gru-3-layers has the best validation accuracy (95.00 %)" in words
    assert "It differs significantly from every other experiment." in words
    assert "95.00 % gives **three points**" in words


def test_everything_hurt(words_of):
    """If all changes hurt, the baseline is best and no change helped."""
    results = [make_up("baseline-mean", 0.9), make_up("baseline-max", 0.8)]
    words = words_of([*results, make_up("exp1-gru", 0.7)])
    assert "**Helped:** none of the 2 changes compared." in words
    assert "**No significant difference:**" not in words
    assert "- Best experiment: **baseline-mean**" in words
    assert "90.00 % gives **one point**" in words


def test_a_single_run_is_reported_without_comparisons(words_of, tmp_path):
    """A single experiment has no comparison; the others are listed as not run."""
    words = words_of([make_up("baseline-mean", 0.8)])
    assert "1 run of 1 experiment on **the included sample**: 3,800 training texts" in words
    assert "No experiment can be compared with its parent yet." in words
    assert "There is no other experiment to compare it with." in words
    assert "**Not run:** baseline-max, exp1-gru" in words
    assert "on average" not in words
    assert not (tmp_path / "plots" / "changes.svg").exists()


def test_unfinished_and_missing_experiments_are_named(words_of):
    """Started and never run experiments are distinguished; a missing parent is not compared."""
    results = [make_up("baseline-mean", 0.8), make_up("exp2-gru-3-layers", 0.9)]
    begun = [("exp1-gru", 0), ("baseline-mean", 0), ("baseline-mean", 1)]
    words = words_of(results, unfinished=begun)
    assert "**Started but not finished:** baseline-mean (seed 1) and exp1-gru (seed 0)." in words
    assert "**Not run:** baseline-max, exp3-15-epochs," in words
    assert "No experiment can be compared with its parent yet." in words


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
    assert f"the accuracy of a run is **{difference}** than by the honest one{runs}" in words


def test_the_difference_of_the_methods_has_two_parts(words_of):
    """The effects of selection by test texts and of the draw are separated."""
    result = make_up("baseline-mean", 0.8, looks=[0.25, 0.7, 0.9, 0.6, 0.6, 0.6])
    row = analyse([result]).rows[0]
    drawn = np.random.RandomState(42).choice(np.arange(TEXTS), 658)
    assert row.drawn == pytest.approx(np.mean([result.correct[text] for text in drawn]))
    assert (
        f"both on the drawn texts: **{100 * (0.9 - row.drawn):+.2f} points**. Draw: that "
        "checkpoint on the drawn texts, instead of all test texts: "
        f"**{100 * (row.drawn - 0.8):+.2f} points**."
    ) in words_of([result])


def test_stability_is_a_number(words_of):
    """Stability is spread, range, drift and differences after the first third of training."""
    looks = [0.25, 0.5, 0.80, 0.82, 0.80, 0.82]
    steady = make_up("baseline-mean", 0.8, looks=[0.25, 0.5, 0.8, 0.8, 0.8, 0.8])
    restless = make_up("baseline-max", 0.8, looks=looks)
    restless.looks[4].update(gained=5, lost=60)
    analysis = analyse([steady, restless])
    stability = analysis.rows[1].stability
    assert stability.looks == 4
    assert stability.spread == pytest.approx(np.std([0.8, 0.82, 0.8, 0.82], ddof=1))
    assert stability.width == pytest.approx(0.02)
    assert stability.drift == pytest.approx(0.0)
    assert (stability.swings, stability.significant_swings) == (3, 1)
    assert analysis.rows[0].stability.significant_swings == 0
    words = words_of([steady, restless])
    assert (
        "a standard deviation of **0.00 points** (baseline-mean) to **1.15 points** "
        "(baseline-max). 1 of 6 differences between successive evaluations is significant"
    ) in words


def test_steady_runs_have_no_significant_difference(words_of):
    """The report says so if no difference between evaluations is significant."""
    words = words_of([make_up("baseline-mean", 0.8)])
    assert (
        "a standard deviation of **0.00 points** (baseline-mean). None of the 5 differences"
        in words
    )


def test_runs_that_are_too_short_have_no_stability(words_of):
    """Two evaluations are too few."""
    words = words_of([make_up("baseline-mean", 0.8, looks=[0.25, 0.8])])
    assert "The runs are too short to measure the stability of convergence." in words


def test_figures_are_those_of_the_results():
    """Accuracy, interval, difference, gains and p-value follow from the predictions."""
    parent, child = make_up("baseline-mean", 0.80), make_up("exp1-gru", 0.82, first_wrong=150)
    analysis = analyse([child, parent])
    assert [row.name for row in analysis.rows] == ["baseline-mean", "exp1-gru"]
    assert analysis.rows[0].interval == wilson_interval(800, TEXTS)
    (comparison,) = analysis.comparisons
    # The parent is wrong on texts 0 to 199, the child on 150 to 329.
    assert (comparison.gained, comparison.lost) == (150, 130)
    assert comparison.difference == pytest.approx(0.02)
    assert comparison.p_value == comparison.adjusted == pytest.approx(mcnemar(150, 130))
    assert comparison.interval[0] < 0.02 < comparison.interval[1]
    assert comparison.verdict == "open"
    assert comparison.notebook == pytest.approx(0.0074)
    assert dict(comparison.changes) == {"cell": ("rnn", "gru")}


def test_a_change_of_two_settings_is_named(words_of):
    """exp7 differs in cell and epochs, and the report says so."""
    words = words_of([make_up("exp6-exponential-lr", 0.8), make_up("exp7-lstm", 0.9)])
    assert (
        "exp7-lstm differs from its parent in 2 settings at once (epochs, cell)"
        in words.replace("(cell, epochs)", "(epochs, cell)")
    )


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
    assert f"on **{'the included sample' if name == 'sample' else name}**" in words
    assert expected in words


def test_a_preset_is_named(words_of):
    """The report says which settings a preset reduced."""
    words = words_of([make_up("baseline-mean", 0.8, preset="quick")])
    assert "all experiments ran with two thirds of the epochs and a quarter of the hidden" in words


@pytest.fixture(scope="module", name="report")
def _report(tmp_path_factory):
    """Return the folder of a report with all plots."""
    folder = tmp_path_factory.mktemp("report")
    write_report(analyse([make_up("baseline-mean", 0.8), make_up("exp1-gru", 0.85)]), folder)
    return folder


def test_the_report_is_the_same_each_time(report, tmp_path):
    """Two reports on the same results are equal byte by byte, including plots."""
    write_report(analyse([make_up("baseline-mean", 0.8), make_up("exp1-gru", 0.85)]), tmp_path)
    files = sorted(path.relative_to(report) for path in report.rglob("*.*"))
    assert len(files) == 7
    for file in files:
        assert (report / file).read_bytes() == (tmp_path / file).read_bytes()


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
    """It loads nothing, closes its tags, and escapes markup in texts."""
    page = Page()
    page.feed((report / "report.html").read_text("utf-8"))
    assert not page.open
    assert len(page.sources) == 5
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert "Cup | `final` <b>" in page.text


def test_every_linked_plot_exists(report):
    """The plots linked in the Markdown report exist."""
    links = re.findall(r"!\[.*?\]\((.*?)\)", (report / "report.md").read_text("utf-8"))
    assert len(links) == 5
    assert all((report / link).is_file() for link in links)


def test_a_run_has_a_plot_of_loss_and_accuracy(tmp_path):
    """The plot is a PNG file and needs no display."""
    plot_run(tmp_path / "runs" / "run.png", make_up("baseline-mean", 0.8))
    assert (tmp_path / "runs" / "run.png").read_bytes().startswith(b"\x89PNG")


def test_training_losses_are_means_over_more_than_a_batch():
    """Records a step apart are joined with the next, weighted by their steps."""
    steps_and_losses = [(50, 2.0), (100, 1.0), (101, 9.0), (150, 0.5), (201, 0.4), (202, 9.0)]
    history = [{"step": step, "loss": loss} for step, loss in steps_and_losses]
    result = make_up("baseline-mean", 0.8, history=history, steps_per_epoch=100)
    epochs, losses = training_losses(result)
    assert epochs == [0.5, 1.0, 1.5, 2.01]
    assert losses == pytest.approx([2.0, 1.0, (9.0 + 49 * 0.5) / 50, 0.4])


def test_results_of_different_data_are_not_mixed():
    """Results of several data sets, or no results, raise an error."""
    result = make_up("baseline-mean", 0.8)
    other = make_up("exp1-gru", 0.8, data={**result.data, "fingerprint": "f" * 16})
    with pytest.raises(InvalidValueError, match="The results are of different data sets"):
        analyse([result, other])
    with pytest.raises(InvalidValueError, match="There are no finished runs"):
        analyse([])


def test_blocks_are_written_as_markdown(tmp_path):
    """Each block has its Markdown, and markup in plain text is escaped."""
    blocks = [
        Heading("A_b", 3),
        Paragraph(line("1 < 2 & *", Strong("bold|"), " ", Code("a_b"), line(Chip("ok")))),
        Bullets([line("one"), line("two\nlines")]),
        Cards([("label", "value", "note")]),
        Table(("x", "n"), "lr", [(line("a|b"), line("1"))]),
        Figure(tmp_path / "plots" / "a.svg", "alt", "Caption."),
    ]
    assert to_markdown(blocks, folder=tmp_path) == (
        "### A\\_b\n\n"
        "1 \\< 2 \\& \\***bold\\|** `a_b`ok\n\n"
        "- one\n- two lines\n\n"
        "- label: **value** (note)\n\n"
        "| x | n |\n| --- | ---: |\n| a\\|b | 1 |\n\n"
        "![alt](plots/a.svg)\n\nCaption.\n"
    )


def test_blocks_are_written_as_html(tmp_path):
    """Each block has its HTML, and markup in plain text is escaped."""
    (tmp_path / "a.svg").write_bytes(b"<svg/>")
    blocks = [
        Heading("A & B", 3),
        Paragraph(line("1 < 2", Strong("<b>"), Code("&"), Chip("ok", "good"))),
        Bullets([line("<one>")]),
        Cards([("<l>", "<v>", "<n>")]),
        Table(("x<", "n"), "lr", [(line("a"), line("1"))]),
        Figure(Path(tmp_path / "a.svg"), "a<b", "c<d"),
    ]
    page = to_html(blocks, title="T & U")
    for piece in (
        "<title>T &amp; U</title>",
        "<h3>A &amp; B</h3>",
        "<p>1 &lt; 2<strong>&lt;b&gt;</strong><code>&amp;</code>",
        '<span class="chip good">ok</span></p>',
        "<li>&lt;one&gt;</li>",
        '<div class="label">&lt;l&gt;</div><div class="value">&lt;v&gt;</div>',
        '<th class="text">x&lt;</th><th class="number">n</th>',
        '<td class="text">a</td><td class="number">1</td>',
        'src="data:image/svg+xml;base64,PHN2Zy8+" alt="a&lt;b"',
        "<figcaption>c&lt;d</figcaption>",
    ):
        assert piece in page
