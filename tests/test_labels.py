"""Labels of every type, one or several per text."""

import datetime as dt
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from tests import strategies
from textrnn.errors import InvalidTypeError, InvalidValueError, MissingKeyError
from textrnn.runtime.labels import LabelSet, label_from_json, label_to_json, label_values


@pytest.mark.parametrize(
    "column",
    [
        ["b", "a", "b"],
        ("b", "a", "b"),
        iter(["b", "a", "b"]),
        np.array(["b", "a", "b"]),
        np.array(["b", "a", "b"], dtype=object),
        pd.Series(["b", "a", "b"], index=[7, 8, 9]),
        pd.Series(["b", "a", "b"], dtype="category"),
        pl.Series(["b", "a", "b"]),
        pa.array(["b", "a", "b"]),
        pa.chunked_array([["b", "a"], ["b"]]),
        pa.array(["b", "a", "b"]).dictionary_encode(),
        Dataset.from_dict({"label": ["b", "a", "b"]})["label"],
    ],
    ids=lambda column: type(column).__name__,
)
def test_columns_of_any_kind_give_plain_strings(column):
    """Entries become Python strings, in order."""
    values = label_values(column)
    assert values == ["b", "a", "b"]
    assert {type(value) for value in values} == {str}


@pytest.mark.parametrize(
    "column",
    [np.array([3, 1], dtype=np.int32), torch.tensor([3, 1]), pd.Series([3, 1]), pl.Series([3, 1])],
    ids=lambda column: type(column).__module__,
)
def test_numbers_come_out_as_plain_integers(column):
    """Integers of any width become Python integers."""
    assert [(type(value), value) for value in label_values(column)] == [(int, 3), (int, 1)]


def test_an_object_that_is_only_an_array_is_read():
    """Any object that NumPy can convert is a column."""

    class Arraylike:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.array([2, 5])

    assert label_values(Arraylike()) == [2, 5]


@pytest.mark.parametrize("column", ["spam", b"spam", {"a": 1}, {"a"}, 3, None, np.array(3)])
def test_what_is_no_column_is_refused(column):
    """A single string, a mapping or a number is not a column."""
    with pytest.raises(InvalidTypeError, match=r"Expected `labels` to be a column"):
        label_values(column)


@pytest.mark.parametrize(
    "missing", [None, math.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT", "D")]
)
def test_a_missing_label_is_named(missing):
    """The error names the position."""
    with pytest.raises(InvalidValueError, match=r"`labels\[1\]` to be a label; it is missing"):
        label_values(["spam", missing])


def test_a_missing_label_inside_a_list_is_named():
    """The error names the position of the text."""
    with pytest.raises(InvalidValueError, match=r"labels\[0\]"):
        label_values([["spam", None]])


def test_a_matrix_holds_zeros_and_ones_only():
    """Two dimensions mean a column for each label."""
    matrix = label_values(np.array([[True, False], [False, False]]))
    assert (matrix.targets.tolist(), matrix.names) == ([[1, 0], [0, 0]], None)
    for wrong in (
        np.array([[0, 2]]),
        np.array([["a", "b"]]),
        np.zeros((2, 0)),
        pd.DataFrame({"a": [3], "b": [0]}),
    ):
        with pytest.raises(InvalidValueError, match="or a matrix of zeros and ones"):
            label_values(wrong)


FRAME = {"rude": [1, 0, 0], "loud": [1, 1, 0]}


@pytest.mark.parametrize(
    "table",
    [pd.DataFrame(FRAME), pl.DataFrame(FRAME), pa.table(FRAME), pd.DataFrame(FRAME, dtype=bool)],
    ids=lambda table: type(table).__module__,
)
def test_the_columns_of_a_table_are_labels(table):
    """Column names are labels, in the order of the columns."""
    matrix = label_values(table)
    labels = LabelSet.of(matrix)
    assert (labels.names, labels.multi_label, labels.matrix) == (("rude", "loud"), True, True)
    assert labels.encode(matrix).tolist() == [[1, 1], [0, 1], [0, 0]]


def test_a_column_named_like_an_attribute_is_a_label():
    """A column may have the name of an attribute of tables."""
    table = pd.DataFrame({"column_names": [0, 1], "columns": [1, 0]})
    assert LabelSet.of(label_values(table)).names == ("column_names", "columns")


def test_columns_are_matched_by_name():
    """A table in another order gives the same targets; one of other columns is an error."""
    table = pd.DataFrame(FRAME)
    labels = LabelSet.of(label_values(table))
    assert labels.encode(label_values(table[["loud", "rude"]])).tolist() == [[1, 1], [0, 1], [0, 0]]
    assert labels.encode(label_values(table.to_numpy())).tolist() == [[1, 1], [0, 1], [0, 0]]
    with pytest.raises(MissingKeyError, match="No label 'x', as in the columns of `labels`; there"):
        labels.encode(label_values(table.rename(columns={"rude": "x"})))
    three = LabelSet(("rude", "loud", "new"), multi_label=True)
    with pytest.raises(InvalidValueError, match="with a column for each label, also 'new', but"):
        three.encode(label_values(table))


def test_two_columns_of_one_name_are_an_error():
    """The error names the repeated column."""
    table = pd.DataFrame([[0, 1, 0]], columns=["a", "b", "a"])
    with pytest.raises(InvalidValueError, match=r"columns have different names, but got \['a'\]"):
        label_values(table)


@pytest.mark.parametrize(
    "column",
    [
        np.array([[1], [0], [1]]),
        torch.tensor([[1], [0], [1]]),
        pd.DataFrame({"spam": [1, 0, 1]}),
        pl.DataFrame({"spam": [1, 0, 1]}),
        pa.table({"spam": [1, 0, 1]}),
    ],
    ids=lambda column: type(column).__module__,
)
def test_a_column_vector_has_one_label_per_text(column):
    """A matrix or table of one column is a column."""
    values = label_values(column)
    assert values == [1, 0, 1]
    assert {type(value) for value in values} == {int}
    assert not LabelSet.of(values).multi_label


def test_a_missing_label_of_a_column_vector_is_named():
    """A column vector is checked like a column."""
    with pytest.raises(InvalidValueError, match=r"`labels\[1\]` to be a label; it is missing"):
        label_values(pd.DataFrame({"label": ["a", None]}))


def test_a_sparse_matrix_is_refused():
    """The error names the method that makes it dense."""
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(InvalidTypeError, match=r"`y` to be dense; pass `y.toarray\(\)`"):
        label_values(sparse.csr_array([[0, 1]]), "y")


@pytest.mark.parametrize(
    "column",
    [[1, "1", 2], ["a", True, "True"], [["b"], [0.5, "0.5"]], [("a", 1), "('a', 1)"]],
)
def test_labels_of_different_types_that_are_written_alike_are_an_error(column):
    """Outputs could not tell them apart."""
    with pytest.raises(InvalidValueError, match="`labels` to be of one type, or written diff"):
        LabelSet.of(label_values(column))


def test_columns_written_alike_are_an_error():
    """Column names are labels."""
    with pytest.raises(InvalidValueError, match=r"written differently, but got \[1, '1'\]"):
        LabelSet.of(label_values(pd.DataFrame([[0, 1]], columns=[1, "1"])))


@pytest.mark.parametrize(
    ("column", "listed"),
    [
        (["pos", "pos ", "neg", "neg\t"], "'neg' and 'neg\\t'; 'pos' and 'pos '"),
        (["newyork", "new york", "new\xa0york"], "'new york' and 'newyork' and 'new\\xa0york'"),
        ([["a"], [" a"]], "' a' and 'a'"),
    ],
)
def test_labels_that_differ_only_in_blanks_give_a_warning(column, listed):
    """The warning names them, and they remain different labels."""
    with pytest.warns(UserWarning, match="blanks") as warned:
        labels = LabelSet.of(label_values(column))
    (warning,) = warned
    message = f"Labels that differ only in blanks count as different labels: {listed}."
    assert str(warning.message) == message
    assert len(labels) == len({*np.ravel(column)})


def test_columns_that_differ_only_in_blanks_give_a_warning():
    """Column names are labels."""
    with pytest.warns(UserWarning, match="blanks count as different labels: 'a' and 'a '"):
        LabelSet.of(label_values(pd.DataFrame([[0, 1]], columns=["a", "a "])))


def test_labels_are_sorted_where_they_can_be():
    """Labels that can't be compared keep their order of occurrence."""
    assert LabelSet.of(["b", "a", "c", "a"]).names == ("a", "b", "c")
    assert LabelSet.of([10, 9]).names == (9, 10)
    assert LabelSet.of(["b", 1, "a"]).names == ("b", 1, "a")


def test_a_list_or_a_set_is_several_labels_and_a_tuple_is_one():
    """Unhashable entries hold labels; hashable entries are labels."""
    several = LabelSet.of(label_values([["b", "a"], {"c"}, [], np.array(["a"])]))
    assert (several.names, several.multi_label) == (("a", "b", "c"), True)
    single = LabelSet.of([("a", 1), ("b", 2), frozenset("a")])
    assert (len(single), single.multi_label) == (3, False)


def test_one_and_several_labels_do_not_mix():
    """The error names the first text of another form."""
    with pytest.raises(InvalidTypeError, match=r"`labels\[2\]` to be one label, as before"):
        LabelSet.of(["a", "b", ["a"]])
    with pytest.raises(InvalidTypeError, match=r"`labels\[1\]` to be a list or set of labels"):
        LabelSet.of([["a"], "b"])


def test_labels_that_cannot_be_hashed_are_refused():
    """A tuple may hold a list."""
    with pytest.raises(InvalidTypeError, match="hashable"):
        LabelSet.of([("a", []), "b"])


def test_there_must_be_something_to_tell_apart():
    """There are at least two classes, or one label for multi-label data."""
    with pytest.raises(InvalidValueError, match=r"two classes or more, but got one class: 'a'"):
        LabelSet.of(["a", "a"])
    with pytest.raises(InvalidValueError, match="to have labels, but got none"):
        LabelSet.of([[], []])


def test_encode_gives_ids_or_targets():
    """One label gives a class id, several labels a row of zeros and ones."""
    assert LabelSet(("a", "b")).encode(["b", "a"]).tolist() == [1, 0]
    several = LabelSet(("a", "b"), multi_label=True)
    assert several.encode([["b"], [], ["b", "a", "a"]]).tolist() == [[0, 1], [0, 0], [1, 1]]
    assert several.encode(label_values(np.array([[1, 0]]))).tolist() == [[1, 0]]


def test_an_unknown_label_lists_those_there_are():
    """The error names the place and lists the first known labels."""
    with pytest.raises(
        MissingKeyError, match=r"^No label 'c', as in `y\[1\]`; there are: 'a', 'b'\.$"
    ):
        LabelSet(("a", "b")).encode(["a", "c"], "y")
    with pytest.raises(MissingKeyError, match=r"^No label 'c', as in `labels\[1\]`; there are: "):
        LabelSet(("a", "b"), multi_label=True).encode([[], ["a", "c"]])
    with pytest.raises(MissingKeyError, match=r"^No label -1, .*: 0, 1, .*, 19, \.\.\.\.$"):
        LabelSet(tuple(range(30))).encode([-1])
    with pytest.raises(MissingKeyError, match="No label"):
        LabelSet(("a", "b")).encode([("a", [])])


def test_encode_refuses_the_other_form():
    """A list where one label is expected is an error, and vice versa."""
    with pytest.raises(InvalidTypeError, match=r"`labels\[0\]` to be one label"):
        LabelSet(("a", "b")).encode([["a"]])
    with pytest.raises(InvalidTypeError, match="one label for each text"):
        LabelSet(("a", "b")).encode(label_values(np.array([[0, 1]])))
    with pytest.raises(InvalidTypeError, match=r"`labels\[0\]` to be a list or set of labels"):
        LabelSet(("a",), multi_label=True).encode(["a"])
    with pytest.raises(InvalidValueError, match="a matrix with 1 columns"):
        LabelSet(("a",), multi_label=True).encode(label_values(np.array([[0, 1]])))


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["a", "bc"], "U"),
        (["a", "b\0"], "O"),
        ([1, 2], "i"),
        ([1, 2**70], "O"),
        ([False, True], "b"),
        ([0.5, 1.5], "f"),
        ([1, "a"], "O"),
        ([(1, 2), (3, 4)], "O"),
    ],
)
def test_classes_have_numpys_type_where_it_loses_nothing(names, kind):
    """The array converts back to equal labels."""
    classes = LabelSet(tuple(names)).classes
    assert classes.dtype.kind == kind
    assert classes.shape == (len(names),)
    assert classes.tolist() == names


def test_equality_and_repr():
    """A label set is a value."""
    labels = LabelSet(("a", "b"))
    assert labels == LabelSet(("a", "b"))
    assert hash(labels) == hash(LabelSet(("a", "b")))
    assert labels != LabelSet(("b", "a"))
    assert labels != LabelSet(("a", "b"), multi_label=True)
    assert labels != ("a", "b")
    assert eval(repr(labels), {"LabelSet": LabelSet}) == labels  # noqa: S307 - a repr of our own


@given(strategies.label_lists())
def test_json_keeps_labels(names):
    """Labels come back equal and of the same type."""
    labels = LabelSet(tuple(names))
    again = LabelSet.from_dict(labels.to_dict())
    assert again == labels
    assert list(map(type, again.names)) == list(map(type, labels.names))


@pytest.mark.parametrize("name", [dt.date(2020, 1, 1), b"a", frozenset("a"), (1, None)])
def test_a_label_that_json_lacks_is_refused(name):
    """Types that JSON would change are errors."""
    with pytest.raises(InvalidTypeError, match="a tuple of these, to be written as JSON"):
        label_to_json(name)


@pytest.mark.parametrize("data", [None, {}, [None], json.loads("[" * 12 + "]" * 12)])
def test_json_that_is_no_label_is_refused(data):
    """A file can't bring in other types."""
    with pytest.raises(InvalidTypeError, match="a number or a list of these"):
        label_from_json(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multi_label": 1}, "`multi_label` to be a boolean"),
        ({"matrix": None}, "`matrix` to be a boolean"),
        ({"labels": "ab"}, "`labels` to be a list"),
        ({"labels": []}, "different labels"),
        ({"labels": ["a", "a"]}, "different labels"),
        ({"labels": [1, True]}, "different labels"),
        ({"labels": [1, "1"]}, "of one type, or written differently"),
    ],
)
def test_from_dict_checks_what_it_gets(change, message):
    """Each part of the data is checked."""
    data = LabelSet(("a", "b")).to_dict() | change
    with pytest.raises((InvalidTypeError, InvalidValueError), match=message):
        LabelSet.from_dict(data)


@given(st.lists(st.sets(st.sampled_from("abcd")), min_size=1).filter(any))
def test_targets_tell_which_labels_a_text_has(rows):
    """Targets decode to the same labels."""
    labels = LabelSet.of(label_values(rows))
    targets = labels.encode(label_values(rows))
    found = [{labels.names[i] for i in np.flatnonzero(row)} for row in targets]
    assert found == rows


@pytest.mark.parametrize("label", ["x" * 10_001, ("x" * 5000, "y" * 5000)])
def test_a_label_has_a_maximum_length(label):
    """It would take its space in each answer, and is hardly a label."""
    with pytest.raises(InvalidValueError, match="`labels` to be labels of at most 10000 char"):
        LabelSet(("a", label))
    assert len(LabelSet(("a", "x" * 10_000))) == 2


def test_long_labels_are_an_array_of_objects():
    """An array of strings would give each label the space of the longest one."""
    assert LabelSet(("a", "x" * 200)).classes.dtype == "<U200"
    long = LabelSet(("a", "x" * 201)).classes
    assert long.dtype == object
    assert long.tolist() == ["a", "x" * 201]
