"""Rows of texts and labels from files and from the Hugging Face Hub."""

import gzip
import json
from unittest import mock

import datasets
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from textrnn.data import FileRows, HubRows, WordDataset
from textrnn.data.corpus import rows as rows_module
from textrnn.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    MissingDependencyError,
    MissingKeyError,
)
from textrnn.text import Vocabulary, WordCounter, WordTokenizer

ROWS = [("Oil soars, again", 1), ("They won", 0), ("", 1)]
HUB_ROWS = {"text": ["oil", "soar again", ""], "label": [2, 0, 1], "title": ["a", "b", "c"]}
VOCABULARY = Vocabulary.build([["oil", "prices", "soar", "fall", "again"]])
TOKENIZER = WordTokenizer()


def assert_same_items(first, second):
    """Compare items value by value, with their types."""
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert list(one) == list(other)
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.fixture(name="files")
def fixture_files(tmp_path):
    """Write the same rows in every format; return the files by suffix."""
    texts, labels = zip(*ROWS, strict=True)
    lines = [f'"{text}",{label}' for text, label in ROWS]
    (tmp_path / "news.csv").write_text("\n".join(["text,label", *lines, ""]))
    (tmp_path / "news.tsv").write_text("".join(f"{text}\t{label}\n" for text, label in ROWS))
    records = [json.dumps({"label": label, "text": text}) for text, label in ROWS]
    (tmp_path / "news.jsonl").write_text("\n".join(records))
    parquet.write_table(pa.table({"text": texts, "label": labels}), tmp_path / "news.parquet")
    return {path.suffix[1:]: path for path in tmp_path.iterdir()}


def test_every_format_gives_the_same_rows_any_number_of_times(files):
    """The suffix determines the format, and each iteration reads the file anew."""
    for form in ("csv", "jsonl", "parquet"):
        rows = FileRows(files[form])
        assert list(rows) == list(rows) == ROWS
        assert list(rows.texts()) == [text for text, _ in ROWS]
    bare = FileRows(str(files["tsv"]), header=False, text_column="1", label_column="2")
    assert list(bare) == ROWS


def test_several_files_are_read_one_after_the_other(files, tmp_path):
    """They may differ in format; `format` takes precedence over suffixes."""
    rows = FileRows([files["csv"], files["parquet"]])
    assert list(rows) == ROWS * 2
    plain = tmp_path / "rows.dat"
    plain.write_bytes(files["jsonl"].read_bytes())
    assert list(FileRows([plain], format="jsonl")) == ROWS


def test_gzip_files_of_any_encoding_are_read(files):
    """The content tells that they are compressed."""
    packed = files["csv"].with_name("packed.csv.gz")
    packed.write_bytes(gzip.compress(files["csv"].read_bytes().decode().encode("utf-16-le")))
    assert list(FileRows(packed, encoding="utf-16-le")) == ROWS


def test_fasttext_files_have_one_label_or_several(tmp_path):
    """Labels are lists if any text has several."""
    path = tmp_path / "news.txt"
    path.write_text("__label__sports they won\n__label__business oil soars\n")
    rows = FileRows(path, format="fasttext", classes=["sports", "business"])
    assert list(rows) == [("they won", 0), ("oil soars", 1)]
    path.write_text("__label__1 they won\n__label__0 oil\n")
    assert list(FileRows(path, format="fasttext")) == [("they won", 1), ("oil", 0)]
    assert list(FileRows(path, format="fasttext", label_column=None).texts()) == ["they won", "oil"]
    path.write_text("__label__sports they won\n__label__sports __label__business oil\n")
    assert list(rows) == [("they won", [1.0, 0.0]), ("oil", [1.0, 1.0])]
    path.write_text("__label__sports they won\noil\n")
    with pytest.raises(CorruptFileError, match=r"news\.txt:2: it has no label, such as __label__N"):
        list(rows)


def test_without_a_label_column_there_are_no_labels(files):
    """The column need not exist."""
    rows = FileRows(files["csv"], label_column=None)
    assert list(rows) == [(text, None) for text, _ in ROWS]


def test_classes_map_names_to_ids(tmp_path):
    """A label is a name, as a string or not; a list of names becomes a row of targets."""
    path = tmp_path / "news.jsonl"
    labels = ["sports", 7, ["sports"], [7, "sports"], []]
    path.write_text("\n".join(json.dumps({"text": "a", "label": label}) for label in labels))
    expected = [1, 0, [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
    assert [label for _, label in FileRows(path, classes=[7, "sports"])] == expected


def test_lists_of_numbers_are_targets(tmp_path):
    """They are not changed; the data set checks them."""
    path = tmp_path / "news.jsonl"
    path.write_text('{"text": "oil", "label": [0, 0.5]}\n{"text": "gas", "label": [1, 1]}')
    vocabulary = Vocabulary.build([["oil"]])
    dataset = WordDataset.build(tmp_path / "d", FileRows(path), vocabulary, WordTokenizer())
    assert dataset.labels.tolist() == [[0, 0.5], [1, 1]]


def test_files_are_read_as_a_stream(tmp_path):
    """Rows before an invalid one are yielded before it is read."""
    path = tmp_path / "news.csv"
    path.write_text("text,label\noil,1\ngas,sports\n")
    rows = iter(FileRows(path))
    assert next(rows) == ("oil", 1)
    with pytest.raises(CorruptFileError, match=r":3: 'sports' is not a class id, and `class"):
        next(rows)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("text,label\noil\n", {}, r"news\.csv:2: it has 1 fields, not 2\."),
        ("text,label\noil,\n", {}, r"news\.csv:2: the label is missing\."),
        ("text,label\noil,1.5\n", {}, r"news\.csv:2: '1\.5' is not a class id"),
        ("text,label\noil,\u00b2\n", {}, r"news\.csv:2: '\\xb2' is not a class id"),
        (
            "text,label\noil \udce9,1\n",
            {},
            r":2: it is not in UTF-8 \(`encoding` names another\)\.",
        ),
        ("text,label,text\noil,1,gas\n", {}, r"news\.csv has 2 columns 'text'"),
        ("text,label\n\noil,x\n", {"classes": ["y"]}, r"\.csv:3: 'x' is not one of the classes\."),
    ],
)
def test_invalid_rows_are_refused(tmp_path, content, options, message):
    """The message has file, line and reason."""
    path = tmp_path / "news.csv"
    path.write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(CorruptFileError, match=message):
        list(FileRows(path, **options))


def test_missing_columns_and_files_are_refused(files):
    """The message names them."""
    with pytest.raises(MissingKeyError, match="no column 'body'; there are: 'text', 'label'"):
        list(FileRows(files["csv"], text_column="body"))
    with pytest.raises(FileNotFoundError):
        list(FileRows("nowhere.csv"))


def test_parquet_needs_pyarrow(files):
    """The message names the extra that installs it."""
    with (
        mock.patch.dict("sys.modules", {"pyarrow.parquet": None}),
        pytest.raises(MissingDependencyError, match=r"textrnn\[datasets\]"),
    ):
        list(FileRows(files["parquet"]))


@pytest.mark.parametrize(
    ("paths", "options", "kind", "message"),
    [
        (3, {}, InvalidTypeError, "`paths` to be a file or several, but got 3"),
        ([], {}, InvalidValueError, r"`paths` to be a file or several, but got \[\]"),
        ("a.txt", {}, InvalidValueError, "one of 'csv', 'fasttext', 'jsonl', 'parquet'"),
        ("a.doc", {}, InvalidValueError, "`path` to be a file whose name ends in"),
        ("a.csv", {"format": "xml"}, InvalidValueError, "`format` to be one of"),
        ("a.csv", {"encoding": "utf9"}, InvalidValueError, "`encoding` to be the name of a text"),
        ("a.csv", {"text_column": 1}, InvalidTypeError, "`text_column` to be a string, but got 1"),
        ("a.csv", {"label_column": 2}, InvalidTypeError, "`label_column` to be a string"),
        ("a.csv", {"classes": "ab"}, InvalidTypeError, "`classes` to be a sequence of names"),
        ("a.csv", {"classes": {1}}, InvalidTypeError, "`classes` to be a sequence of names"),
        ("a.csv", {"classes": [1, "1"]}, InvalidValueError, "`classes` to be names that all diff"),
    ],
)
def test_invalid_arguments_are_refused(paths, options, kind, message):
    """They are checked before any file is opened."""
    with pytest.raises(kind, match=message):
        FileRows(paths, **options)


def test_a_stream_of_the_hub_is_counted_and_built(tmp_path):
    """A stream can be read any number of times, too."""
    records = [{"title": text, "topic": label} for text, label in ROWS]
    stream = datasets.IterableDataset.from_generator(lambda: iter(records))
    rows = HubRows(stream, text_column="title", label_column="topic")
    assert list(rows) == list(rows) == ROWS
    counter = WordCounter()
    counter.update(rows.texts())
    vocabulary = counter.vocabulary()
    built = WordDataset.build(tmp_path / "news", rows, vocabulary, WordTokenizer())
    plain = [dict(zip(("text", "label"), row, strict=True)) for row in ROWS]
    whole = WordDataset.from_hf(datasets.Dataset.from_list(plain), vocabulary, WordTokenizer())
    assert built.input_ids.tolist() == whole.input_ids.tolist()
    assert built.labels.tolist() == whole.labels.tolist()
    bare = HubRows(stream, text_column="title", label_column=None)
    assert [label for _, label in bare] == [None] * 3


def test_invalid_rows_of_the_hub_are_refused():
    """The message has the row of a missing label, or the columns that exist."""
    dataset = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, -1]})
    with pytest.raises(InvalidValueError, match=r"`label\[1\]` .*label_column=None.* but got -1"):
        list(HubRows(dataset))
    with pytest.raises(MissingKeyError, match="There is no column 'body'"):
        list(HubRows(dataset, text_column="body"))
    with pytest.raises(InvalidTypeError, match="a Hugging Face data set"):
        list(HubRows([("oil", 1)]))


def hub(**columns):
    """Make a Hugging Face data set."""
    return datasets.Dataset.from_dict(HUB_ROWS | columns)


@pytest.mark.parametrize(
    "change",
    [
        lambda dataset: dataset,
        lambda dataset: dataset.to_iterable_dataset(),
        lambda dataset: dataset.with_format("torch"),
        lambda dataset: dataset.with_format("numpy"),
        lambda dataset: dataset.select([2, 1, 0]).select([2, 1, 0]),
        lambda dataset: datasets.IterableDataset.from_generator(lambda: iter(dataset)),
    ],
    ids=["plain", "streamed", "torch", "numpy", "selected", "stream without features"],
)
def test_a_hugging_face_data_set_may_have_any_format(change):
    """Streams, formats and selections give the same as the columns."""
    dataset = WordDataset.from_hf(change(hub()), VOCABULARY, TOKENIZER, max_length=3)
    expected = WordDataset(HUB_ROWS["text"], HUB_ROWS["label"], VOCABULARY, TOKENIZER, max_length=3)
    assert_same_items(list(dataset), list(expected))
    assert dataset.max_length == 3


def test_the_columns_of_a_hugging_face_data_set_can_be_named():
    """Any column can be the text; labels may be a matrix, or left out."""
    dataset = hub(tags=[[1.0, 0.0], [0.5, 1.0], [0.0, 0.0]])
    several = WordDataset.from_hf(
        dataset, VOCABULARY, TOKENIZER, text_column="title", label_column="tags"
    )
    assert several.labels.tolist() == [[1, 0], [0.5, 1], [0, 0]]
    assert several.input_ids.tolist() == [2, 1, 3] * 3
    bare = WordDataset.from_hf(
        dataset.select_columns(["text"]),
        VOCABULARY,
        TOKENIZER,
        label_column=None,
        add_bos=False,
        add_eos=False,
    )
    assert bare.labels is None
    assert bare[0]["input_ids"].tolist() == VOCABULARY.encode(["oil"])


def test_the_block_size_does_not_change_the_data_set(monkeypatch):
    """Rows read two at a time give the same data set."""
    whole = WordDataset.from_hf(hub(), VOCABULARY, TOKENIZER)
    monkeypatch.setattr(rows_module, "_HUB_ROWS", 2)
    assert_same_items(list(WordDataset.from_hf(hub(), VOCABULARY, TOKENIZER)), list(whole))


def test_an_empty_hugging_face_data_set_is_empty():
    """Without rows, streamed or not, there are no texts."""
    rows = hub().select([])
    assert len(WordDataset.from_hf(rows, VOCABULARY, TOKENIZER)) == 0
    stream = datasets.IterableDataset.from_generator(lambda: iter([]))
    assert len(WordDataset.from_hf(stream, VOCABULARY, TOKENIZER)) == 0


@pytest.mark.parametrize(
    ("dataset", "options", "kind", "message"),
    [
        (
            hub(),
            {"text_column": "body"},
            MissingKeyError,
            "There is no column 'body'; there are: 'label', 'text', 'title'",
        ),
        (
            hub(),
            {"label_column": "stars"},
            MissingKeyError,
            "There is no column 'stars'; there are: 'label'",
        ),
        (
            datasets.IterableDataset.from_generator(lambda: iter(hub())),
            {"text_column": "body"},
            MissingKeyError,
            "There is no column 'body'; there are: 'label', 'text', 'title'",
        ),
        (
            hub(label=[0, 1, -1]),
            {},
            InvalidValueError,
            r"`label\[2\]` .* \(label_column=None if the rows have no labels\), but got -1",
        ),
        (
            hub(label=[0, 1, -1]).with_format("torch"),
            {},
            InvalidValueError,
            r"`label\[2\]` .* but got -1",
        ),
        (hub(label=[0, None, 1]), {}, InvalidValueError, r"`labels\[1\]` .* but got None"),
        (hub(text=["a", None, "b"]), {}, InvalidTypeError, r"`texts\[1\]` .* but got None"),
        (hub(), {"text_column": "label"}, InvalidTypeError, r"`texts\[0\]` .* but got 2"),
        (
            datasets.DatasetDict({"test": hub(), "train": hub()}),
            {},
            InvalidTypeError,
            r"one split, such as dataset\['test'\], but got \['test', 'train'\]",
        ),
        ({}, {}, InvalidTypeError, r"one split, such as dataset\['train'\], but got \[\]"),
        (["oil"], {}, InvalidTypeError, r"a Hugging Face data set, but got \['oil'\]"),
    ],
)
def test_invalid_hugging_face_data_sets_are_refused(dataset, options, kind, message):
    """The message lists existing columns, or says what to do about missing labels."""
    with pytest.raises(kind, match=message):
        WordDataset.from_hf(dataset, VOCABULARY, TOKENIZER, **options)


def test_rows_are_numbered_from_the_start_of_the_data_set(monkeypatch):
    """The number of a row does not start again in each block."""
    monkeypatch.setattr(rows_module, "_HUB_ROWS", 2)
    with pytest.raises(InvalidValueError, match=r"`label\[2\]`"):
        WordDataset.from_hf(hub(label=[0, 1, -1]), VOCABULARY, TOKENIZER)
