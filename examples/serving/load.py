"""Send requests to the server from several clients, and replace its model meanwhile.

Run it with `python -m examples.serving.load`. It trains two classifiers on the included news texts,
serves the first one in a process of its own on 127.0.0.1, checks each answer, and saves the second
one over the first after half of the time.
"""

import argparse
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import torch

from examples.ag_news.results import describe_environment
from examples.text_classifier.sample import read_sample
from textrnn import TextClassifier, runtime

__all__ = ["Answer", "Server", "find_version", "main", "measure", "serve"]

_ROOT = Path(__file__).parents[2]
_RESULTS = Path(__file__).parent / "results" / "load.json"
_TOLERANCE = 1e-6  # of a probability, since rounding may differ between processes
# The server as where PyTorch is not installed, on a socket that listens already.
_PROGRAM = """
import socket, sys
sys.modules.update(dict.fromkeys(["nltk", "safetensors", "torch", "tqdm"]))
import uvicorn
config = uvicorn.Config("examples.serving.app:app", log_level="warning", access_log=False)
uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""


class Server(NamedTuple):
    """A running server."""

    port: int
    process: int

    def request(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Send one request, and return status and body of the answer."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            return _request(connection, path, body)

    def memory(self) -> float:
        """Return the resident memory in MiB; Linux alone tells."""
        status = Path(f"/proc/{self.process}/status").read_text(encoding="utf-8")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    def cpu_seconds(self) -> float:
        """Return the processor time so far."""
        stat = Path(f"/proc/{self.process}/stat").read_text(encoding="utf-8")
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Answer(NamedTuple):
    """An answer to one text."""

    seconds: float
    model: str
    is_right: bool


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Serve a folder in a new process until the end of the block."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        descriptor = listener.fileno()
        process = subprocess.Popen(  # noqa: S603 # the program is the one above
            [sys.executable, "-c", _PROGRAM, str(descriptor)],
            cwd=_ROOT,
            env={
                **os.environ,
                "MODEL": str(folder.resolve()),
                "OPENBLAS_NUM_THREADS": "1",  # a request each keeps a core busy
                "PYTHONPATH": str(_ROOT),
            },
            pass_fds=[descriptor],
        )
        port = listener.getsockname()[1]
    try:
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait(timeout=60)


def measure(
    first: Path, second: Path, texts: Sequence[str], *, clients: int, seconds: float
) -> dict[str, Any]:
    """Load a server of one model, which the other replaces after half of the time."""
    expected = {find_version(folder): _answers(folder, texts) for folder in (first, second)}
    old, new = expected
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(clients) as pool:
        folder = Path(scratch, "model")
        shutil.copytree(first, folder)
        with serve(folder) as server:
            server.request("/health")  # after the start
            start, cpu = time.monotonic(), server.cpu_seconds()
            work = [
                pool.submit(_ask, server, texts, expected, client, start + seconds)
                for client in range(clients)
            ]
            memory = [_memory_at(server, start + seconds / 10)]
            memory.append(_memory_at(server, start + seconds / 2))
            TextClassifier.load(second).save(folder)
            memory.append(_memory_at(server, start + seconds))
            every = [each.result() for each in work]
            took, cpu = time.monotonic() - start, server.cpu_seconds() - cpu
    answers = [answer for each in every for answer in each]
    times = [1000 * answer.seconds for answer in answers]
    return {
        "clients": clients,
        "seconds": round(took, 1),
        "requests": len(answers),
        "requests_per_second": round(len(answers) / took, 1),
        "p50_ms": round(median(times), 2),
        "p99_ms": round(quantiles(times, n=100)[98], 2),
        "server_cpu_ms_per_request": round(1000 * cpu / len(answers), 2),
        "wrong_answers": sum(not answer.is_right for answer in answers),
        "answers_of_first_model": sum(answer.model == old for answer in answers),
        "answers_of_second_model": sum(answer.model == new for answer in answers),
        "old_answers_after_new": sum(map(_setbacks, every)),
        "memory_mib": [round(each, 1) for each in memory],
    }


def find_version(folder: Path) -> str:
    """Return the version that the server gives to the model of a folder."""
    return hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()


def _answers(folder: Path, texts: Sequence[str]) -> list[tuple[Any, float]]:
    """Return the most probable label of each text, with its probability."""
    model = runtime.load(folder)
    return [model.top_k([text], 1)[0][0] for text in texts]


def _ask(
    server: Server,
    texts: Sequence[str],
    expected: Mapping[str, Sequence[tuple[Any, float]]],
    client: int,
    end: float,
) -> list[Answer]:
    """Send one text after the other until the end, over one connection."""
    answers = []
    row = client
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        while time.monotonic() < end:
            row = (row + 1) % len(texts)
            body = json.dumps({"texts": [texts[row]]}).encode()
            start = time.perf_counter()
            status, data = _request(connection, "/predict", body)
            seconds = time.perf_counter() - start
            found = json.loads(data) if status == 200 else {"model": "no answer"}
            model = str(found["model"])
            is_right = model in expected and _agree(found["predictions"], expected[model][row])
            answers.append(Answer(seconds, model, is_right))
    return answers


def _request(connection: HTTPConnection, path: str, body: bytes | None) -> tuple[int, bytes]:
    method = "GET" if body is None else "POST"
    connection.request(method, path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, response.read()


def _agree(found: Any, expected: tuple[Any, float]) -> bool:
    """Return whether the prediction for one text is the expected one."""
    (((label, probability),),) = found
    return bool(label == expected[0] and abs(probability - expected[1]) <= _TOLERANCE)


def _memory_at(server: Server, moment: float) -> float:
    """Return the memory at a moment."""
    time.sleep(max(moment - time.monotonic(), 0))
    return server.memory()


def _setbacks(answers: Sequence[Answer]) -> int:
    """Return how often a client got an answer of another model than the one it had seen last."""
    models = [answer.model for answer in answers]
    changes = sum(one != other for one, other in pairwise(models))
    return max(changes - 1, 0)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=8, help="number of clients (default: 8)")
    parser.add_argument("--seconds", type=float, default=30, help="duration (default: 30)")
    parser.add_argument("--texts", type=int, help="number of training texts (default: 4000)")
    parser.add_argument("--epochs", type=int, default=3, help="of the classifiers (default: 3)")
    parser.add_argument("--output", type=Path, default=_RESULTS, help="result file")
    options = parser.parse_args(argv)
    load_average = os.getloadavg()[0]  # of other work, which slows down clients and server
    texts, labels = read_sample("train", options.texts)
    with tempfile.TemporaryDirectory() as scratch:
        first, second = (Path(scratch, name) for name in ("first", "second"))
        for seed, folder in enumerate((first, second)):
            TextClassifier(epochs=options.epochs, seed=seed).fit(texts, labels).save(folder)
        result = measure(
            first,
            second,
            read_sample("test", options.texts)[0],
            clients=options.clients,
            seconds=options.seconds,
        )
    environment = describe_environment(torch.device("cpu"))
    packages = {name: version(name) for name in ("fastapi", "uvicorn")}
    machine = {"cores": os.cpu_count(), "load_average_before": round(load_average, 1)}
    result |= {"environment": environment | packages | machine}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
