"""What surrounds a run is put back when it is over."""

import logging
import os
import signal
import threading
from typing import Any

import pytest
import torch

from tests import toys
from textrnn.training.loop import CTRL_C, deterministic, interruptible


def press() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_ctrl_c_asks_and_the_second_interrupts(caplog):
    """The first one is acknowledged at once; the handler of before is back afterwards."""
    state = toys.make_state()
    before = signal.getsignal(signal.SIGINT)

    def press_twice() -> None:
        with interruptible(state):
            assert signal.getsignal(signal.SIGINT) is not before
            press()
            assert state.stop_reason == CTRL_C
            assert caplog.messages == [
                "Ctrl-C: stopping after this step; a second one interrupts at once."
            ]
            press()

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert signal.getsignal(signal.SIGINT) is before
    assert caplog.records[0].levelno == logging.WARNING


def test_a_handler_of_ones_own_gets_the_second_ctrl_c():
    """What the application had installed is what the second one reaches."""
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    try:
        with interruptible(toys.make_state()):
            press()
            assert seen == []
            press()
        assert seen == [signal.SIGINT]
        press()
        assert len(seen) == 2
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it():
    """As under nohup, where a terminal's Ctrl-C is meant for others."""
    state = toys.make_state()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible(state):
            press()
        assert state.stop_reason is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_leave_the_handler_alone():
    """Only the main thread may set one."""
    before = signal.getsignal(signal.SIGINT)
    seen: list[Any] = []

    def work() -> None:
        with interruptible(toys.make_state()):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_forked_worker_does_not_answer_for_the_run(monkeypatch, caplog):
    """It has inherited the handler, but another process will stop the run."""
    state = toys.make_state()
    other = os.getpid() + 1
    with interruptible(state):
        monkeypatch.setattr(os, "getpid", lambda: other)
        signal.raise_signal(signal.SIGINT)
        monkeypatch.undo()
    assert state.stop_reason is None
    assert caplog.messages == []


def test_a_message_that_can_not_be_written_is_no_error(monkeypatch):
    """The signal may come while another message is being written."""

    def busy(*_args: Any) -> None:
        raise RuntimeError("reentrant call")

    state = toys.make_state()
    monkeypatch.setattr(logging.getLogger("textrnn"), "warning", busy)
    with interruptible(state):
        press()
    assert state.stop_reason == CTRL_C


def flags() -> tuple[Any, ...]:
    """Return all settings of determinism."""
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


@pytest.mark.parametrize("workspace", [None, ":16:8"])
@pytest.mark.parametrize("before", [(False, False), (True, True), (True, False)])
def test_determinism_is_put_back(before, workspace, monkeypatch):
    """Also after an error, and with whatever was set before."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    if workspace is None:
        monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    else:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", workspace)
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    try:
        expected = flags()

        def fail() -> None:
            with deterministic(on=True):
                assert flags() == (True, False, False, workspace or ":4096:8")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert flags() == expected
        with deterministic(on=False):
            assert flags() == expected
    finally:
        torch.use_deterministic_algorithms(mode=False)
