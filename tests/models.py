"""A saved classifier, tiny new ones, and their files, shared by tests."""

import hashlib
import json
from pathlib import Path

import numpy as np

from textrnn import TextClassifier

MODEL = Path(__file__).parent / "fixtures" / "model"
PREDICTIONS = MODEL.with_name("model_predictions.json")
PROBE = ["oil falls", "the keeper scores", "", "weather"]
FILES = {
    "README.md",
    "config.json",
    "history.json",
    "labels.json",
    "metrics.json",
    "model.safetensors",
    "tokenizer.json",
    "training.json",
    "vocabulary.json",
}


def fit(texts=("oil prices", "the striker scores"), labels=("a", "b"), **params):
    """Return a tiny classifier."""
    params = {"hidden_size": 4, "epochs": 2, "device": "cpu", "progress": False} | params
    many = np.tile(labels, (4, 1)) if isinstance(labels, np.ndarray) else list(labels) * 4
    return TextClassifier(**params).fit(list(texts) * 4, many)


def read(path):
    """Return what a JSON file holds."""
    return json.loads(path.read_text())


def seal(folder):
    """Update the sizes and checksums of all files, as an attacker would."""
    config = read(folder / "config.json")
    for name in FILES & config["files"].keys():
        entry = config["files"][name]
        data = (folder / name).read_bytes()
        entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (folder / "config.json").write_text(json.dumps(config))


def change(folder, name, update, path=()):
    """Update an object in a JSON file, and seal the folder."""
    data = read(folder / name)
    part = data
    for key in path:
        part = part[key]
    part.update(update)
    (folder / name).write_text(json.dumps(data))
    seal(folder)
