"""`progress`: bars on terminals and in notebooks, lines or nothing elsewhere."""

import io
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import toys
from textrnn import TextClassifier
from textrnn.errors import InvalidTypeError
from textrnn.training import Callback, EarlyStopping, ProgressBar, Trainer, pretrain
from textrnn.training.progress import with_progress

TRAIN, EVAL = toys.make_dataset(10), toys.make_dataset(5, seed=1)
LINE = r"epoch {} of 2, \d+\.\d s: loss \d+\.\d{{4}}, eval_loss \d+\.\d{{4}}, eval_accuracy \S{{6}}"


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.fixture(name="kernel")
def fixture_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in what looks like the kernel of a notebook."""
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None, *callbacks: Callback) -> str:
    """Train with callbacks, and return the text on standard error."""
    monkeypatch.setattr(sys, "stderr", stream)
    trainer = toys.make_trainer()
    trainer.callbacks = list(callbacks or [ProgressBar()])
    trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=2)
    return "" if stream is None else stream.getvalue()


def test_a_bar_shows_on_a_terminal(monkeypatch):
    """It has the epoch, the steps, the loss and the last evaluation."""
    text = shown(monkeypatch, Terminal())
    assert "epoch 1/2" in text
    assert "epoch 2/2" in text
    assert "2/2" in text
    assert "loss=" in text
    assert "eval_accuracy=" in text


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("progress", [None, True])
def test_a_bar_shows_in_a_notebook(monkeypatch, capsys, progress):
    """It is part of the standard output, since standard error looks like errors there."""
    assert shown(monkeypatch, io.StringIO(), ProgressBar(progress=progress)) == ""
    assert "\repoch 2/2" in capsys.readouterr().out


@pytest.mark.parametrize("shell", [None, SimpleNamespace()])
def test_ipython_on_a_terminal_is_no_notebook(monkeypatch, shell):
    """There, standard error decides; IPython may also be imported by a plain program."""
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert shown(monkeypatch, io.StringIO()) == ""
    assert "\repoch 2/2" in shown(monkeypatch, Terminal())


@pytest.mark.parametrize(
    ("stream", "progress"),
    [(io.StringIO(), None), (None, None), (None, True), (Terminal(), False)],
)
def test_nothing_is_shown_in_a_pipe_or_if_not_wanted(monkeypatch, stream, progress):
    """A process without standard error shows nothing either."""
    assert shown(monkeypatch, stream, ProgressBar(progress=progress)) == ""


def test_true_writes_a_line_per_epoch_into_a_pipe(monkeypatch):
    """It has the seconds of the epoch, the loss and the evaluation."""
    bar = ProgressBar(progress=True, description="fold 3")
    first, second = shown(monkeypatch, io.StringIO(), bar).splitlines()
    assert re.fullmatch("fold 3 " + LINE.format(1), first)
    assert re.fullmatch("fold 3 " + LINE.format(2), second)


def test_the_seconds_of_a_line_are_those_of_the_epoch(monkeypatch):
    """They are not the time since training began."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    bar = ProgressBar(progress=True)
    records = [(1, 2.0), (1, 4.0), (2, 5.0), (2, 10.5)]
    state = toys.make_state(epochs=2, completed_epochs=1)
    for epoch, seconds in records:
        state.history.append({"epoch": epoch, "loss": 0.5, "seconds": seconds})
    bar.on_epoch_end(state)
    assert sys.stderr.getvalue() == "epoch 2 of 2, 6.5 s: loss 0.5000\n"


def test_the_last_line_of_a_bar_has_the_loss(monkeypatch):
    """Also where an evaluation after the last step has just recorded it."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    trainer = toys.make_trainer()
    trainer.callbacks = [ProgressBar()]
    history = trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=1)
    last = stream.getvalue().strip().split("\r")[-1]
    assert f" loss={history[-1]['loss']:.4f}" in last
    assert f"eval_loss={history[-1]['eval_loss']:.4f}" in last


def test_a_bar_of_a_resumed_epoch_starts_at_its_step(monkeypatch):
    """Steps before the interruption count."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    bar = ProgressBar()
    state = toys.make_state(steps_per_epoch=5, completed_epochs=1, step=8)
    bar.on_epoch_begin(state)
    bar.on_batch_end(state)
    bar.on_fit_end(state)
    assert "4/5" in stream.getvalue()


def test_a_bar_works_without_a_length(monkeypatch):
    """For a stream of unknown length it shows steps without a total."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    bar = ProgressBar()
    bar.on_epoch_begin(toys.make_state())
    bar.on_batch_end(toys.make_state())
    bar.on_epoch_end(toys.make_state())
    assert "1step" in stream.getvalue()


def test_a_progress_bar_is_added_if_there_is_none():
    """A bar of the user replaces it."""
    stopper, bar = EarlyStopping(), ProgressBar(progress=False)
    found = with_progress((stopper,), None)
    assert found[0] is stopper
    assert isinstance(found[1], ProgressBar)
    assert with_progress([bar], True) == [bar]
    assert with_progress([], False) == []


@pytest.mark.parametrize("progress", [1, "yes", "auto"])
def test_progress_is_a_boolean_or_none(progress):
    """The same error in all places, before training begins."""
    model = toys.make_model()
    message = "Expected `progress` to be a boolean or None, but got "
    for call in (
        lambda: ProgressBar(progress=progress),
        lambda: Trainer(model, progress=progress),
        lambda: pretrain(model, TRAIN, progress=progress),
        lambda: TextClassifier(progress=progress).fit(["a", "b"], [0, 1]),
    ):
        with pytest.raises(InvalidTypeError, match=message):
            call()


def test_a_classifier_shows_its_pretraining_and_its_training(capsys):
    """Each stage has its lines, and without a wish there are none in a pipe."""
    texts, labels = ["a b", "b c", "c d", "d a"] * 3, [0, 1, 1, 0] * 3
    settings = {"hidden_size": 4, "epochs": 2, "pretrain_epochs": 1, "ngram_order": 0}
    classifier = TextClassifier(**settings, progress=True, device="cpu").fit(texts, labels)
    lines = re.sub(r"\d+\.\d+", "N", capsys.readouterr().err).splitlines()
    assert lines == [
        "pretraining epoch 1 of 1, N s: loss N",
        "epoch 1 of 2, N s: loss N",
        "epoch 2 of 2, N s: loss N",
    ]
    classifier.set_params(progress=None).fit(texts, labels)
    assert capsys.readouterr().err == ""


def test_widgets_that_are_missing_are_no_warning():
    """In a kernel without ipywidgets, a bar is text, also where warnings are errors."""
    program = (
        "import sys, types\n"
        "sys.modules['ipywidgets'] = None\n"
        "shell = types.SimpleNamespace(kernel=1, config={'IPKernelApp': {}})\n"
        "sys.modules['IPython'] = types.SimpleNamespace(get_ipython=lambda: shell)\n"
        "sys.modules['ipykernel.zmqshell'] = types.ModuleType('zmqshell')\n"
        "from textrnn.training import ProgressBar\n"
        "assert 'tqdm.auto' not in sys.modules\n"
        "from tests import toys\n"
        "bar = ProgressBar()\n"
        "bar.on_epoch_begin(toys.make_state())\n"
        "bar.on_fit_end(toys.make_state())\n"
    )
    run = subprocess.run(  # noqa: S603 - the program is ours
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert run.returncode == 0, run.stderr
    assert "epoch 1/" in run.stdout
