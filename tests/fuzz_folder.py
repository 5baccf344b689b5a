"""Fuzz the reader of saved classifiers, guided by coverage. This is a program, not a test.

CONTRIBUTING.md tells how to run it. Each run changes the bytes or JSON values of one file of a
valid folder, updates sizes and checksums as an attacker would, and loads the folder. The result
must be a `CorruptFileError`, an error that asks for a tokenizer, or a classifier that predicts the
same after it is saved and loaded again.
"""

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris
import numpy as np
import torch

with atheris.instrument_imports(include=["textrnn"]):
    from textrnn import TextClassifier
    from textrnn.errors import CorruptFileError, InvalidValueError

MODEL = Path(__file__).parent / "fixtures" / "model"
# The card is for people, and nothing reads it.
SOUND = {path.name: path.read_bytes() for path in sorted(MODEL.iterdir()) if path.suffix != ".md"}
SCRATCH = Path(tempfile.mkdtemp())
FOLDER = SCRATCH / "model"
TEXTS = ["oil prices", "", "the keeper"]
VALUES = (None, True, False, 0, -1, 1, 2**31, 2**63, 0.5, -0.0, 1e308, "", "gru", "\ud800", [], {})


def changed_bytes(provider: atheris.FuzzedDataProvider, content: bytes) -> bytes:
    """Return content with some bytes replaced, or other content."""
    if provider.ConsumeBool():
        return provider.ConsumeBytes(sys.maxsize)
    start = provider.ConsumeIntInRange(0, len(content))
    end = min(start + provider.ConsumeIntInRange(0, 64), len(content))
    return content[:start] + provider.ConsumeBytes(64) + content[end:]


def changed_json(provider: atheris.FuzzedDataProvider, content: bytes) -> bytes:
    """Return JSON with some of its values replaced, moved, added or left out."""
    data = [json.loads(content)]
    for _ in range(provider.ConsumeIntInRange(1, 3)):
        places = list(places_in(data))
        part, key = provider.PickValueInList(places)
        action = provider.ConsumeIntInRange(0, 3)
        if action == 0 and part is not data:
            del part[key]
        elif action == 1 and isinstance(part, dict):
            part[provider.ConsumeUnicode(8)] = part[key]
        elif action == 2:
            other, name = provider.PickValueInList(places)
            part[key] = json.loads(json.dumps(other[name]))
        else:
            part[key] = new_value(provider)
    return json.dumps(data[0]).encode()


def places_in(part: Any) -> Any:
    """Yield every container in JSON data with each of its keys."""
    keys = part if isinstance(part, dict) else range(len(part))
    for key in keys:
        yield part, key
        if isinstance(part[key], dict | list):
            yield from places_in(part[key])


def new_value(provider: atheris.FuzzedDataProvider) -> Any:
    """Return some value that JSON can hold."""
    kind = provider.ConsumeIntInRange(0, 4)
    if kind == 0:
        return provider.ConsumeUnicode(12)
    if kind == 1:
        return provider.ConsumeInt(9)
    if kind == 2:
        return provider.ConsumeFloat()
    if kind == 3:
        return [new_value(provider)] if provider.remaining_bytes() else []
    return provider.PickValueInList(list(VALUES))


def write_changed(name: str, content: bytes) -> None:
    """Give the folder its sound files but for one, with sizes and checksums that fit."""
    for sound, data in SOUND.items():
        path = FOLDER / sound
        if not path.is_file() or path.read_bytes() != data:
            path.write_bytes(data)
    (FOLDER / name).write_bytes(content)
    if name != "config.json":
        config = json.loads(SOUND["config.json"])
        sha256 = hashlib.sha256(content).hexdigest()
        config["files"][name] = {"bytes": len(content), "sha256": sha256}
        (FOLDER / "config.json").write_text(json.dumps(config))


def run_once(data: bytes) -> None:
    """Load a folder with one file changed."""
    provider = atheris.FuzzedDataProvider(data)
    name = provider.PickValueInList(list(SOUND))
    change = changed_bytes
    if name.endswith(".json") and provider.ConsumeBool():
        change = changed_json
    write_changed(name, change(provider, SOUND[name]))
    try:
        classifier = TextClassifier.load(FOLDER, device="cpu")
    except CorruptFileError:
        return
    except InvalidValueError as error:
        if "`tokenizer`" not in str(error):
            raise
        return
    repr(classifier)
    before = classifier.predict_proba(TEXTS)
    classifier.save(SCRATCH / "again")
    after = TextClassifier.load(SCRATCH / "again", device="cpu").predict_proba(TEXTS)
    if not np.array_equal(before, after, equal_nan=True):
        raise AssertionError(f"{before} turned into {after}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    FOLDER.mkdir()
    atheris.Setup(sys.argv, run_once)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)
