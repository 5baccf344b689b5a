"""Answer with a deployed model: `python answering.py PROGRAM MODEL TEXT`.

The first line of the output follows the answer to TEXT. Each line of the input is a request, and
each further line of the output its times. A fresh process starts as a user's would: nothing is
imported that the program does not need.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load(program: str, model: str) -> Callable[[list[str]], Any]:
    """Return a function from texts to the probabilities of all labels."""
    if program == "fasttext":
        import fasttext

        classifier = fasttext.load_model(model)
        return lambda texts: classifier.predict(texts, k=-1)
    if program == "torch":
        import torch

        from textrnn import TextClassifier

        torch.set_num_threads(1)
        return TextClassifier.load(model, device="cpu").predict_proba
    from textrnn import runtime

    return runtime.load(model, backend=program).predict_proba


def resident() -> float:
    """Return the memory of this process in MiB, or NaN where the system does not say it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return float("nan")
    figures = dict(line.split(":", 1) for line in status.splitlines())
    return int(figures["VmRSS"].split()[0]) / 1024


def measure(answer: Callable[[list[str]], Any], batches: list[list[str]]) -> dict[str, Any]:
    """Return the seconds of each batch, and the processor's seconds of all."""
    seconds, busy = [], time.process_time()
    for batch in batches:
        start = time.perf_counter()
        answer(batch)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "processor": time.process_time() - busy}


def main(program: str, model: str, text: str) -> None:
    """Answer the first text and all requests."""
    answer = load(program, model)
    answer([text])
    print(json.dumps({"resident": resident(), "processor": time.process_time()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(answer, json.loads(line))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
