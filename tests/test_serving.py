"""`examples/serving`: the HTTP server, asked by clients over a real connection."""

import json
import re
import time
from pathlib import Path

import pytest

from examples.serving.load import find_version, main, measure, serve
from textrnn import TextClassifier, runtime

FOLDER = Path(__file__).parents[1] / "examples" / "serving"
MODEL = Path(__file__).parent / "fixtures" / "model"
RESULT = FOLDER / "results" / "load.json"
TEXTS = ["oil falls", "the keeper scores", "", "weather", "\0 \U0001f600 oil"]
SECONDS = 60  # more than any change takes


@pytest.fixture(name="other", scope="module")
def _other(tmp_path_factory):
    """Return the folder of a model with other labels."""
    other = TextClassifier(hidden_size=4, epochs=1, device="cpu", progress=False, seed=1)
    folder = tmp_path_factory.mktemp("other") / "model"
    other.fit(["oil", "ball"] * 4, ["a", "b"] * 4).save(folder)
    return folder


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
    """Return the folder that is served."""
    return tmp_path_factory.mktemp("served") / "model"


@pytest.fixture(name="server", scope="module")
def _server(folder):
    """Return a server, whose model each test may replace."""
    TextClassifier.load(MODEL).save(folder)
    with serve(folder) as server:
        yield server


def ask(server, **body):
    """Return the status and the answer to a question."""
    status, answer = server.request("/predict", json.dumps(body).encode())
    return status, json.loads(answer) if status == 200 else answer.decode()


def health(server):
    """Return what the server says about its model."""
    status, answer = server.request("/health")
    assert status == 200
    return json.loads(answer)


def wait_for(server, condition):
    """Ask for the health until it fulfils a condition."""
    end = time.monotonic() + SECONDS
    while not condition(health(server)):
        assert time.monotonic() < end, health(server)


def serve_model(server, folder, source):
    """Save a model in the folder, and wait until it is served."""
    TextClassifier.load(source).save(folder)
    wait_for(server, lambda found: found == {"model": find_version(folder), "error": ""})


def test_answers_are_those_of_the_model(server, folder):
    """Labels and probabilities are those of `runtime.load`, for any number of texts."""
    serve_model(server, folder, MODEL)
    model = runtime.load(MODEL)
    for texts in (TEXTS, TEXTS[:1], [], ["oil"] * 64, ["a" * 10_000]):
        for k in (1, 2, 1000):
            status, answer = ask(server, texts=texts, k=k)
            assert (status, answer["model"]) == (200, find_version(folder))
            expected = model.top_k(texts, k)
            for pairs, others in zip(answer["predictions"], expected, strict=True):
                assert [label for label, _ in pairs] == [label for label, _ in others]
                assert [p for _, p in pairs] == pytest.approx([p for _, p in others], abs=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b'{"texts": "oil"}', 422, "texts.*valid list"),
        (b'{"texts": [3]}', 422, "texts', 0.*valid string"),
        (b'{"texts": ["\\ud800"]}', 422, "texts', 0.*valid string"),
        (b'{"k": 1}', 422, "texts.*required"),
        (b'{"texts": ["oil"], "k": 0}', 422, "k.*greater than or equal to 1"),
        (b'{"texts": ["oil"], "k": NaN}', 422, "k.*finite"),
        (json.dumps({"texts": ["oil"] * 65}).encode(), 422, "texts.*at most 64"),
        (json.dumps({"texts": ["a" * 10_001]}).encode(), 422, "at most 10000 characters"),
        (b" " * (2**20 + 1), 413, "Too Large"),
        (b"{", 422, "JSON decode error"),
        (b"\xff", 400, "error parsing"),
        (b"[" * 100_000, 400, "error parsing"),
    ],
)
def test_a_wrong_request_is_refused(server, body, status, message):
    """The error names the field, and the server goes on."""
    found, answer = server.request("/predict", body)
    assert found == status
    assert re.search(message, answer.decode())
    assert len(answer) < 200
    assert ask(server, texts=["oil"])[0] == 200


def test_wrong_paths_and_methods_are_refused(server):
    """Only the two routes answer."""
    assert server.request("/")[0] == server.request("/predict/../..", b"{}")[0] == 404
    assert server.request("/predict")[0] == server.request("/health", b"{}")[0] == 405


def test_a_damaged_model_is_reported_and_not_served(server, folder, other):
    """The old model answers until there is a sound new one."""
    serve_model(server, folder, MODEL)
    version = find_version(folder)
    config = (folder / "config.json").read_bytes()
    weights = (folder / "model.safetensors").read_bytes()

    (folder / "model.safetensors").write_bytes(b"\0" * len(weights))
    (folder / "config.json").write_bytes(config + b" ")
    wait_for(server, lambda found: "model.safetensors' is damaged" in found["error"])
    assert health(server)["model"] == ask(server, texts=["oil"])[1]["model"] == version

    (folder / "config.json").unlink()
    wait_for(server, lambda found: "No such file" in found["error"])
    assert ask(server, texts=["oil"])[1]["model"] == version

    (folder / "config.json").write_bytes(config)
    serve_model(server, folder, other)
    assert {label for ((label, _),) in ask(server, texts=TEXTS)[1]["predictions"]} <= {"a", "b"}


def test_a_server_without_a_model_does_not_start(tmp_path, capfd):
    """The error names the folder."""
    with pytest.raises(ConnectionError), serve(tmp_path / "nowhere") as server:
        server.request("/health")
    assert "nowhere" in capfd.readouterr().err


@pytest.mark.slow
def test_replacing_the_model_under_load_gives_no_wrong_answer(other):
    """Each of eight clients gets right answers of the old model, then of the new one."""
    found = measure(MODEL, other, TEXTS, clients=8, seconds=3)
    assert found["wrong_answers"] == found["old_answers_after_new"] == 0
    assert found["requests"] == found["answers_of_first_model"] + found["answers_of_second_model"]
    assert min(found["answers_of_first_model"], found["answers_of_second_model"]) > 0
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    first, middle, last = found["memory_mib"]
    assert max(middle, last) < first + 30


def test_the_load_test_writes_its_result(tmp_path):
    """The command trains, measures, and writes figures with versions and commit."""
    output = tmp_path / "results" / "load.json"
    short = ["--texts", "40", "--epochs", "1", "--clients", "2", "--seconds", "1"]
    main([*short, "--output", str(output)])
    found = json.loads(output.read_text())
    assert (found["clients"], found["wrong_answers"]) == (2, 0)
    assert found.keys() == json.loads(RESULT.read_text()).keys()


def test_committed_figures_are_those_of_the_load_test():
    """The result in the repository is of the full load, without a wrong answer."""
    found = json.loads(RESULT.read_text())
    assert (found["clients"], found["wrong_answers"], found["old_answers_after_new"]) == (8, 0, 0)
    assert found["seconds"] >= 30
    assert found["requests"] == found["answers_of_first_model"] + found["answers_of_second_model"]
    assert found["environment"].keys() >= {"commit", "device_name", "fastapi", "numpy", "uvicorn"}


def test_the_server_is_short():
    """The server is an example to copy from: at most 60 lines."""
    assert (FOLDER / "app.py").read_text().count("\n") <= 60


def test_the_image_installs_what_the_server_imports():
    """The Dockerfile copies files that exist, and installs the few packages and the library."""
    lines = (FOLDER / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copied = [path for line in lines if line.startswith("COPY ") for path in line.split()[1:-1]]
    assert [path for path in copied if not (FOLDER.parents[1] / path).exists()] == []
    (run,) = (line for line in lines if line.startswith("RUN "))
    assert re.search(r"-c constraints\.txt numpy regex fastapi uvicorn +&&", run)
    assert run.endswith(" --no-deps .")
