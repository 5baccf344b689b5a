"""The library's errors: one small tree, one wording.

::

    TextrnnError
    ├── InvalidValueError      (ValueError)       an argument has a value that it must not have
    ├── InvalidTypeError       (TypeError)        an argument has a type that it must not have
    ├── MissingKeyError        (KeyError)         a name that does not exist was asked for
    ├── NotFittedError         (ValueError, AttributeError)   a model was used before ``fit``
    ├── CorruptFileError       (ValueError)       a file does not hold what it should
    ├── MissingDependencyError (ImportError)      an optional package is not installed
    └── TrainingError          (RuntimeError)     training can't go on
        └── NonFiniteLossError                    because the loss is NaN or infinite

Every error is also the built-in that a caller would expect, so ``except ValueError`` works.
Messages name the argument, the rule and the offender:
``Expected `hidden_size` to be a positive integer, but got -3.``
"""

import importlib
import math
import operator
from collections.abc import Iterable
from reprlib import Repr
from types import ModuleType
from typing import Any, SupportsFloat, SupportsIndex

__all__ = [
    "CorruptFileError",
    "InvalidTypeError",
    "InvalidValueError",
    "MissingDependencyError",
    "MissingKeyError",
    "NonFiniteLossError",
    "NotFittedError",
    "TextrnnError",
    "TrainingError",
]


class TextrnnError(Exception):
    """The base of every error that textrnn raises itself."""


class InvalidValueError(TextrnnError, ValueError):
    """An argument has a value that it must not have."""


class InvalidTypeError(TextrnnError, TypeError):
    """An argument has a type that it must not have."""


class MissingKeyError(TextrnnError, KeyError):
    """A name that does not exist was asked for; the message lists those there are."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which would put the message in quotes.
        return str(self.args[0]) if self.args else ""


class NotFittedError(TextrnnError, ValueError, AttributeError):
    """A model was used before it was fitted."""


class CorruptFileError(TextrnnError, ValueError):
    """A file does not hold what it should; nothing of it was used."""


class MissingDependencyError(TextrnnError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class TrainingError(TextrnnError, RuntimeError):
    """Training can't go on."""


class NonFiniteLossError(TrainingError):
    """Training stopped because the loss was NaN or infinite."""


_REPR = Repr()
_REPR.maxstring = _REPR.maxother = 80
_REPR.maxlist = _REPR.maxtuple = _REPR.maxset = _REPR.maxdict = 8


def show(value: object) -> str:
    """Return a `repr` that is short enough for a message, in one line, and never fails."""
    text = _REPR.repr(value).encode("ascii", "backslashreplace").decode("ascii")
    # A table's lines are padded; a string's own white space is quoted and stays.
    return " ".join(text.split()) if "\n" in text else text


def expected(name: str, rule: str, got: object) -> str:
    """Word a complaint about the argument `name`; `got` is shown as its `repr`."""
    return f"Expected `{name}` to be {rule}, but got {show(got)}."


def listing(names: Iterable[object]) -> str:
    """Write names for a message, sorted, or say that there are none."""
    return ", ".join(sorted(show(name) for name in names)) or "none"


def check_int(name: str, value: SupportsIndex, *, minimum: int = 1) -> int:
    """Return `value` as an `int` of at least `minimum`; NumPy's integers pass, booleans don't."""
    rule = {0: "a non-negative integer", 1: "a positive integer"}.get(
        minimum, f"an integer of at least {minimum}"
    )
    if isinstance(value, bool):
        raise InvalidTypeError(expected(name, rule, value))
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidTypeError(expected(name, rule, value)) from None
    if number < minimum:
        raise InvalidValueError(expected(name, rule, value))
    return number


def check_float(
    name: str,
    value: SupportsFloat,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    exclusive: bool = False,
) -> float:
    """Return `value` as a finite `float` between the bounds; `exclusive` shuts both bounds out."""
    rule = "a finite number"
    if exclusive and math.isfinite(minimum) and math.isfinite(maximum):
        rule = f"a number between {minimum:g} and {maximum:g}, both excluded"
    elif exclusive and math.isfinite(minimum):
        rule = f"a number above {minimum:g}"
    elif math.isfinite(minimum) and math.isfinite(maximum):
        rule = f"a number from {minimum:g} to {maximum:g}"
    elif math.isfinite(minimum):
        rule = f"a number of at least {minimum:g}"
    if isinstance(value, bool | str | bytes):
        raise InvalidTypeError(expected(name, rule, value))
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InvalidTypeError(expected(name, rule, value)) from None
    inside = minimum < number < maximum if exclusive else minimum <= number <= maximum
    if not (math.isfinite(number) and inside):
        raise InvalidValueError(expected(name, rule, value))
    return number


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Return `value` if it is one of `choices`, which the message lists in their order."""
    options = tuple(choices)
    if not isinstance(value, str) or value not in options:
        rule = "one of " + ", ".join(repr(option) for option in options)
        kind = InvalidValueError if isinstance(value, str) else InvalidTypeError
        raise kind(expected(name, rule, value))
    return value


def import_extra(module: str, *, extra: str) -> ModuleType:
    """Import an optional module, or say which extra of textrnn brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"This needs `{module}`, which is not installed: pip install 'textrnn[{extra}]'."
        ) from error
