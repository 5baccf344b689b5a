"""Exceptions of the library, and the checks that raise them with one wording.

Every error is also the built-in that a caller would expect, so `except ValueError` works.
Messages name the argument, the rule and the offender:
``Expected `hidden_size` to be a positive integer, but got -3.``
"""

import importlib
import math
import operator
from collections.abc import Iterable, Mapping
from reprlib import Repr
from types import ModuleType
from typing import Any, SupportsFloat, SupportsIndex

__all__ = [
    "CorruptFileError",
    "InvalidTypeError",
    "InvalidValueError",
    "MissingDependencyError",
    "MissingFileError",
    "MissingKeyError",
    "NonFiniteLossError",
    "NotFittedError",
    "TextrnnError",
    "TrainingError",
]

_LONG = 10**40


class _ShortRepr(Repr):
    """Abbreviate numbers that Python refuses to write."""

    def repr_int(self, x: int, level: int) -> str:
        """Return the digits of a number, or how many bits it has."""
        return super().repr_int(x, level) if abs(x) < _LONG else f"<{x.bit_length()}-bit integer>"


_REPR = _ShortRepr()
_REPR.maxstring = _REPR.maxother = 80
_REPR.maxlist = _REPR.maxtuple = _REPR.maxset = _REPR.maxdict = 8
_REPR.maxlevel = 3
_MAX_CHARACTERS = 500  # of a value or a reason in a message
_MAX_NAMES = 20  # of a list in a message


class TextrnnError(Exception):
    """Base class of all errors that textrnn raises."""


class InvalidValueError(TextrnnError, ValueError):
    """An argument has an invalid value."""


class InvalidTypeError(TextrnnError, TypeError):
    """An argument has a wrong type."""


class MissingKeyError(TextrnnError, KeyError):
    """A name does not exist; the message lists the valid ones."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which would put the message in quotes.
        return str(self.args[0]) if self.args else ""


class NotFittedError(TextrnnError, ValueError, AttributeError):
    """A model was used before `fit`."""


class CorruptFileError(TextrnnError, ValueError):
    """A file has invalid contents, none of which were used."""


class MissingFileError(TextrnnError, FileNotFoundError):
    """A folder does not exist."""


class MissingDependencyError(TextrnnError, ImportError):
    """An optional package is not installed; the message names the extra to install."""


class TrainingError(TextrnnError, RuntimeError):
    """Training can't continue."""


class NonFiniteLossError(TrainingError):
    """The loss is NaN or infinite, or the weights are."""


def show(value: object) -> str:
    """Return a short ASCII `repr` in one line that never fails, for messages."""
    text = _REPR.repr(value).encode("ascii", "backslashreplace").decode("ascii")
    # White space within strings is escaped, so only a table's padding is collapsed.
    return shorten(" ".join(text.split()) if "\n" in text else text)


def shorten(text: str) -> str:
    """Return a text with its middle left out if it is too long for a message."""
    if len(text) <= _MAX_CHARACTERS:
        return text
    return f"{text[: _MAX_CHARACTERS - 100]}...{text[-97:]}"


def expected(name: str, rule: str, got: object) -> str:
    """Return the message that the argument `name` breaks a rule."""
    return f"Expected `{name}` to be {rule}, but got {show(got)}."


def listing(names: Iterable[object]) -> str:
    """Return names sorted and separated by commas, the first of many, or "none"."""
    every = list(names)
    shown = sorted(map(show, every[:1000]))[:_MAX_NAMES]
    more = len(every) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "") or "none"


def unlike_keys(value: object, keys: Iterable[str]) -> str:
    """Return the clause that says how a value differs from a mapping with exactly these keys."""
    if not isinstance(value, Mapping):
        return f"should have the keys {listing(keys)}, but is {show(value)}"
    known, given = set(keys), set(value)
    missing, unknown = listing(known - given), listing(given - known)
    return f"should have the keys {listing(keys)}; missing: {missing}; unknown: {unknown}"


def check_int(
    name: str, value: SupportsIndex, *, minimum: int = 1, maximum: float = math.inf
) -> int:
    """Return `value` as an `int` between the bounds; accept NumPy integers, but no booleans."""
    rule = {0: "a non-negative integer", 1: "a positive integer"}.get(
        minimum, f"an integer of at least {minimum}"
    )
    if isinstance(value, bool):
        raise InvalidTypeError(expected(name, rule, value))
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidTypeError(expected(name, rule, value)) from None
    if number > maximum:
        rule = f"an integer from {minimum} to {maximum}"
    if not minimum <= number <= maximum:
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
    """Return `value` as a finite `float` between the bounds; `exclusive` excludes them."""
    rule = "a finite number"
    if math.isfinite(minimum) and math.isfinite(maximum):
        rule = f"a number from {minimum:g} to {maximum:g}"
        if exclusive:
            rule = f"a number between {minimum:g} and {maximum:g}, both excluded"
    elif math.isfinite(minimum):
        rule = f"a number {'above' if exclusive else 'of at least'} {minimum:g}"
    if isinstance(value, bool | str | bytes):
        raise InvalidTypeError(expected(name, rule, value))
    try:
        number = float(value)
    except OverflowError:
        raise InvalidValueError(expected(name, rule, value)) from None
    except (TypeError, ValueError):
        raise InvalidTypeError(expected(name, rule, value)) from None
    inside = minimum < number < maximum if exclusive else minimum <= number <= maximum
    if not (math.isfinite(number) and inside):
        raise InvalidValueError(expected(name, rule, value))
    return number


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Return `value` if it is one of `choices`, which the message lists in order."""
    options = tuple(choices)
    if not isinstance(value, str) or value not in options:
        rule = "one of " + ", ".join(repr(option) for option in options)
        kind = InvalidValueError if isinstance(value, str) else InvalidTypeError
        raise kind(expected(name, rule, value))
    return value


def check_keys(name: str, value: object, keys: Iterable[str]) -> None:
    """Raise an error unless `value` is a mapping with exactly these keys."""
    if not isinstance(value, Mapping):
        raise InvalidTypeError(expected(name, "a mapping", value))
    known, given = set(keys), set(value)
    if given != known:
        raise MissingKeyError(
            f"Expected `{name}` to have the keys {listing(known)}, but got "
            f"unknown: {listing(given - known)}; missing: {listing(known - given)}."
        )


def import_extra(module: str, *, extra: str) -> ModuleType:
    """Import an optional module, or raise an error that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"This needs `{module}`, which is not installed: pip install 'textrnn[{extra}]'."
        ) from error
