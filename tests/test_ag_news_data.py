"""The data of the AG News example: the sample, local files and the Hub."""

import csv
import re
import sys
import types
from collections import Counter
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from examples.ag_news import data, make_sample
from examples.ag_news.data import SAMPLE, Corpus, Texts, load, load_folder, split, write_parquet
from textrnn.errors import CorruptFileError, InvalidValueError, TextrnnError

ROWS = [
    ("3", "Oil soars", 'Prices of "crude" rise to \\$50,\\as #39;expected.'),
    ("1", "Talks", "UN, Iran\nmeet &lt;b&gt; again"),
    ("2", "Cup final", ""),
    ("4", "", "New chip"),
]
TEXTS = [f"{title} {description}" for _, title, description in ROWS] * 2
LABELS = [2, 0, 1, 3] * 2


def write_csv(path, rows, header=None):
    """Write rows like the official CSV, with all fields in quotes."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([*([header] if header else []), *rows])


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


@pytest.mark.parametrize("header", [None, ("Class Index", "Title", "Description")])
def test_the_official_csv_is_read_like_the_hub_has_it(tmp_path, header):
    """A text is title, space, description; quotes, commas, line ends and backslashes are kept."""
    for part in ("train", "test"):
        write_csv(tmp_path / f"{part}.csv", ROWS * 2, header)
    train, test = load_folder(tmp_path)
    assert train == test == Texts(TEXTS, LABELS)


def test_parquet_files_are_read_as_they_were_written(tmp_path):
    """`load_folder` reads what `write_parquet` writes, and prefers Parquet to CSV."""
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}.parquet", Texts(TEXTS, LABELS))
        (tmp_path / f"{part}.csv").write_text("not read", "utf-8")
    assert load_folder(tmp_path) == (Texts(TEXTS, LABELS), Texts(TEXTS, LABELS))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'"5","a","b"\n', "class 4, which is not from 0 to 3"),
        (b'"0","a","b"\n', "class -1, which is not from 0 to 3"),
        (b'"1","a"\n', "Row 1 of .* is not a class from 1 to 4, a title and a description"),
        (b'"1","a","b"\n"x","a","b"\n', "Row 2 of"),
        (b"\xff\xfe", "not a CSV file in UTF-8"),
        (b"", "a class with fewer than two texts"),
    ],
)
def test_a_bad_csv_is_named(tmp_path, content, message):
    """A malformed row, an unknown class and another encoding raise a `CorruptFileError`."""
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(CorruptFileError, match=message):
        load_folder(tmp_path)


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
    with pytest.raises(
        InvalidValueError, match=r"has no train.parquet and no train.csv: set --data"
    ):
        load(str(tmp_path))


@pytest.fixture
def offline(monkeypatch):
    """Fail like a machine that can't reach the Hub."""
    monkeypatch.setattr(data, "_hub_answers", lambda: False)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "0")
    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    fake = types.SimpleNamespace()
    monkeypatch.setattr(data, "import_extra", mock.Mock(return_value=fake))
    return fake


def test_the_hub_gives_all_texts(offline):
    """Both parts of the data set are loaded; a cached one needs no network."""
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


def test_the_hub_is_asked_for_only_without_a_proxy(monkeypatch):
    """A direct connection decides whether the Hub is reachable, without a proxy or a mirror."""
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    asked = []

    def refuse(address, timeout):
        asked.append((address, timeout))
        raise OSError

    monkeypatch.setattr("socket.create_connection", refuse)
    assert data._hub_answers() is False
    monkeypatch.setattr(
        "socket.create_connection", lambda *_, **__: types.SimpleNamespace(close=int)
    )
    assert data._hub_answers() is True
    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror")
    assert data._hub_answers() is True
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Kerry touts plans (AFP) AFP - Democratic hopeful John Kerry promised", True),
        ("Oil Near $49 on Mounting Violence SINGAPORE (Reuters) - Global oil prices", True),
        ("Google Slashes Price of Offering Search engine darling Google has", True),
        ("LOS ANGELES/NEW YORK (Reuters) - Casino operator MGM Mirage said", False),
        ("google slashes price of offering search engine darling google has", False),
        ('"Google Slashes Price of Offering Search engine"', False),
        ("The union that represents pilots at United Airlines said yesterday", False),
    ],
)
def test_a_title_is_told_from_a_description(text, expected):
    """Wire services, datelines and capitals mark a title."""
    assert make_sample.has_title(text, {"slashes", "price", "offering", "search"}) is expected


def test_common_words_are_those_written_small_in_running_text():
    """A common word is frequent and mostly in lower case after the title."""
    text = (
        "Title Words Come First And Are Not Counted Here At All So " + "now prices Oil prices now"
    )
    assert make_sample.common_words([text] * 5) == {"prices", "now"}


def test_the_sample_can_be_made_again(tmp_path, monkeypatch):
    """The script draws the same stratified texts from the same files."""
    titled = [f"Big Price Wins Number {i} Today (AP) AP - Something {i}" for i in range(40)]
    source = tmp_path / "source"
    source.mkdir()
    for part in ("train", "test"):
        write_parquet(source / f"{part}.parquet", Texts(titled, [i % 4 for i in range(40)]))
    monkeypatch.setattr(make_sample, "SIZES", {"train": 16, "test": 8})
    for name in ("one", "two"):
        make_sample.main(["--data", str(source), "--output", str(tmp_path / name)])
    train, test = load_folder(tmp_path / "one")
    assert Counter(train.labels) == dict.fromkeys(range(4), 4)
    assert Counter(test.labels) == dict.fromkeys(range(4), 2)
    assert load_folder(tmp_path / "two") == (train, test)


@pytest.mark.slow
def test_the_carried_sample_is_what_the_script_makes(data_dir, tmp_path):
    """The files in the repository are those that the script writes from the known data."""
    make_sample.main(["--data", str(data_dir / "ag_news"), "--output", str(tmp_path)])
    assert load_folder(tmp_path) == load_folder(Path(SAMPLE))
