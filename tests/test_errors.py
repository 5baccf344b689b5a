"""The exceptions, their wording and the argument checks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textrnn import errors


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InvalidValueError, ValueError),
        (errors.InvalidTypeError, TypeError),
        (errors.MissingKeyError, KeyError),
        (errors.MissingFileError, FileNotFoundError),
        (errors.NotFittedError, ValueError),
        (errors.NotFittedError, AttributeError),
        (errors.CorruptFileError, ValueError),
        (errors.MissingDependencyError, ImportError),
        (errors.TrainingError, RuntimeError),
        (errors.NonFiniteLossError, errors.TrainingError),
    ],
)
def test_every_error_is_a_textrnn_error_and_a_builtin(kind, builtin):
    """Each class can be caught by the library's base and by the built-in's name."""
    assert issubclass(kind, errors.TextrnnError)
    assert issubclass(kind, builtin)


def test_a_missing_key_error_shows_its_message_without_quotes():
    """The message reads as a sentence, unlike a plain KeyError's."""
    assert (
        str(errors.MissingKeyError("No key 'a'; there are: 'b'.")) == "No key 'a'; there are: 'b'."
    )
    assert str(errors.MissingKeyError()) == ""


def test_expected_words_argument_rule_and_offender():
    """The message names the argument, the rule and the value."""
    message = errors.expected("hidden_size", "a positive integer", -3)
    assert message == "Expected `hidden_size` to be a positive integer, but got -3."


def test_a_table_is_shown_in_one_line():
    """The lines of a `repr` are joined, and white space in strings is kept."""

    class Table:
        def __repr__(self) -> str:
            return "   text\n0  oil \n1  war"

    assert errors.show(Table()) == "text 0 oil 1 war"
    assert errors.show("a  b\n") == r"'a  b\n'"


@given(st.text() | st.binary() | st.lists(st.text()))
def test_show_is_short_printable_ascii(value):
    """Any value is shown as short printable ASCII."""
    shown = errors.show(value)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(errors.show("x" * 10**6)) <= 100


def test_show_abbreviates_long_numbers():
    """Numbers that Python refuses to write are shown by their size."""
    assert errors.show([10**5000, 7]) == "[<16610-bit integer>, 7]"
    assert errors.show(10**39) == "1" + "0" * 39


def test_nested_values_are_shown_shortly():
    """Many parts of many parts do not make a message long."""
    nested = "x" * 900
    for _ in range(9):
        nested = [nested] * 9
    assert len(errors.show(nested)) <= 500
    assert len(errors.show({"\U0001f600" * 900: nested})) <= 500


def test_long_texts_lose_their_middle():
    """The first and the last words are kept."""
    assert errors.shorten("a" * 500) == "a" * 500
    assert errors.shorten("a" * 400 + "b" * 100 + "c" * 97) == "a" * 400 + "..." + "c" * 97


def test_listing_names_the_first_of_many():
    """The rest are counted."""
    listed = errors.listing(f"{i:03}" for i in range(500))
    assert listed.startswith("'000', '001', ")
    assert listed.endswith("'018', '019' and 480 more")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1, "c": 2}, "should have the keys 'a', 'b'; missing: 'b'; unknown: 'c'"),
        ([1], "should have the keys 'a', 'b', but is [1]"),
    ],
)
def test_unlike_keys_names_the_difference(value, message):
    """Of many keys, those matter that are missing or unknown."""
    assert errors.unlike_keys(value, ["a", "b"]) == message


def test_listing_sorts_names():
    """Names are sorted, and an empty list is shown as "none"."""
    assert errors.listing({"b", "a"}) == "'a', 'b'"
    assert errors.listing([]) == "none"


@pytest.mark.parametrize("value", [1, np.int64(7), 10**12])
def test_check_int_takes_every_kind_of_integer(value):
    """Python's and NumPy's integers come back as int."""
    assert errors.check_int("n", value) == int(value)
    assert type(errors.check_int("n", value)) is int


@pytest.mark.parametrize(
    ("value", "minimum", "kind", "rule"),
    [
        (0, 1, ValueError, "a positive integer, but got 0"),
        (-1, 0, ValueError, "a non-negative integer, but got -1"),
        (1, 2, ValueError, "an integer of at least 2, but got 1"),
        (1.0, 1, TypeError, "a positive integer, but got 1.0"),
        ("3", 1, TypeError, "a positive integer, but got '3'"),
        (True, 1, TypeError, "a positive integer, but got True"),
        (None, 1, TypeError, "a positive integer, but got None"),
        (-(10**400), 1, ValueError, "a positive integer, but got -?<1329-bit integer>"),
    ],
)
def test_check_int_refuses(value, minimum, kind, rule):
    """The message for small integers and other types names the rule."""
    with pytest.raises(kind, match=f"Expected `n` to be {rule}"):
        errors.check_int("n", value, minimum=minimum)


def test_check_int_has_an_upper_bound():
    """The bound itself passes; a larger integer is named with both bounds."""
    assert errors.check_int("n", 5, maximum=5) == 5
    with pytest.raises(ValueError, match="`n` to be an integer from 1 to 5, but got 6"):
        errors.check_int("n", 6, maximum=5)


@pytest.mark.parametrize(
    ("value", "bounds", "kind", "rule"),
    [
        (10**400, {}, ValueError, "a finite number, but got <1329-bit integer>"),
        (math.nan, {}, ValueError, "a finite number, but got nan"),
        (math.inf, {}, ValueError, "a finite number, but got inf"),
        ("1", {}, TypeError, "a finite number, but got '1'"),
        (True, {}, TypeError, "a finite number, but got True"),
        (None, {}, TypeError, "a finite number, but got None"),
        (-0.1, {"minimum": 0}, ValueError, "a number of at least 0, but got -0.1"),
        (0, {"minimum": 0, "exclusive": True}, ValueError, "a number above 0, but got 0"),
        (1.5, {"minimum": 0, "maximum": 1}, ValueError, "a number from 0 to 1, but got 1.5"),
        (
            1,
            {"minimum": 0, "maximum": 1, "exclusive": True},
            ValueError,
            "a number between 0 and 1, both excluded, but got 1",
        ),
    ],
)
def test_check_float_refuses(value, bounds, kind, rule):
    """The message for values outside the bounds, NaN and other types names the rule."""
    with pytest.raises(kind, match=f"Expected `x` to be {rule}"):
        errors.check_float("x", value, **bounds)


def test_check_float_returns_a_float_within_the_bounds():
    """NumPy's scalars and the bounds themselves pass."""
    assert errors.check_float("x", np.float32(0.5), minimum=0, maximum=1) == 0.5
    assert type(errors.check_float("x", 1, minimum=0, maximum=1)) is float


def test_check_choice_lists_the_choices():
    """The message lists the choices in their order."""
    assert errors.check_choice("cell", "gru", ("rnn", "gru")) == "gru"
    with pytest.raises(
        ValueError, match="Expected `cell` to be one of 'rnn', 'gru', but got 'cnn'"
    ):
        errors.check_choice("cell", "cnn", ("rnn", "gru"))
    with pytest.raises(TypeError, match="Expected `cell` to be one of 'rnn', 'gru', but got 3"):
        errors.check_choice("cell", 3, ("rnn", "gru"))


def test_check_keys_names_what_is_unknown_and_what_is_missing():
    """Exactly the given keys pass, and only in a mapping."""
    errors.check_keys("config", {"a": 1, "b": 2}, ("b", "a"))
    rule = "`config` to have the keys 'a', 'b', but got unknown: 'c'; missing: 'b'"
    with pytest.raises(errors.MissingKeyError, match=rule):
        errors.check_keys("config", {"a": 1, "c": 2}, ("a", "b"))
    with pytest.raises(errors.InvalidTypeError, match=r"`config` to be a mapping, but got \['a'\]"):
        errors.check_keys("config", ["a"], ("a",))


def test_a_missing_extra_is_named_with_the_command_that_brings_it():
    """The message for a missing package has the command that installs it."""
    assert errors.import_extra("math", extra="plot") is math
    with pytest.raises(errors.MissingDependencyError, match=r"pip install 'textrnn\[plot\]'"):
        errors.import_extra("no_such_module_anywhere", extra="plot")
