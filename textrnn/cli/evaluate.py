"""`textrnn evaluate`: evaluate a saved classifier on a table."""

from argparse import Namespace
from pathlib import Path

from textrnn.cli.inputs import labelled_texts, labels_by_text, use_columns
from textrnn.cli.output import to_json, write
from textrnn.errors import InvalidValueError, expected, import_extra
from textrnn.estimator import TextClassifier
from textrnn.plotting import plot_confusion
from textrnn.training import ClassificationReport

__all__ = ["run"]


def run(options: Namespace) -> int:
    """Evaluate a saved classifier on a table."""
    classifier = TextClassifier.load(options.model, device=options.device)
    use_columns(options, classifier.data_["columns"])
    if options.plot is not None:
        _check_picture(options.plot, multi_label=classifier.multi_label_)
    table = labelled_texts(
        options.file,
        options,
        known=labels_by_text(classifier.classes_.tolist()),
        several=classifier.multi_label_,
        count_unknown=True,
    )
    # A label that the classifier does not have is one that it never predicts.
    evaluate = classifier._evaluate  # noqa: SLF001 # `evaluate` refuses unknown labels
    report = evaluate(table.texts, table.labels, unknown=table.unknown)
    if options.plot is not None and isinstance(report, ClassificationReport):
        names = [scores.label for scores in report.classes]
        plot_confusion(report.confusion, names).savefig(options.plot)
    found = report.mistakes(options.mistakes) if options.mistakes else None
    if options.json:
        facts = report.to_dict() | ({} if found is None else {"mistakes": found.to_dict()})
        write(to_json(facts, indent=2))
    else:
        write(report)
        write("" if found is None else f"\n{found}")
    return 0


def _check_picture(path: str, *, multi_label: bool) -> None:
    """Raise an error if no confusion matrix can be drawn into a file of that name."""
    if multi_label:
        rule = "left out: several labels have no confusion matrix"
        raise InvalidValueError(expected("plot", rule, path))
    backends = import_extra("matplotlib.backend_bases", extra="plot")
    kinds = backends.FigureCanvasBase.get_supported_filetypes()
    if Path(path).suffix.lower().removeprefix(".") not in kinds:
        rule = f"a file whose name ends in {', '.join(f'.{kind}' for kind in sorted(kinds))}"
        raise InvalidValueError(expected("plot", rule, path))
