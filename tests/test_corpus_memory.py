"""Peak memory does not grow with the texts, as measured in separate processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = 2000


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the /proc of Linux")
def test_memory_stays_flat_as_the_texts_grow_tenfold(tmp_path):
    """Counting, building and training need as much memory as with a tenth of the texts."""

    def measure(texts, kind):
        run = subprocess.run(  # noqa: S603 - the program is ours
            [sys.executable, "-m", "tests.corpus_script", str(tmp_path / "d"), str(texts), kind],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(run.stdout)

    few, many = measure(TEXTS, "stream"), measure(10 * TEXTS, "stream")
    whole = measure(10 * TEXTS, "memory")
    mebibytes = 4 * many["ids"] / 2**20
    assert many["ids"] == 10 * few["ids"] == whole["ids"]
    assert mebibytes > 20
    assert many["counted"] - few["counted"] < 6
    assert many["built"] - few["built"] < 6
    assert many["trained"] - few["trained"] < 16 < mebibytes
    # In memory, the same measurement shows the ids and the texts.
    assert whole["built"] - many["built"] > 2 * mebibytes
