"""The command line: ``textrnn train``, ``evaluate``, ``predict`` and ``info``.

Exit codes: 0 if all went well, 1 if data, a model or a file is wrong, 2 for a wrong command line,
130 after Ctrl-C. Results go to standard output, everything else to standard error.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from textrnn import __version__
from textrnn.errors import TextrnnError

__all__ = ["main"]

_FORMATS = ("csv", "tsv", "jsonl", "parquet", "lines")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments without the program's name (default: those of the process).

    Returns:
        The exit code.

    Raises:
        SystemExit: With code 2 for a wrong command line, and with 0 after ``--help`` or
            ``--version``.

    Example:
        >>> main(["info", "nowhere"])  # the complaint goes to standard error
        1
    """
    options = _parser().parse_args(argv)
    try:
        # Imported here, so that help and mistyped options don't wait for PyTorch.
        commands = importlib.import_module("textrnn.cli.commands")
        code: int = getattr(commands, options.command)(options)
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        return 0
    except KeyboardInterrupt:
        return _complain("interrupted", code=130)
    except OSError as error:
        named = error.filename and error.strerror
        return _complain(f"{error.filename}: {error.strerror}" if named else str(error), code=1)
    except TextrnnError as error:
        return _complain(str(error), code=1)
    return code


def _complain(reason: str, *, code: int) -> int:
    with suppress(OSError):  # the other end of standard error may be gone as well
        sys.stderr.write(f"textrnn: {reason}\n")
    return code


def _forget_output() -> None:
    """Send what is still unwritten nowhere: whoever read it has enough."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="textrnn",
        description="Recurrent text classifiers: learn from a table of labelled texts, and label "
        "texts.",
        epilog="example:\n"
        "  textrnn train --train train.csv --output model\n"
        "  textrnn evaluate model test.csv\n"
        "  textrnn predict model < lines.txt\n\n"
        "textrnn COMMAND --help tells more about a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"textrnn {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_info(commands)
    return parser


def _add_train(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _add_command(
        commands,
        "train",
        "Learn from a table of labelled texts, and save the classifier in a folder.",
        "textrnn train --train train.csv --eval valid.csv --output model --cell gru\n"
        "  textrnn train --train train.csv --unlabelled more.csv --preset best --output model\n"
        "  textrnn train --train news.tsv --no-header --label-column 1 --text-column 2 "
        "--text-column 3 --output model",
    )
    parser.add_argument("--train", required=True, metavar="FILE", help="the texts to learn from")
    parser.add_argument(
        "--eval",
        metavar="FILE",
        help="texts that tell which epoch is best (default: a part of the others is held out)",
    )
    parser.add_argument(
        "--unlabelled",
        metavar="FILE",
        help="more texts of the same kind to pretrain on; labels are left aside",
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where to save it")
    parser.add_argument(
        "--warm-start",
        dest="base_model",
        metavar="FOLDER",
        help="go on with a saved classifier, with its words and labels",
    )
    _add_table_options(parser, labelled=True)
    group = parser.add_argument_group(
        "training", "What is left out is chosen by the preset and the number of texts."
    )
    # Left out of the options unless given, so that the classifier's own defaults hold.
    for name, kind, text in (
        ("hidden-size", int, "features of a state in one direction"),
        ("embedding-size", int, "features of a word"),
        ("num-layers", int, "recurrent layers"),
        ("dropout", float, "dropout between the last two layers"),
        ("embedding-dropout", float, "dropout on embeddings"),
        ("word-dropout", float, "the probability that a word is hidden in an epoch"),
        ("pretrain-epochs", int, "how often to go through all texts before labels are learned"),
        ("ngram-order", int, "the most words of an n-gram in the linear model; 0: no such model"),
        ("min-freq", int, "how often a word must occur to be known"),
        ("max-length", int, "how many words of a text are read"),
        ("epochs", int, "how often to go through the texts at most"),
        ("batch-size", int, "texts of an update"),
        ("learning-rate", float, "the highest learning rate"),
        ("validation-fraction", float, "the share of the texts to hold out without --eval"),
        ("patience", int, "epochs without gain after which training stops"),
        ("seed", int, "seed of everything random"),
    ):
        metavar = "N" if kind is int else "X"
        group.add_argument(
            f"--{name}", type=kind, metavar=metavar, default=argparse.SUPPRESS, help=text
        )
    for name, choices, text in (
        ("preset", ("default", "best"), "best takes longer, and pretrains"),
        ("cell", ("rnn", "gru", "lstm"), "recurrent cell"),
        ("class-weight", ("balanced",), "give each label the same say, however rare"),
        ("precision", ("fp32", "bf16", "fp16"), "in which numbers to compute"),
    ):
        group.add_argument(f"--{name}", choices=choices, default=argparse.SUPPRESS, help=text)
    group.add_argument(
        "--spelling",
        action=argparse.BooleanOptionalAction,
        default=argparse.SUPPRESS,
        help="whether the linear model goes by the spelling of words",
    )
    group.add_argument(
        "--device",
        default=argparse.SUPPRESS,
        help="where to compute: auto (a GPU if there is one), cpu, cuda:1",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--json", action="store_true", help="print the measures as JSON")


def _add_evaluate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _add_command(
        commands,
        "evaluate",
        "Measure a saved classifier on a table of labelled texts.",
        "textrnn evaluate model test.csv --plot confusion.png",
    )
    parser.add_argument("model", metavar="FOLDER", help="the saved classifier")
    parser.add_argument("file", metavar="FILE", help="the table; - is standard input")
    _add_table_options(parser, labelled=True)
    parser.add_argument("--plot", metavar="PICTURE", help="draw the confusion matrix")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    _add_device(parser)


def _add_predict(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _add_command(
        commands,
        "predict",
        "Label texts, one line of output for each: from standard input a text is a line.",
        "textrnn predict model < lines.txt\n"
        "  textrnn predict model reviews.csv --text-column review --top-k 3",
    )
    parser.add_argument("model", metavar="FOLDER", help="the saved classifier")
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="the texts (default: standard input)"
    )
    _add_table_options(parser, labelled=False)
    parser.add_argument("--json", action="store_true", help="print a JSON object for each text")
    parser.add_argument(
        "--proba", action="store_true", help="add the probability of every label (as JSON)"
    )
    parser.add_argument(
        "--top-k", type=_positive, metavar="K", help="add the K most probable labels (as JSON)"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="if texts have several labels: the probability above which a text has one",
    )
    _add_device(parser)


def _add_info(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _add_command(
        commands, "info", "Tell what a saved classifier is.", "textrnn info model --json"
    )
    parser.add_argument("model", metavar="FOLDER", help="the saved classifier")
    parser.add_argument("--json", action="store_true", help="print everything, as JSON")


def _add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
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
        "tables", "A column is named; without a header it is a number, counted from 1."
    )
    group.add_argument(
        "--text-column",
        action="append",
        metavar="COLUMN",
        help="the column with the texts (default: text); several are joined by spaces",
    )
    if labelled:
        group.add_argument(
            "--label-column",
            default="label",
            metavar="COLUMN",
            help="the column with the labels (default: label)",
        )
        group.add_argument(
            "--label-separator",
            metavar="MARK",
            help="a text may have several labels, with this between them",
        )
        group.add_argument(
            "--skip-bad-rows", action="store_true", help="report bad rows, but go on without them"
        )
    group.add_argument(
        "--no-header", dest="header", action="store_false", help="CSV or TSV without column names"
    )
    group.add_argument(
        "--delimiter",
        type=_character,
        metavar="MARK",
        help="what stands between the fields of a CSV file (default: a comma)",
    )
    group.add_argument(
        "--format", choices=_FORMATS, help="the file's format (default: by its suffix)"
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", default="auto", help="where to compute: auto (default), cpu, cuda:1"
    )


def _positive(text: str) -> int:
    with suppress(ValueError):
        if (number := int(text)) > 0:
            return number
    raise argparse.ArgumentTypeError(f"expected a positive integer, but got {text!r}")


def _character(text: str) -> str:
    if len(text) != 1 or text in '"\r\n':
        rule = "one character that is no quotation mark and no line end"
        raise argparse.ArgumentTypeError(f"expected {rule}, but got {text!r}")
    return text
