"""The settings of a training: what presets and sizes choose where a user says nothing."""

import pytest

from textrnn import TextClassifier
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.estimator.settings import PRESETS, Settings


def chosen(*, num_texts=5000, num_unlabelled=0, multi_label=False, **params):
    """Return what is chosen for a classifier with some parameters."""
    return Settings.choose(
        TextClassifier(**params).get_params(),
        num_texts=num_texts,
        num_unlabelled=num_unlabelled,
        multi_label=multi_label,
    ).to_dict()


def test_no_preset_is_the_default():
    """It has another name, and changes nothing."""
    assert chosen() == chosen(preset=None) == chosen(preset="default")
    assert chosen()["pretrain_epochs"] == 0


def test_a_preset_sets_what_is_in_its_table_and_nothing_else():
    """All other settings are chosen as ever."""
    plain, best = chosen(), chosen(preset="best")
    assert {name for name in best if best[name] != plain[name]} == set(PRESETS["best"])
    assert {name: best[name] for name in PRESETS["best"]} == PRESETS["best"]


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_given_wins_over_a_preset(preset):
    """A preset chooses only what is None by default, so that a user can choose it back."""
    defaults = TextClassifier().get_params()
    assert {defaults[name] for name in PRESETS[preset]} <= {None}
    for name in PRESETS[preset]:
        value = 0.25 if isinstance(PRESETS[preset][name], float) else 3
        assert chosen(preset=preset, **{name: value})[name] == value


def test_many_texts_have_longer_ngrams_and_more_of_them():
    """Few texts hardly ever have the same three words in a row."""
    assert chosen(num_texts=19_999)["ngram_order"] == 2
    assert chosen(num_texts=20_000)["ngram_order"] == 3
    assert chosen(num_texts=19_999)["max_ngrams"] < chosen(num_texts=20_000)["max_ngrams"]
    assert chosen(num_texts=20_000, ngram_order=0)["ngram_order"] == 0


def test_few_texts_are_also_read_by_their_spelling():
    """Of many texts, common words are known well enough."""
    assert chosen(num_texts=19_999)["spelling"] is True
    assert chosen(num_texts=20_000)["spelling"] is False
    assert chosen(num_texts=20_000, spelling=True)["spelling"] is True
    with pytest.raises(InvalidTypeError, match="`spelling` to be a boolean, but got 1"):
        chosen(num_texts=100, spelling=1)


def test_rare_words_are_left_out_of_many_texts():
    """Those without labels count as well."""
    assert chosen(num_texts=1999)["min_freq"] == 1
    assert chosen(num_texts=2000)["min_freq"] == 2
    assert chosen(num_texts=1000, num_unlabelled=1000)["min_freq"] == 2
    assert chosen(num_texts=100_000)["min_freq"] == 2
    assert chosen(num_texts=1000, num_unlabelled=20_000)["min_freq"] == 5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"preset": "fast"}, "`preset` to be one of 'default', 'best', but got 'fast'"),
        ({"preset": 3}, "`preset` to be one of"),
        ({"pretrain_epochs": -1}, "`pretrain_epochs` to be a non-negative integer, but got -1"),
        ({"pretrain_epochs": 0.5}, "`pretrain_epochs` to be a non-negative integer"),
    ],
)
def test_wrong_settings_are_refused(params, message):
    """The rule and the value are named."""
    with pytest.raises((InvalidValueError, InvalidTypeError), match=message):
        chosen(**params)
