"""The benchmark of large corpora: its parts run on a small corpus."""

import argparse
import json
from pathlib import Path

import pytest

from examples.benchmarks import corpora
from examples.benchmarks.corpus import Split


class MadeUp:
    """A corpus without data."""

    def __init__(self, folder) -> None:
        self.folder = folder

    def made(self, count, *, seed):
        """Return texts that differ by seed."""
        texts = [f"oil prices soar again {index % 17} {seed}" for index in range(count)]
        return Split(texts, [index % 4 for index in range(count)])


def test_the_lines_have_the_size_that_was_asked_for():
    """The lines are reproducible and exceed the size by less than a line."""
    lines = list(corpora.lines(MadeUp(""), 20_000))
    assert lines == list(corpora.lines(MadeUp(""), 20_000))
    assert 20_000 <= sum(map(len, lines)) < 20_000 + len(lines[-1])
    assert all(set(json.loads(line)) == {"text", "label"} for line in lines)


def test_each_part_leaves_what_the_next_one_needs(tmp_path, monkeypatch):
    """Generating, counting, encoding, opening and training give consistent figures."""
    monkeypatch.setattr(corpora, "Corpus", MadeUp)
    monkeypatch.setattr(corpora, "STEPS", 3)
    options = argparse.Namespace(data=None, gigabytes=1e-4, workers=0)
    figures = {name: part(tmp_path, options) for name, part in corpora.PARTS.items()}
    assert figures["make"]["texts"] == figures["build"]["texts"] > 1000
    assert figures["make"]["bytes"] >= 100_000
    assert figures["count"]["max_error"] == 0
    assert figures["build"]["ids"] == figures["count"]["tokens"] + 2 * figures["build"]["texts"]
    assert 4 < figures["build"]["bytes_per_id"] < 9
    assert figures["train"]["steps"] == 3


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures as Linux does")
def test_a_process_tells_its_memory():
    """The peak memory is at least the current memory."""
    figures = corpora.memory()
    assert figures["peak_mib"] >= figures["own_mib"] > 10
