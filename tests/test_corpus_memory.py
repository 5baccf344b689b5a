"""Memory doesn't grow with the texts: measured in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = 2000


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures as Linux does")
def test_memory_stays_flat_as_the_texts_grow_tenfold(tmp_path):
    """Counting, building and training take what they take for a tenth; in memory it would show."""

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
    # The same measure finds what has to be there: the ids, and the texts that they come from.
    assert whole["built"] - many["built"] > 2 * mebibytes
