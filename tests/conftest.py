"""Shared fixtures: reproducible property tests and the optional real data."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "textrnn",
    deadline=None,  # the first call of a torch kernel is far slower than the rest
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("textrnn")


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
