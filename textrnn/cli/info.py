"""`textrnn info`: describe a saved classifier."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from textrnn._text_table import text_table
from textrnn.cli.output import printable, to_json, write
from textrnn.errors import show
from textrnn.estimator.saved_settings import complete_settings, read_report
from textrnn.estimator.settings import OPTIONS
from textrnn.runtime.classifier import RuntimeClassifier
from textrnn.runtime.folder import read_folder
from textrnn.runtime.labels import label_to_json
from textrnn.text.tokenizers import describe_tokenizer

__all__ = ["run"]


_BUFFERS = {
    "scales",
    "ngrams.idf",
    "ngrams.keys",
    "idf",
    "keys",
}  # which are not trained by gradients


def run(options: Namespace) -> int:
    """Describe a saved classifier."""
    saved = read_folder(options.model, tokenizer=None)
    settings = complete_settings(saved, {option.name for option in OPTIONS if option.saved})
    report = read_report(saved)
    network, several = saved.network, saved.labels.multi_label
    labels = [label_to_json(label) for label in saved.labels.names]
    weights = sum(array.size for name, array in saved.weights.items() if name not in _BUFFERS)
    features: list[list[tuple[str, float]]] = []
    if options.features and saved.ngrams is not None:
        classifier = RuntimeClassifier(saved)
        features = [classifier.top_features(label) for label in saved.labels.names]
    words = len(saved.vocabulary) - len(saved.vocabulary.specials)
    if options.json:
        facts = {
            "labels": labels,
            "multi_label": several,
            "weights": weights,
            "tokenizer": describe_tokenizer(saved.tokenizer),
            "words": words,
            "network": network,
            "ngrams": saved.ngrams,
            "metrics": saved.metrics,
            "settings": settings,
            "data": saved.data,
            "report": report.to_dict(),
        }
        if options.features:
            facts["features"] = features
        write(to_json(facts, indent=2))
        return 0
    rows = {
        "labels": ", ".join(printable(label) for label in labels),
        "labels of a text": "any number" if several else "one",
        "network": _described(network),
        "n-grams": _counted(saved.ngrams),
        "weights": f"{weights:,}",
        "tokenizer": show(saved.tokenizer),
        "words": f"{words:,}",
        **_vectors(saved.data["vectors"]),
        "training texts": f"{saved.data['train_texts']:,}",
    }
    for name, value in saved.metrics.items():
        rows[f"validation {name.replace('_', ' ')}"] = f"{value:.4f}"
    for label, found in zip(labels, features, strict=False):
        names = ", ".join(printable(name) for name, _ in found)
        rows[f"speaks for {printable(label)}"] = names or "nothing"
    write(f"{text_table(list(rows.items()), right=False)}\n\n{report}")
    return 0


def _described(network: Mapping[str, Any] | None) -> str:
    if network is None:
        return "none"
    direction = "bidirectional " if network["bidirectional"] else ""
    return (
        f"{network['num_layers']} {direction}{network['cell'].upper()} of {network['hidden_size']}"
    )


def _vectors(facts: Mapping[str, Any] | None) -> dict[str, str]:
    if facts is None:
        return {}
    covered = f"{facts['coverage']:.1%} of the words of the training texts"
    return {"word vectors": f"{printable(facts['file'])}, for {covered}"}


def _counted(ngrams: Mapping[str, Any] | None) -> str:
    if ngrams is None:
        return "none"
    number, chars = ngrams["num_ngrams"], ngrams["num_char_ngrams"]
    return f"{number:,}" + (f", and {chars:,} of characters" if chars else "")
