"""Columns of texts and labels, from every library that has columns."""

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from textrnn.data.targets import read_labels
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.text import columns
from textrnn.text.columns import read_texts

STRINGS = ["one", "", "dreißig"]
COLUMNS = {
    "list": list,
    "tuple": tuple,
    "generator": iter,
    "NumPy objects": lambda values: np.array(values, dtype=object),
    "NumPy": np.array,
    "pandas": pd.Series,
    "pandas objects": lambda values: pd.Series(values, dtype=object),
    "pandas index": pd.Index,
    "polars": pl.Series,
    "Arrow": pa.array,
    "Arrow chunks": lambda values: pa.chunked_array([values[:1], values[1:]]),
    "Hugging Face": lambda values: datasets.Dataset.from_dict({"x": values})["x"],
}
MORE_LABELS = {
    "tensor": torch.tensor,
    "tensor of bytes": lambda values: torch.tensor(values, dtype=torch.uint8),
    "list of tensors": lambda values: [torch.tensor(value) for value in values],
    "list of NumPy's integers": lambda values: list(np.array(values, dtype=np.int16)),
    "range-like": lambda values: pd.RangeIndex(len(values)),
    "pandas nullable": lambda values: pd.Series(values, dtype="Int64"),
    "pandas category": lambda values: pd.Series(values, dtype="category"),
    "NumPy integers as objects": lambda values: np.array(list(np.array(values)), dtype=object),
    "unsigned": lambda values: np.array(values, dtype=np.uint64),
}


@pytest.mark.parametrize("make", COLUMNS.values(), ids=COLUMNS)
def test_texts_come_from_any_column(make):
    """Every kind of column gives its strings in order."""
    texts = list(read_texts(make(STRINGS)))
    assert texts == STRINGS
    assert all(isinstance(text, str) for text in texts)


def test_arrow_texts_are_converted_in_blocks(monkeypatch):
    """A long Arrow column is read completely, in blocks."""
    monkeypatch.setattr(columns, "_ARROW_ROWS", 3)
    texts = [str(i) for i in range(10)]
    assert list(read_texts(pa.chunked_array([texts[:4], texts[4:]]))) == texts
    assert list(read_texts(pa.array([], pa.string()))) == []


@pytest.mark.parametrize(
    "texts",
    [
        "one text",
        b"bytes",
        {"text": 1},
        {"a", "b"},
        None,
        5,
        np.array([["a"]]),
        np.array("a"),
        pd.DataFrame({"text": ["a"]}),
        pl.DataFrame({"text": ["a"]}),
        pa.table({"text": ["a"]}),
        datasets.Dataset.from_dict({"text": ["a"]}),
    ],
    ids=lambda texts: type(texts).__name__,
)
def test_only_columns_of_texts_are_accepted(texts):
    """Iterating over a single text, a table or a set would give letters, names or no order."""
    with pytest.raises(InvalidTypeError, match=r"`texts` to be a column \(a sequence\) of strings"):
        read_texts(texts)


@pytest.mark.parametrize(
    "make", (COLUMNS | MORE_LABELS).values(), ids=(COLUMNS | MORE_LABELS).keys()
)
def test_class_ids_come_from_any_column(make):
    """Every kind of column gives the same int64 tensor."""
    labels = read_labels(make([0, 1, 2]))
    assert labels.tolist() == [0, 1, 2]
    assert labels.dtype == torch.int64


@pytest.mark.parametrize(
    "make",
    [
        list,
        np.array,
        torch.tensor,
        lambda rows: torch.tensor(rows, dtype=torch.bfloat16, requires_grad=True),
        lambda rows: np.array(rows, dtype=object),
        lambda rows: [np.array(row) for row in rows],
        lambda rows: [torch.tensor(row) for row in rows],
        pd.DataFrame,
        pd.Series,
        lambda rows: pl.DataFrame(rows, orient="row"),
        pa.array,
        lambda rows: pa.chunked_array([rows]),
        lambda rows: datasets.Dataset.from_dict({"x": rows})["x"],
    ],
)
def test_targets_come_from_any_matrix(make):
    """Every kind of matrix or column of rows gives the same float32 tensor."""
    rows = [[0.0, 1.0, 0.5], [1.0, 0.0, 0.25]]
    labels = read_labels(make(rows))
    assert labels.tolist() == rows
    assert labels.dtype == torch.float32
    assert not labels.requires_grad


def test_zeros_and_ones_of_any_type_are_targets():
    """A matrix of integers or booleans is multi-label too."""
    assert read_labels(np.array([[0, 1]])).tolist() == [[0, 1]]
    assert read_labels(np.array([[False, True]])).tolist() == [[0, 1]]


def test_none_stays_none_and_empty_labels_empty():
    """None means no labels; an empty column has class ids of no texts."""
    assert read_labels(None) is None
    assert read_labels([]).dtype == torch.int64
    assert read_labels([]).shape == (0,)
    assert read_labels(np.empty((0, 3))).shape == (0, 3)


@given(hnp.arrays(np.int64, st.integers(0, 20), elements=st.integers(0, 2**63 - 1)))
def test_labels_are_a_copy(values):
    """Every class id in range is kept, and changing the tensor does not change the array."""
    labels = read_labels(values)
    before = values.copy()
    labels += 1
    assert np.array_equal(values, before)
    targets = np.ones((2, 2), dtype=np.float32)
    read_labels(targets).zero_()
    assert targets.all()


CLASS_ID = r"to be a class id \(a non-negative integer\), but got "


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, None, 1], rf"`labels\[1\]` {CLASS_ID}None"),
        ([0, 1, float("nan")], rf"`labels\[2\]` {CLASS_ID}nan"),
        (pd.Series([0, None]), rf"`labels\[1\]` {CLASS_ID}nan"),
        (pd.Series([0, None], dtype="Int64"), rf"`labels\[1\]` {CLASS_ID}(<NA>|nan)"),
        (pl.Series([0, None]), rf"`labels\[1\]` {CLASS_ID}nan"),
        (pa.array([0, None]), rf"`labels\[1\]` {CLASS_ID}nan"),
        (torch.tensor([0, float("nan")]), rf"`labels\[1\]` {CLASS_ID}nan"),
        ([0, -1, -2], rf"`labels\[1\]` {CLASS_ID}-1"),
        ([2**63], rf"`labels\[0\]` {CLASS_ID}9223372036854775808"),
        ([1, 2**70], rf"`labels\[1\]` {CLASS_ID}1180591620717411303424"),
        ([[0.5, float("nan")]], r"`labels\[0\]` to be numbers from 0 to 1, but got \[0.5, nan\]"),
        ([[0, 1], [0, None]], r"`labels\[1\]` to be numbers from 0 to 1, but got \[0, None\]"),
        ([[0, 1], [0, float("inf")]], r"`labels\[1\]` to be numbers from 0 to 1"),
        ([[3], [0]], r"`labels\[0\]` to be numbers from 0 to 1, but got \[3\]"),
        ([[0, 1], [1]], r"`labels` to be class ids, or rows of the same length, but got"),
        ([None, [1]], r"`labels` to be class ids, or rows of the same length, but got"),
        ([[], []], r"`labels` to be one class id per text, or a matrix"),
        (np.zeros((1, 1, 1)), r"`labels` to be one class id per text, or a matrix"),
        (np.array(3), r"`labels` to be one class id per text, or a matrix"),
    ],
)
def test_missing_labels_and_those_out_of_range_are_refused(labels, message):
    """The message names the row and its value."""
    with pytest.raises(InvalidValueError, match=message):
        read_labels(labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["sports", "world"], rf"`labels\[0\]` {CLASS_ID}'sports'"),
        ([0, "sports"], rf"`labels\[1\]` {CLASS_ID}'sports'"),
        (pd.Series(["sports"], dtype="category"), rf"`labels\[0\]` {CLASS_ID}'sports'"),
        ([True, False], rf"`labels\[0\]` {CLASS_ID}True"),
        ([0, True], rf"`labels\[1\]` {CLASS_ID}True"),
        (np.array([True]), rf"`labels\[0\]` {CLASS_ID}True"),
        (torch.tensor([False]), rf"`labels\[0\]` {CLASS_ID}False"),
        ([0.0, 1.0], rf"`labels\[0\]` {CLASS_ID}0.0"),
        (np.array(["2026-01-01"], dtype="M8[D]"), rf"`labels\[0\]` {CLASS_ID}"),
        ([["a", "b"]], r"`labels` to be a matrix of numbers, but got"),
        ("sports", r"`labels` to be a column \(a sequence\) of class ids, but got 'sports'"),
        ({0: 1}, r"`labels` to be a column \(a sequence\) of class ids, but got {0: 1}"),
        ({0, 1}, r"`labels` to be a column \(a sequence\) of class ids, but got {0, 1}"),
        (3, r"`labels` to be a column \(a sequence\) of class ids, but got 3"),
    ],
)
def test_labels_of_a_wrong_type_are_refused(labels, message):
    """Names, booleans and floats are not class ids."""
    with pytest.raises(InvalidTypeError, match=message):
        read_labels(labels)
