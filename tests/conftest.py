"""Shared fixtures: reproducible property tests and the optional real data."""

import io
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from textrnn.cli import main

settings.register_profile(
    "textrnn",
    deadline=None,  # the first call of a torch kernel is far slower than the rest
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("textrnn")

collect_ignore = ["fuzz_folder.py"]  # a program that needs atheris, which no extra brings

# The tests' networks are tiny: a second thread costs more than it brings, and on a busy machine
# the two wait for each other.
torch.set_num_threads(1)

# A job in the background of a shell ignores Ctrl-C, and all that it starts does so as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Start every test from the same global generator."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder with the real data sets, or skip where there is none."""
    folder = os.environ.get("TEXTRNN_DATA", "")
    if not (Path(folder) / "ag_news" / "train.parquet").is_file():
        pytest.skip("TEXTRNN_DATA names no folder with the data sets")
    return Path(folder)


@pytest.fixture(name="run_cli")
def _run_cli(capfdbinary, monkeypatch):
    """Return a function that runs the command line: exit code, output, errors."""

    def run(*arguments: object, stdin=""):
        data = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        sys.stdout.flush()
        output, errors = capfdbinary.readouterr()
        return code, output.decode(), errors.decode()

    return run
