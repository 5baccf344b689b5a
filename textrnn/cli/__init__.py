"""The command line: `textrnn train`, `tune`, `evaluate`, `predict`, `explain`, `info` and `export`.

Exit codes: 0 for success, 1 for wrong data, models or files, 2 for a wrong command line, 130 after
Ctrl-C. Results go to standard output, everything else to standard error.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from textrnn._version import __version__
from textrnn.errors import TextrnnError
from textrnn.estimator.settings import OPTIONS, Chosen, Option

__all__ = ["main"]

_FORMATS = ("csv", "tsv", "jsonl", "parquet", "fasttext", "lines")
_DEVICE = next(option for option in OPTIONS if option.name == "device")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the name of the program. Default: those of the process.

    Returns:
        The exit code.

    Raises:
        SystemExit: With code 2 for a wrong command line, and with 0 after `--help` or
            `--version`.

    Example:
        >>> main(["info", "nowhere"])  # the message goes to standard error
        1
    """
    options = _parser().parse_args(argv)
    if sys.stdout is None:
        return _complain("Standard output is closed.", code=1)
    code = _run(options)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        if code == 0:
            code = _complain(f"standard output: {error.strerror}", code=1)
    return code


def _run(options: argparse.Namespace) -> int:
    """Run a command, and return its exit code."""
    try:
        # Imported here, so that no command waits for the packages of another one.
        code: int = importlib.import_module(f"textrnn.cli.{options.command}").run(options)
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return _complain("interrupted", code=130)
    except MemoryError:
        return _complain("There is not enough memory.", code=1)
    except OSError as error:
        reason = error.strerror or str(error)
        return _complain(f"{error.filename}: {reason}" if error.filename else reason, code=1)
    except TextrnnError as error:
        return _complain(str(error), code=1)
    return code


def _complain(reason: str, *, code: int) -> int:
    with suppress(AttributeError, OSError):  # standard error may be closed too
        sys.stderr.write(f"textrnn: {reason}\n")
    return code


def _discard_output() -> None:
    """Discard the rest of the output, which can't be written."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="textrnn",
        description="Recurrent text classifiers: train on a table of labelled texts, and label "
        "texts.",
        epilog="example:\n"
        "  textrnn train --train train.csv --output model\n"
        "  textrnn evaluate model test.csv\n"
        "  textrnn predict model < lines.txt\n\n"
        "textrnn COMMAND --help describes a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"textrnn {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_tune(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_explain(commands)
    _add_info(commands)
    _add_export(commands)
    return parser


def _add_train(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add_command(
        commands,
        "train",
        "Train a classifier on a table of labelled texts, and save it in a folder.",
        "textrnn train --train train.csv --eval valid.csv --output model --cell gru\n"
        "  textrnn train --train train.csv --unlabelled more.csv --preset best --output model\n"
        "  textrnn train --train news.tsv --no-header --label-column 1 --text-column 2 "
        "--text-column 3 --output model",
    )
    parser.add_argument("--train", required=True, metavar="FILE", help="texts to train on")
    parser.add_argument(
        "--eval",
        metavar="FILE",
        help="texts to choose the best epoch by (default: some of the others are held out)",
    )
    parser.add_argument(
        "--unlabelled",
        metavar="FILE",
        help="further texts to pretrain on; their labels are ignored",
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where to save the model")
    _add_weights(parser)
    parser.add_argument(
        "--warm-start",
        dest="base_model",
        metavar="FOLDER",
        help="continue training a saved classifier, with its vocabulary and labels",
    )
    _add_training_options(parser, "Defaults depend on the preset and on the number of texts.")


def _add_tune(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add_command(
        commands,
        "tune",
        "Search for the settings of a classifier on a table of labelled texts, and save the best. "
        "The same command continues a search that was interrupted.",
        "textrnn tune --train train.csv --minutes 10 --output model\n"
        "  textrnn tune --train train.csv --minutes 60 --output model --class-weight balanced "
        "--storage postgresql://user@host/trials",
    )
    parser.add_argument("--train", required=True, metavar="FILE", help="texts to train on")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where to save the model")
    parser.add_argument(
        "--minutes", required=True, type=float, metavar="X", help="time of the whole search"
    )
    parser.add_argument(
        "--trials",
        type=_positive,
        metavar="N",
        help="maximum number of trials, those of an earlier search included",
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="database of the trials, which other processes may share: a URL that Optuna takes, or "
        "an SQLite file (default: FOLDER.trials.db)",
    )
    _add_weights(parser)
    _add_training_options(parser, "Those given are not searched.")


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        default="fp32",
        metavar="PRECISION",
        help="number format of the saved weights: fp32, fp16 or int8 (default: fp32)",
    )


def _add_training_options(parser: argparse.ArgumentParser, note: str) -> None:
    """Add the options of the table, of `TextClassifier` and of the output."""
    _add_table_options(parser, labelled=True)
    group = parser.add_argument_group("training", note)
    for option in OPTIONS:
        if option.in_shell:
            _add_option(group, option)
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON")


def _add_option(
    parser: "argparse._ActionsContainer", option: Option, *, default: Any = argparse.SUPPRESS
) -> None:
    """Add a parameter of `TextClassifier`; without a default, only a given value is stored."""
    kind, shown = option.kind, option.default
    text = f"{option.help[0].lower()}{option.help[1:]}"
    if isinstance(shown, Chosen):
        text += f" (default: {shown.text})"
    elif shown is not None:
        text += f" (default: {' '.join(shown) if isinstance(shown, tuple) else shown})"
    rule: dict[str, Any] = {"type": kind.type}
    if kind.type is bool:
        rule = {"action": argparse.BooleanOptionalAction}
    elif kind.choices:
        none = ("none",) if kind.nullable else ()
        rule = {"choices": kind.choices + none, "nargs": "+" if kind.several else None}
    elif kind.type is not str:
        rule["metavar"] = "N" if kind.type is int else "X"
    flag = f"--{option.name.replace('_', '-')}"
    parser.add_argument(flag, default=default, help=text, **rule)


def _add_evaluate(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add_command(
        commands,
        "evaluate",
        "Evaluate a saved classifier on a table of labelled texts.",
        "textrnn evaluate model test.csv --plot confusion.png",
    )
    parser.add_argument("model", metavar="FOLDER", help="the saved classifier")
    parser.add_argument("file", metavar="FILE", help="the table; - is standard input")
    _add_table_options(parser, labelled=True)
    parser.add_argument("--plot", metavar="PICTURE", help="draw the confusion matrix")
    parser.add_argument(
        "--mistakes",
        type=_positive,
        metavar="K",
        help="add the K most confident wrong predictions, with the weights of their words",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    _add_option(parser, _DEVICE, default=_DEVICE.default)


def _add_predict(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add_command(
        commands,
        "predict",
        "Label texts, with one line of output per text. Standard input has one text per line.",
        "textrnn predict model < lines.txt\n"
        "  textrnn predict model reviews.csv --text-column review --top-k 3",
    )
    _add_texts(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object per text")
    parser.add_argument(
        "--proba", action="store_true", help="add the probability of every label (as JSON)"
    )
    parser.add_argument(
        "--top-k", type=_positive, metavar="K", help="add the K most probable labels (as JSON)"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="X",
        help="minimum probability of a label, if a text has several (default: as trained)",
    )
    _add_option(parser, _DEVICE, default=_DEVICE.default)


def _add_explain(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add_command(
        commands,
        "explain",
        "Show how much each word of a text speaks for its label. Standard input has one text per "
        "line.",
        "textrnn explain model < lines.txt\n"
        "  textrnn explain model reviews.csv --text-column review --html > words.html",
    )
    _add_texts(parser)
    parser.add_argument(
        "--label", metavar="LABEL", help="label to explain (default: the predicted)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON object per text")
    form.add_argument("--html", action="store_true", help="print an HTML page")
    _add_option(parser, _DEVICE, default=_DEVICE.default)


def _add_texts(parser: argparse.ArgumentParser) -> None:
    """Add a saved classifier, the file of the texts, and the options of a table."""
    parser.add_argument("model", metavar="FOLDER", help="the saved classifier")
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="the texts (default: standard input)"
    )
    _add_table_options(parser, labelled=False)


def _add_info(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add_command(
        commands, "info", "Describe a saved classifier.", "textrnn info model --json"
    )
    parser.add_argument("model", metavar="FOLDER", help="the saved classifier")
    parser.add_argument(
        "--features", action="store_true", help="add the words and phrases of each label"
    )
    parser.add_argument("--json", action="store_true", help="print all facts as JSON")


def _add_export(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add_command(
        commands,
        "export",
        "Copy a saved classifier, with its network as model.onnx for other programs.",
        "textrnn export model exported",
    )
    parser.add_argument("model", metavar="FOLDER", help="the saved classifier")
    parser.add_argument("output", metavar="OUTPUT", help="the folder to write")


def _add_command(
    commands: "argparse._SubParsersAction[_Parser]",
    name: str,
    description: str,
    example: str,
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=description,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_table_options(parser: argparse.ArgumentParser, *, labelled: bool) -> None:
    group = parser.add_argument_group(
        "tables", "A column is a name; without a header it is a number, counted from 1."
    )
    group.add_argument(
        "--text-column",
        dest="text_columns",
        action="append",
        metavar="COLUMN",
        help="column of the texts (default: as trained, or text); several are joined by spaces",
    )
    if labelled:
        group.add_argument(
            "--label-column",
            dest="label_columns",
            action="append",
            metavar="COLUMN",
            help="column of the labels (default: as trained, or label); several hold 0 or 1, and "
            "their names are the labels of a text",
        )
        group.add_argument(
            "--label-separator",
            metavar="MARK",
            help="separator of the labels of a text, if it may have several",
        )
        group.add_argument(
            "--skip-bad-rows", action="store_true", help="report bad rows, and leave them out"
        )
    group.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="the first row of a CSV or TSV file has the column names (default: as trained, or "
        "yes)",
    )
    group.add_argument(
        "--delimiter",
        type=_character,
        metavar="MARK",
        help="separator of the fields of a CSV file (default: a comma)",
    )
    group.add_argument(
        "--format", choices=_FORMATS, help="format of the file (default: by its suffix)"
    )
    group.add_argument(
        "--encoding",
        metavar="NAME",
        help="encoding of a file without a byte order mark, such as cp1252 (default: utf-8)",
    )


def _positive(text: str) -> int:
    with suppress(ValueError):
        if (number := int(text)) > 0:
            return number
    raise argparse.ArgumentTypeError(f"expected a positive integer, but got {text!r}")


def _character(text: str) -> str:
    if len(text) != 1 or text in '"\r\n':
        rule = "one character other than a quotation mark or a line end"
        raise argparse.ArgumentTypeError(f"expected {rule}, but got {text!r}")
    return text
