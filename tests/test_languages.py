"""Texts of every script are learned from, and words that a classifier does not know are counted."""

import json
import random
import warnings

import numpy as np
import pytest

from textrnn import TextClassifier, runtime
from textrnn.errors import InvalidTypeError, InvalidValueError, NotFittedError
from textrnn.text import CharTokenizer, WordPunctTokenizer, WordTokenizer

REVIEWS = {
    "Chinese": (
        ["很好看", "非常精彩", "演技出色", "值得推荐", "令人感动"],
        ["很无聊", "浪费时间", "剧情拖沓", "演技糟糕", "令人失望"],
        ["这部电影", "昨天看的片子", "导演的新作", "整个故事", "我和朋友看了", "音乐", "画面"],
    ),
    "Japanese": (
        ["面白かった", "とても感動した", "素晴らしい", "おすすめです"],
        ["つまらなかった", "とても退屈だ", "ひどい出来", "がっかりした"],
        ["この映画は", "昨日見た作品", "スーパーで", "監督の新作", "友達と", "音楽が"],
    ),
    "Thai": (
        ["สนุกมาก", "ประทับใจ", "ยอดเยี่ยม", "แนะนำเลย"],
        ["น่าเบื่อ", "เสียเวลา", "แย่มาก", "ผิดหวัง"],
        ["หนังเรื่องนี้", "เมื่อวาน", "ผู้กำกับ", "เพื่อนของฉัน", "ดนตรี"],
    ),
}
QUICK = {"epochs": 1, "hidden_size": 4, "embedding_size": 4, "device": "cpu", "progress": False}
NEWS = (["oil prices soar", "stocks fall", "a goal", "two goals"] * 40, [0, 0, 1, 1] * 40)


def reviews(language, size):
    """Return texts of some pieces each, without spaces, and one of two balanced labels for each."""
    good, bad, plain = REVIEWS[language]
    generator = random.Random(0)
    texts, labels = [], []
    for number in range(size):
        pieces = generator.choices(plain, k=generator.randint(2, 6))
        pieces.insert(
            generator.randrange(len(pieces) + 1), generator.choice((good, bad)[number % 2])
        )
        texts.append("".join(pieces))
        labels.append(("good", "bad")[number % 2])
    return texts, labels


@pytest.mark.parametrize("language", REVIEWS)
def test_text_without_spaces_is_learned_from(language):
    """Default settings label new texts of generated reviews correctly."""
    texts, labels = reviews(language, 1000)
    classifier = TextClassifier(device="cpu", progress=False).fit(texts[:800], labels[:800])
    assert classifier.score(texts[800:], labels[800:]) > 0.95
    assert classifier.report_.unknown_words < 0.05


def test_text_that_is_not_cut_makes_a_warning():
    """Where most validation words are unknown, a warning at the call of `fit` says so."""
    texts, labels = reviews("Chinese", 1200)
    with pytest.warns(UserWarning, match=r"\d+% of the words of the validation texts are") as found:
        classifier = TextClassifier(tokenizer="word", **QUICK).fit(texts, labels)
    assert [warning.filename for warning in found] == [__file__]
    assert classifier.report_.unknown_words > 0.5


def test_a_few_unknown_words_make_no_warning():
    """Of less than 100 validation words, and up to a half, any number may be unknown."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few = TextClassifier(**QUICK).fit(*NEWS, eval_set=(["x y z"] * 33, [0] * 33))
        half = TextClassifier(**QUICK).fit(*NEWS, eval_set=(["oil z"] * 99, [1] * 99))
    assert few.report_.unknown_words == 1.0
    assert half.report_.unknown_words == 0.5


def test_without_validation_words_no_share_is_unknown():
    """The share is None without validation texts, or if they are empty."""
    assert TextClassifier(**QUICK).fit(NEWS[0][:20], NEWS[1][:20]).report_.unknown_words is None
    empty = TextClassifier(**QUICK).fit(*NEWS, eval_set=(["", " "], [0, 1]))
    assert empty.report_.unknown_words is None


@pytest.mark.parametrize(
    ("name", "tokenizer"),
    [
        (None, WordPunctTokenizer()),
        ("wordpunct", WordPunctTokenizer()),
        ("word", WordTokenizer()),
        ("char", CharTokenizer()),
        (CharTokenizer(lowercase=False), CharTokenizer(lowercase=False)),
    ],
)
def test_a_tokenizer_may_be_named(name, tokenizer, tmp_path):
    """It is saved with the classifier, and cuts texts in the same way without PyTorch."""
    classifier = TextClassifier(tokenizer=name, **QUICK).fit(*NEWS)
    assert classifier.tokenizer_ == tokenizer
    classifier.save(tmp_path / "m")
    probe = ["Oil 好看的电影!", "น้ำแข็ง goal👍🏽👍", "xyzzy", ""]
    for loaded in (TextClassifier.load(tmp_path / "m"), runtime.load(tmp_path / "m")):
        assert loaded.tokenizer_ == tokenizer
        assert np.allclose(loaded.predict_proba(probe), classifier.predict_proba(probe), atol=1e-6)
        assert (
            loaded.unknown_fraction(probe).tolist() == classifier.unknown_fraction(probe).tolist()
        )


def test_a_loaded_classifier_is_fitted_again_with_its_tokenizer(tmp_path):
    """Like other parameters, a tokenizer that is not the default comes back with the folder."""
    few = [part[:20] for part in NEWS]
    for name, expected in (("wordpunct", None), ("char", CharTokenizer())):
        TextClassifier(tokenizer=name, **QUICK).fit(*few).save(tmp_path / "m")
        loaded = TextClassifier.load(tmp_path / "m", device="cpu")
        assert loaded.tokenizer == expected
        before = loaded.tokenizer_
        assert loaded.set_params(progress=False).fit(*few).tokenizer_ == before


@pytest.mark.parametrize(
    ("tokenizer", "error", "message"),
    [
        ("words", InvalidValueError, "`tokenizer` to be one of 'word', 'wordpunct', 'char', but"),
        (3, InvalidTypeError, "`tokenizer` to be a callable, but got 3"),
    ],
)
def test_an_unknown_tokenizer_is_refused(tokenizer, error, message):
    """The error lists the names."""
    with pytest.raises(error, match=message):
        TextClassifier(tokenizer=tokenizer, **QUICK).fit(*NEWS)


def test_continued_training_keeps_its_tokenizer():
    """Another one would give words that the vocabulary does not have."""
    few = [part[:20] for part in NEWS]  # without a validation part
    classifier = TextClassifier(tokenizer="char", warm_start=True, **QUICK).fit(*few)
    assert classifier.set_params(tokenizer=None).fit(*few).tokenizer_ == CharTokenizer()
    for other in ("word", str.split):
        with pytest.raises(InvalidValueError, match=r"`tokenizer` to be the model's own, CharTok"):
            classifier.set_params(tokenizer=other).fit(*few)
    custom = TextClassifier(tokenizer=str.split, warm_start=True, **QUICK).fit(*few)
    assert custom.set_params(tokenizer=list).fit(*few).tokenizer_ is list


def test_the_unknown_share_of_a_text_counts_the_words_that_are_read():
    """Words beyond the maximum length do not count, and a text without words has no unknown one."""
    classifier = TextClassifier(max_length=5, **QUICK).fit(*NEWS)
    texts = ["oil xyzzy", "oil oil oil xyzzy", "a goal", "x", " ", ""]
    assert classifier.unknown_fraction(texts).tolist() == [0.5, 0, 0, 1, 0, 0]
    assert classifier.unknown_fraction([]).shape == (0,)
    with pytest.raises(InvalidTypeError, match="`texts` to be a column"):
        classifier.unknown_fraction("oil")
    with pytest.raises(NotFittedError):
        TextClassifier().unknown_fraction(["oil"])


def test_report_and_card_have_the_share_of_unknown_words(tmp_path):
    """Both have it if there were validation words, also in a notebook and after loading."""
    for eval_set, shown in ((None, False), ((["oil z"], [1]), True)):
        texts, labels = (part[:20] for part in NEWS)
        classifier = TextClassifier(**QUICK).fit(texts, labels, eval_set=eval_set)
        classifier.save(tmp_path / "m")
        card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
        assert ("| unknown words of the validation texts | 50.0% |" in card) == shown
        sentence = "50.0% of the words of the validation texts are unknown."
        assert (sentence in str(classifier.report_).splitlines()) == shown
        assert (f">{sentence}<" in classifier.report_._repr_html_()) == shown
        assert ("50.0%" in classifier._repr_html_()) == shown
        assert TextClassifier.load(tmp_path / "m").report_ == classifier.report_


def test_the_command_line_names_a_tokenizer(run_cli, tmp_path):
    """`train --tokenizer` chooses one, and `info` tells which, beside the unknown words."""
    table, model = tmp_path / "train.csv", tmp_path / "m"
    rows = [f"{label},{text}" for text, label in zip(*reviews("Thai", 240), strict=True)]
    table.write_text("\n".join(["label,text", *rows]), encoding="utf-8")
    small = ["--epochs", "1", "--hidden-size", "4", "--device", "cpu", "--quiet"]
    code, _, errors = run_cli(
        "train", "--train", table, "--output", model, "--tokenizer", "char", *small
    )
    assert (code, errors) == (0, "")
    facts = json.loads(run_cli("info", model, "--json")[1])
    assert facts["tokenizer"] == {"type": "CharTokenizer", "options": {"lowercase": True}}
    assert facts["report"]["unknown_words"] == 0
    lines = run_cli("info", model)[1].splitlines()
    assert "0.0% of the words of the validation texts are unknown." in lines
    assert any(line.split() == ["tokenizer", "CharTokenizer(lowercase=True)"] for line in lines)
    code, _, errors = run_cli("train", "--train", table, "--output", model, "--tokenizer", "no")
    assert code == 2
    assert "argument --tokenizer: invalid choice: 'no'" in errors
