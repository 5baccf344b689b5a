"""The data of the AG News example: the sample, local files and the Hub."""

import re
import types
from collections import Counter
from itertools import pairwise
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from examples.ag_news import data
from examples.ag_news.data import SAMPLE, Corpus, Texts, load, load_folder, split
from tests.toys import write_parquet
from textrnn.errors import CorruptFileError, InvalidValueError, TextrnnError

TEXTS = ["Oil soars to \\$50", "Talks\non Iran #39;s plans", "Cup final ", "New chip"] * 2
LABELS = [2, 0, 1, 3] * 2


def test_the_sample_is_stratified_and_small():
    """It has 4,000 + 1,000 distinct texts, balanced by class, in less than 1 MB."""
    train, test = load_folder(SAMPLE)
    assert Counter(train.labels) == dict.fromkeys(range(4), 1000)
    assert Counter(test.labels) == dict.fromkeys(range(4), 250)
    assert len({*train.texts, *test.texts}) == 5000
    files = [path for path in SAMPLE.iterdir() if path.suffix == ".parquet"]
    assert sum(path.stat().st_size for path in files) < 1_000_000
    assert "Terms of use" in (SAMPLE / "README.md").read_text("utf-8")


def test_the_sample_is_recognised():
    """Its name follows from its fingerprint, and 5 % of it is the validation part."""
    corpus = load("sample")
    assert corpus.describe() == {
        "name": "sample",
        "fingerprint": corpus.fingerprint,
        "train_texts": 3800,
        "validation_texts": 200,
        "test_texts": 1000,
    }
    assert re.fullmatch("[0-9a-f]{16}", corpus.fingerprint)


@pytest.mark.parametrize(
    ("folder", "name", "texts"),
    [("ag_news", "AG-33k", 33_450), ("ag_news_78k", "AG-78k", 78_218)],
)
def test_a_part_of_the_training_texts_is_recognised(data_dir, folder, name, texts):
    """A known part of the training texts has its own name."""
    corpus = load(str(data_dir / folder))
    assert corpus.name == name
    assert len(corpus.train) + len(corpus.validation) == texts
    assert len(corpus.test) == 7_600


def test_the_full_sizes_are_named_ag_news():
    """120,000 + 7,600 texts are called AG News."""
    train = Texts([f"text {i}" for i in range(120_000)], [i % 4 for i in range(120_000)])
    test = Texts(train.texts[:7600], train.labels[:7600])
    assert Corpus.of(train, test).name == "AG News"


def test_other_texts_are_named_by_their_number():
    """Unknown texts are named by their numbers."""
    texts = Texts(TEXTS, LABELS)
    assert Corpus.of(texts, texts).name == "other data (8 + 8 texts)"


def test_a_fingerprint_tells_texts_labels_and_parts_apart():
    """A changed text, label, boundary or order of the parts changes the fingerprint."""
    base = Texts(["a b", "c"] * 4, [0, 1] * 4)
    variants = [
        (base, base),
        (Texts(["a b", "d"] * 4, [0, 1] * 4), base),
        (base, Texts(["a b", "d"] * 4, [0, 1] * 4)),
        (Texts(["a b", "c"] * 4, [1, 0] * 4), base),
        (Texts(["a", "b c"] * 4, [0, 1] * 4), base),
        (Texts(["\ud800", "c"] * 4, [0, 1] * 4), base),
    ]
    assert len({Corpus.of(*variant).fingerprint for variant in variants}) == len(variants)


def test_the_split_is_stratified_fixed_and_complete():
    """The split is stratified and reproducible, and no text is lost or doubled."""
    texts = Texts(
        [f"text {i}" for i in range(1000)], [i % 4 if i < 800 else 0 for i in range(1000)]
    )
    rest, part = split(texts, 0.05, seed=0)
    assert Counter(part.labels) == {0: 20, 1: 10, 2: 10, 3: 10}
    assert sorted([*rest.texts, *part.texts]) == sorted(texts.texts)
    assert split(texts, 0.05, seed=0)[1] == part
    assert split(texts, 0.05, seed=1)[1] != part
    assert all(int(a[5:]) < int(b[5:]) for a, b in pairwise(part.texts))


def test_parquet_files_are_read_as_they_were_written(tmp_path):
    """Texts and labels come back unchanged."""
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}.parquet", TEXTS, LABELS)
    assert load_folder(tmp_path) == (Texts(TEXTS, LABELS), Texts(TEXTS, LABELS))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"words": ["a"], "label": [0]}, "no columns `text` and `label`"),
        ({"text": ["a", None], "label": [0, 1]}, "texts that are not strings"),
        ({"text": ["a", "b"], "label": [0, 1.5]}, "class 0.0, which is not from 0 to 3"),
        ({"text": ["a", "b"], "label": [0, None]}, "class None, which is not from 0 to 3"),
        ({"text": ["a", "b"], "label": [0, 1]}, "a class with fewer than two texts"),
    ],
)
def test_a_bad_parquet_file_is_named(tmp_path, columns, message):
    """Missing columns, texts or classes raise a `CorruptFileError`."""
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    with pytest.raises(CorruptFileError, match=message):
        load_folder(tmp_path)


def test_a_file_that_is_no_parquet_is_named(tmp_path):
    """A file that is not Parquet raises a `CorruptFileError`."""
    (tmp_path / "train.parquet").write_bytes(b"words")
    with pytest.raises(CorruptFileError, match="no columns"):
        load_folder(tmp_path)


def test_a_missing_file_says_what_to_give(tmp_path):
    """The message names the folder and the three values of `--data`."""
    with pytest.raises(InvalidValueError, match=r"has no train.parquet: set --data"):
        load(str(tmp_path))


@pytest.fixture
def offline(monkeypatch):
    """Fail like a machine that can't reach the Hub."""
    fake = types.SimpleNamespace()
    monkeypatch.setattr(data, "import_extra", mock.Mock(return_value=fake))
    return fake


def test_the_hub_gives_all_texts(offline):
    """Both parts of the data set are loaded."""
    columns = {"text": TEXTS, "label": LABELS}
    offline.load_dataset = lambda name: {"train": columns, "test": columns, "name": name}
    corpus = load("hub")
    assert len(corpus.train) + len(corpus.validation) == len(corpus.test) == 8


def test_without_a_network_one_line_says_what_to_do(offline):
    """Any error of the Hub becomes a `TextrnnError` that names the other values of `--data`."""

    def refuse(name):
        raise ConnectionError(f"Couldn't reach {name}")

    offline.load_dataset = refuse
    with pytest.raises(
        TextrnnError, match=r"fancyzhx/ag_news can't be loaded .* --data DIR"
    ) as info:
        load("hub")
    assert "\n" not in str(info.value)
