"""The model card of a saved classifier, in Markdown, and a summary in HTML."""

import math
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import torch

from textrnn._text_table import Table, html_tables, printable
from textrnn._version import __version__
from textrnn.estimator.fit_report import FitReport
from textrnn.estimator.model import Model
from textrnn.estimator.settings import OPTIONS, WITHOUT_NETWORK, Chosen
from textrnn.text.tokenizers import is_known

__all__ = ["Cost", "html_summary", "model_card"]

_MAX_LABELS = 50  # rows of the table of labels
_MAX_CHARACTERS = 200  # of a cell
_MAX_FEATURES = 8  # words and phrases of a label
_KINDS = {"accuracy": "accuracy", "micro_f1": "f1", "macro_f1": "f1", "weighted_f1": "f1"}


class Cost(NamedTuple):
    """The effect of a lower precision of weights on the predictions for validation texts."""

    texts: int
    changed: int  # predictions
    shift: float  # of a probability, at most


def model_card(
    model: Model,
    *,
    precision: str,
    cost: Cost | None,
    license: str | None = None,
    repo_id: str | None = None,
) -> str:
    """Describe a model to its users, with the metadata that the Hugging Face Hub reads."""
    data, settings = model.data, model.settings.items()
    used = [pair for pair in settings if model.recurrent is not None or pair[0] in WITHOUT_NETWORK]
    kind = "any number of labels" if model.labels.multi_label else "one label"
    name = "Text classifier" if repo_id is None else repo_id.partition("/")[2]
    parts = [
        _metadata(model, name, license),
        f"# {_cell(name)}",
        (
            f"It assigns a text {kind} out of {len(model.labels)}. It is "
            f"{', beside '.join(_parts(model))}, trained{_vectors(data)} on "
            f"{data['train_texts']:,} texts with textrnn {__version__}."
        ),
        "## Use",
        _use(model, repo_id),
        "## Labels",
        _labels(model),
        *_features(model),
        "## Data",
        _data(model),
        "## Evaluation",
        _evaluation(model, data),
        _table(*_contributions(model.report)),
        _cell(model.report.conclusion),
        *_weights(model, precision, cost),
        "## Training",
        "The settings, including those chosen by the preset and the number of texts:",
        _table(("setting", "value"), used, code=True),
        _duration(model),
        "## Limits",
        _limits(model),
        "## Versions",
        f"textrnn {__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}.",
    ]
    return "\n\n".join(parts) + "\n"


def html_summary(model: Model, title: str, params: Mapping[str, Any]) -> str:
    """Describe a model in a notebook: texts, metrics, labels, its parts and chosen settings."""
    data, settings = model.data, model.settings
    facts = [["training texts", f"{data['train_texts']:,}"]]
    kind = "texts of eval_set" if data["eval_given"] else "held-out texts"
    facts += [[kind, f"{data['eval_texts']:,}"]] if data["eval_texts"] else []
    unknown = model.report.unknown_words
    facts += [] if unknown is None else [["unknown words in them", f"{unknown:.1%}"]]
    facts += [[name.replace("_", " "), f"{value:.4f}"] for name, value in model.metrics.items()]
    rows = _label_rows(model)
    labels = [[printable(_short(name)), f"{count:,}"] for name, count in rows[:_MAX_LABELS]]
    more = len(rows) - _MAX_LABELS
    labels += [[f"and {more:,} more", ""]] if more > 0 else []
    tables = [Table(facts, head=False), Table([["label", "training texts"], *labels])]
    chosen = [
        [option.name, str(settings[option.name])]
        for option in OPTIONS
        if option.is_setting and isinstance(option.default, Chosen) and params[option.name] is None
    ]
    parts = [
        '<code style="white-space:pre-wrap;overflow-wrap:anywhere;background:none">',
        f"{escape(printable(title))}</code>",
        html_tables([*tables, Table(model.report.rows()), model.report.conclusion]),
        "<details><summary>Settings chosen by the preset and the number of texts</summary>",
        html_tables([Table([["setting", "value"], *chosen])]),
        "</details>",
    ]
    return "".join(parts)


def _metadata(model: Model, name: str, license: str | None) -> str:
    """Return the metadata in YAML; names of users are in quotes, since YAML reads `no` as false."""
    rows = [
        (kind, f"{{type: {kind}, name: {key.replace('_', ' ')}, value: {model.metrics[key]:.4f}}}")
        for key, kind in _KINDS.items()
        if math.isfinite(model.metrics.get(key, math.nan))
    ]
    lines = ["---", "library_name: textrnn"]
    lines += [] if license is None else [f'license: "{license}"']
    lines += ["pipeline_tag: text-classification", "tags:"]
    lines += ["- text-classification", "- textrnn"]
    network, _ = model.configs
    lines += [] if network is None else [f"- {network['cell']}"]
    if rows:
        lines += ["metrics:", *(f"- {kind}" for kind in dict(rows))]
        lines += ["model-index:", f'- name: "{name}"', "  results:"]
        lines += ["  - task: {type: text-classification}"]
        lines += ["    dataset: {type: unknown, name: validation texts}"]
        lines += ["    metrics:", *(f"    - {row}" for _, row in rows)]
    return "\n".join([*lines, "---"])


def _parts(model: Model) -> Iterator[str]:
    """Yield descriptions of the network and of the n-grams."""
    network, ngrams = model.configs
    if network is not None:
        number = network["num_layers"]
        direction = "bidirectional " if network["bidirectional"] else ""
        layers = f"{number} {direction}{network['cell'].upper()} layer{'s' if number > 1 else ''}"
        yield f"a recurrent network ({layers}) over words"
    if ngrams is not None:
        chars, parts = ngrams["num_char_ngrams"], [f"{ngrams['num_ngrams']:,} n-grams"]
        parts[0] += f" of up to {ngrams['max_order']} words"
        parts += [f"{chars:,} character n-grams of words"] * (chars > 0)
        parts += ["the sum of their vectors"] * (ngrams["vector_size"] > 0)
        *most, last = parts
        over = f"{', '.join(most)} and {last}" if most else last
        yield f"a linear model over {over}"


def _vectors(data: Mapping[str, Any]) -> str:
    vectors = data["vectors"]
    if vectors is None:
        return " from scratch"
    return f" with the word vectors of {_cell(vectors['file'])}, which were not changed,"


def _use(model: Model, repo_id: str | None) -> str:
    custom = not is_known(model.tokenizer)
    argument = ", tokenizer=tokenizer" if custom else ""
    source = 'load("this/folder"' if repo_id is None else f'from_pretrained("{repo_id}"'
    lines = [
        "from textrnn import TextClassifier",
        "",
        f"classifier = TextClassifier.{source}{argument})",
        'classifier.predict(["A text of the kind that it was trained on"])',
    ]
    note = "\n\nThe tokenizer is not part of the folder, so loading needs it." if custom else ""
    return "```python\n" + "\n".join(lines) + "\n```" + note


def _labels(model: Model) -> str:
    rows = _label_rows(model)
    table = _table(("label", "training texts"), rows[:_MAX_LABELS])
    more = len(rows) - _MAX_LABELS
    return table + (f"\n\nand {more} more, all of them in `labels.json`." if more > 0 else "")


def _label_rows(model: Model) -> list[tuple[str, int]]:
    return list(zip(map(str, model.labels.names), model.data["label_counts"], strict=True))


def _features(model: Model) -> tuple[str, ...]:
    """Return a table of the words and phrases that speak most for each label."""
    tokens, rows = model.vocabulary.tokens, []
    for index, name in enumerate(model.labels.names[:_MAX_LABELS]):
        found = model.top_ngrams(index, _MAX_FEATURES)
        if found is None:
            return ()
        phrases = [" ".join(tokens[i] for i in ids) for ids, _ in found]
        rows.append((str(name), ", ".join(phrases)))
    head = ("label", "words and phrases that speak for it")
    return "## Words", _table(head, rows)


def _data(model: Model) -> str:
    data, unknown = model.data, model.report.unknown_words
    rows = [
        ("training texts", f"{data['train_texts']:,}"),
        ("validation texts", f"{data['eval_texts']:,}"),
        ("texts without labels, to pretrain on", f"{data['unlabelled_texts']:,}"),
        ("words per training text, on average", f"{data['mean_words']:.1f}"),
        ("training texts cut to the maximum length", f"{data['cut_texts']:,}"),
        ("words of the training texts in the vocabulary", f"{data['coverage']:.1%}"),
    ]
    if data["vectors"] is not None:
        covered = f"{data['vectors']['coverage']:.1%}"
        rows.append(("words of the training texts that have a vector", covered))
    if unknown is not None:
        rows.append(("unknown words of the validation texts", f"{unknown:.1%}"))
    return _table(("", ""), rows)


def _evaluation(model: Model, data: Mapping[str, Any]) -> str:
    if not model.metrics:
        return "Nothing was measured: there was no validation part, or Ctrl-C ended training."
    rows = [(name.replace("_", " "), f"{value:.4f}") for name, value in model.metrics.items()]
    together = None not in model.configs
    measured = "Network and n-grams together, measured" if together else "Measured"
    source = "given for evaluation" if data["eval_given"] else "held out of the training texts"
    return (
        f"{measured} on {data['eval_texts']:,} texts {source}. They also chose the best weights, "
        "so results on new texts may be slightly worse.\n\n" + _table(("measure", "value"), rows)
    )


def _contributions(report: FitReport) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table of network and n-grams."""
    head, *rows = report.rows()
    return head, rows


def _weights(model: Model, precision: str, cost: Cost | None) -> tuple[str, ...]:
    """Describe weights of a lower precision, and what it costs."""
    if precision == "fp32":
        return ()
    text = "The weights are 16-bit floats."
    integers = " are 8-bit integers with a scale per row; "
    if precision == "int8" and model.recurrent is not None:
        text = f"The weights of the network{integers}its biases and the n-grams are 16-bit floats."
    elif precision == "int8" and model.data["vectors"] is not None:
        text = f"The word vectors{integers}the n-grams are 16-bit floats."
    if cost is None:
        return "## Weights", f"{text} What that costs was not measured, without validation texts."
    return "## Weights", (
        f"{text} Compared with 32-bit floats, {cost.changed:,} of {cost.texts:,} predictions on "
        f"the validation texts changed, and no probability by more than {cost.shift:.2g}."
    )


def _duration(model: Model) -> str:
    if model.recurrent is None:
        return f"Training took {sum(model.report.cpu_seconds.values()):.0f} s of CPU time."
    last = model.history[-1] if len(model.history) else {}
    duration = f"Training took {last.get('seconds', 0):.0f} s for {last.get('epoch', 0)} epochs"
    stopped = model.data["stopped"]
    return f"{duration}; it was stopped: {_cell(stopped)}." if stopped else f"{duration}."


def _limits(model: Model) -> str:
    words = len(model.vocabulary) - len(model.vocabulary.specials)
    spelled = model.ngrams is not None and model.ngrams.num_char_ngrams
    others = "differ by their spelling alone" if spelled else "are treated alike"
    lines = [
        f"- The vocabulary has {words:,} words; all other words {others}.",
        f"- It reads the first {model.settings['max_length'] - 2} words of a text.",
        "- It assigns every text one of its labels, even if none of them fits."
        if not model.labels.multi_label
        else "- It assigns no labels but these.",
        "- Predictions repeat the biases of the training texts.",
    ]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, code: bool = False) -> str:
    """Return a table; `code` formats its first column as code."""
    lines = [[*map(_cell, row)] for row in rows]
    for line in lines if code else ():
        line[0] = f"`{line[0]}`".replace("\\", "")
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def _cell(value: object) -> str:
    """Write a value on one line, with Markdown's marks escaped."""
    if isinstance(value, float) and math.isfinite(value):
        value = f"{value:g}"
    text = printable(_short(str(value)))
    for mark in "\\`*_|<[":
        text = text.replace(mark, f"\\{mark}")
    return text


def _short(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."
