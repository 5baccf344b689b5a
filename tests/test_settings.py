"""The options of `TextClassifier`, and the settings chosen for those left out."""

import inspect
import re

import pytest

from textrnn import TextClassifier
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.estimator.settings import OPTIONS, PRESETS, Chosen, Data, choose_settings


def chosen(*, num_texts=5000, num_unlabelled=0, multi_label=False, characters=0, **params):
    """Return the settings of a classifier with some parameters."""
    params = TextClassifier(**params).get_params()
    data = Data(num_texts, num_unlabelled, multi_label, characters=characters)
    return choose_settings(params, data)


def test_the_signature_is_that_of_the_table():
    """Names, order and defaults agree; a default that depends on the data is None."""
    parameters = list(inspect.signature(TextClassifier).parameters.values())
    assert [parameter.name for parameter in parameters] == [option.name for option in OPTIONS]
    for parameter, option in zip(parameters, OPTIONS, strict=True):
        default = None if isinstance(option.default, Chosen) else option.default
        assert (parameter.default, type(parameter.default)) == (default, type(default))


def test_the_docstring_is_that_of_the_table():
    """Each entry begins with the help of the command line and ends with the default."""
    text = inspect.getdoc(TextClassifier)
    arguments = text.partition("Args:\n")[2].partition("\nExample:")[0]
    entries = re.split(r"^    (?=\w+: )", arguments, flags=re.MULTILINE)[1:]
    assert len(entries) == len(OPTIONS)
    for entry, option in zip(entries, OPTIONS, strict=True):
        words = " ".join(entry.split())
        assert words.startswith(f"{option.name}: {option.help}.")
        assert words.endswith(f" Default: {option.default_text}.")
        assert all(f'"{choice}"' in words for choice in option.kind.choices)


def test_defaults_are_valid():
    """Each default passes the check of its kind, and the settings are those in the table."""
    settings = chosen(num_texts=100)
    assert list(settings) == [option.name for option in OPTIONS if option.is_setting]
    assert chosen(**settings) == settings


def test_no_preset_is_the_default():
    """None is the same as the preset "default"."""
    assert chosen() == chosen(preset=None) == chosen(preset="default")
    assert chosen()["pretrain_epochs"] == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_the_same_as_its_values(preset):
    """Other settings depend on a preset only as they depend on its values."""
    values = PRESETS[preset]
    assert chosen(preset=preset, network=True) == chosen(**values, network=True)
    assert {name: chosen(preset=preset)[name] for name in values} == values


def test_few_texts_train_no_network():
    """Below 10,000 texts, n-grams predict alone unless a network is asked for."""
    assert chosen(num_texts=9_999)["network"] is False
    assert chosen(num_texts=10_000)["network"] is True
    assert chosen(num_texts=9_999, network=True)["network"] is True
    assert chosen(num_texts=10_000, network=False)["network"] is False


def test_many_or_long_texts_have_longer_ngrams():
    """Sequences of three words are used where they recur."""
    assert chosen(num_texts=19_999, characters=2_999_999)["ngram_order"] == 2
    assert chosen(num_texts=20_000)["ngram_order"] == 3
    assert chosen(num_texts=100, characters=3_000_000)["ngram_order"] == 3
    assert chosen(num_texts=100, characters=3_000_000, ngram_order=1)["ngram_order"] == 1


@pytest.mark.parametrize(
    "params",
    [
        {"ngram_order": 0},
        {"preset": "best"},
        {"pretrain_epochs": 1},
        {"hidden_size": 64},
        {"dropout": 0.0},
        {"cell": "lstm"},
        {"pooling": ["max"]},
        {"precision": "bf16"},
        {"weight_averaging": None},
        {"vectors": "glove.txt"},
    ],
)
def test_an_option_of_the_network_asks_for_one(params):
    """On few texts, a network is trained if it is the only model or an option of it is given."""
    assert chosen(num_texts=100, **params)["network"] is True


@pytest.mark.parametrize(
    "params",
    [
        {"preset": "fast"},
        {"ngram_order": 3},
        {"min_freq": 1},
        {"max_length": 100},
        {"class_weight": "balanced"},
        {"tokenizer": "char"},
        {"threshold": 0.3},
        {"seed": 1},
    ],
)
def test_other_options_ask_for_no_network(params):
    """Options that n-grams have too, and the preset "fast", leave a network out of few texts."""
    assert chosen(num_texts=100, **params)["network"] is False


def test_a_network_is_small_beside_ngrams():
    """Without n-grams, or after pretraining, it is larger, and is trained longer on whole texts."""
    names = ("hidden_size", "bidirectional", "learning_rate", "epochs", "max_train_length")
    small = [chosen(num_texts=10_000)[name] for name in names]
    assert small == [64, False, 0.004, 4, 128]
    for large in ({"ngram_order": 0}, {"pretrain_epochs": 2}, {"preset": "best"}):
        found = [chosen(num_texts=10_000, **large)[name] for name in names]
        assert found == [128, True, 0.002, 9, 1000]
    again = chosen(num_texts=10_000, preset="best", pretrain_epochs=0)
    assert [again[name] for name in names] == small
    assert chosen(max_length=50)["max_train_length"] == 50


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_given_wins_over_a_preset(preset):
    """A preset only sets options that are None by default."""
    defaults = TextClassifier().get_params()
    assert {defaults[name] for name in PRESETS[preset]} <= {None}
    for name in PRESETS[preset]:
        value = 0.25 if isinstance(PRESETS[preset][name], float) else 3
        assert chosen(preset=preset, **{name: value})[name] == value


def test_many_texts_have_longer_ngrams_and_more_of_them():
    """Defaults of n-grams change at 20,000 texts."""
    assert chosen(num_texts=19_999)["ngram_order"] == 2
    assert chosen(num_texts=20_000)["ngram_order"] == 3
    assert chosen(num_texts=19_999)["max_ngrams"] < chosen(num_texts=20_000)["max_ngrams"]
    assert chosen(num_texts=20_000, ngram_order=0)["ngram_order"] == 0


def test_few_texts_are_also_read_by_their_spelling():
    """Spelling is on below 20,000 texts, unless it is given."""
    assert chosen(num_texts=19_999)["spelling"] is True
    assert chosen(num_texts=20_000)["spelling"] is False
    assert chosen(num_texts=20_000, spelling=True)["spelling"] is True
    with pytest.raises(InvalidTypeError, match="`spelling` to be a boolean, but got 1"):
        chosen(num_texts=100, spelling=1)


def test_rare_words_are_left_out_of_many_texts():
    """The minimum frequency depends on all texts, with and without labels."""
    assert chosen(num_texts=1999)["min_freq"] == 1
    assert chosen(num_texts=2000)["min_freq"] == 2
    assert chosen(num_texts=1000, num_unlabelled=1000)["min_freq"] == 2
    assert chosen(num_texts=100_000)["min_freq"] == 2
    assert chosen(num_texts=1000, num_unlabelled=20_000)["min_freq"] == 5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"preset": "slow"}, "`preset` to be one of 'default', 'fast', 'best', but got 'slow'"),
        ({"preset": 3}, "`preset` to be one of"),
        ({"pretrain_epochs": -1}, "`pretrain_epochs` to be a non-negative integer, but got -1"),
        ({"pretrain_epochs": 0.5}, "`pretrain_epochs` to be a non-negative integer"),
    ],
)
def test_wrong_settings_are_refused(params, message):
    """The error names the rule and the value."""
    with pytest.raises((InvalidValueError, InvalidTypeError), match=message):
        chosen(**params)
