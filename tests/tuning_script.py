"""Search for settings, and tell of each trial, until the process is killed.

``python tuning_script.py STORAGE TRIALS`` prints a line when a trial ends, and at the end.
"""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.test_tuning import LABELS, SMALL, TEXTS
from textrnn.estimator import tune

if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
    tune(TEXTS, LABELS, minutes=5, trials=int(sys.argv[2]), storage=sys.argv[1], **SMALL)
