"""`textrnn explain`: show which words of texts speak for and against a label."""

import sys
from argparse import Namespace

from textrnn.cli.inputs import labels_by_text, text_chunks, use_columns
from textrnn.cli.output import escaped, write
from textrnn.errors import CorruptFileError
from textrnn.estimator import TextClassifier

__all__ = ["run"]

_HEAD = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Explanations</title>
<style>body { font-family: system-ui, sans-serif; max-width: 50em; margin: 1em auto; \
padding: 0 1em }</style>"""


def run(options: Namespace) -> int:
    """Explain texts from a file or a pipe in their order, up to the first bad row."""
    classifier = TextClassifier.load(options.model, device=options.device)
    use_columns(options, classifier.data_["columns"])
    labels = labels_by_text(classifier.classes_.tolist())
    label = labels.get(options.label, options.label)  # an unknown one is refused below
    if options.html:
        write(_HEAD)
    for texts, complaint in text_chunks(options):
        for explanation in classifier.explain(texts, label):
            if options.json:
                write(escaped(explanation.to_json(indent=None)))
            else:
                write(explanation._repr_html_() if options.html else explanation)
        # The reader of a pipe gets each answer at once.
        sys.stdout.flush()
        if complaint is not None:
            raise CorruptFileError(complaint)
    return 0
