"""`textrnn predict`: label texts from a file or a pipe."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

from textrnn.cli.inputs import text_chunks, use_columns
from textrnn.cli.output import printable, to_json, write
from textrnn.errors import CorruptFileError
from textrnn.runtime.classifier import RuntimeClassifier
from textrnn.runtime.folder import SavedModel, read_folder
from textrnn.runtime.labels import label_to_json
from textrnn.runtime.predictor import Predictor

__all__ = ["run"]

_FEW_TEXTS = 20_000  # PyTorch predicts more of them faster, the time to import it included


def run(options: Namespace) -> int:
    """Label texts from a file or a pipe in their order, up to the first bad row."""
    saved = read_folder(options.model, tokenizer=None)
    use_columns(options, saved.data["columns"])
    may_wait = options.device in {"auto", "cpu"}  # for PyTorch, which a GPU needs
    classifier = _classifier(saved, options, with_torch=not may_wait)
    number = 0
    for texts, complaint in text_chunks(options):
        number += len(texts)
        if may_wait and number > _FEW_TEXTS and find_spec("torch") is not None:
            classifier, may_wait = _classifier(saved, options, with_torch=True), False
        if texts:
            write("\n".join(_answers(classifier, texts, options)))
        # The reader of a pipe gets each answer at once.
        sys.stdout.flush()
        if complaint is not None:
            raise CorruptFileError(complaint)
    return 0


def _classifier(saved: SavedModel, options: Namespace, *, with_torch: bool) -> Predictor:
    """Return the classifier of a folder, with or without PyTorch."""
    classifier: Predictor
    if with_torch:
        from textrnn.estimator import TextClassifier

        restore = TextClassifier._restore  # noqa: SLF001 # the folder may hold another model by now
        classifier = restore(saved, tokenizer=None, device=options.device)
    else:
        classifier = RuntimeClassifier(saved)
    if options.threshold is not None:
        classifier.threshold = options.threshold
    return classifier


def _answers(classifier: Predictor, texts: list[str], options: Namespace) -> Iterator[str]:
    """Yield a line of output for each text."""
    probabilities = classifier.predict_proba(texts)  # (texts, labels)
    decided = classifier._decide(probabilities)  # noqa: SLF001 # without computing them again
    labels = classifier.classes_.tolist()
    several = classifier.multi_label_
    found = [np.flatnonzero(row) for row in decided] if several else decided[:, np.newaxis]
    if not (options.json or options.proba or options.top_k):
        yield from ("\t".join(printable(labels[i]) for i in row) for row in found)
        return
    names = [label_to_json(label) for label in labels]
    keys = [str(name) for name in names]
    if len(set(keys)) < len(keys):
        keys = [json.dumps(name, ensure_ascii=False) for name in names]
    for ids, values in zip(found, probabilities, strict=True):
        plain = [names[i] for i in ids]
        answer: dict[str, Any] = {"labels": plain} if several else {"label": plain[0]}
        row = [round(value, 6) for value in values.tolist()]
        if options.proba:
            answer["probabilities"] = dict(zip(keys, row, strict=True))
        if options.top_k:
            best = np.argsort(-values, kind="stable")[: options.top_k]
            answer["top_k"] = [{"label": names[i], "probability": row[i]} for i in best]
        yield to_json(answer)
