"""The options of `TextClassifier`, each stated once, and the settings chosen for those left out."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    check_choice,
    check_float,
    check_int,
    expected,
)
from textrnn.runtime.configuration import MAX_LENGTH
from textrnn.text.tokenizers import NAMES

__all__ = [
    "OPTIONS",
    "PRESETS",
    "WITHOUT_NETWORK",
    "Chosen",
    "Data",
    "Kind",
    "Option",
    "choose",
    "choose_settings",
]

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "fast": {"epochs": 1},
    "best": {"pretrain_epochs": 1},
}
"""The values of each preset for options that are None."""

_MAX_INT = 2**63 - 1  # of 64 bits, which PyTorch and NumPy need
_NETWORK_TEXTS = 10_000  # from here on, a network adds to n-grams, also of short texts
_MANY_TEXTS = 20_000  # from here on, rare words recur, and sequences of three words
_MANY_CHARACTERS = 3_000_000  # from here on, sequences of three words recur in fewer texts too


class Data(NamedTuple):
    """The facts about the training texts that defaults depend on."""

    texts: int
    unlabelled: int = 0
    multi_label: bool = False
    supported: bool = True  # whether a linear model does most, and a small network the rest
    asked: bool = False  # whether an option of the network is given
    kept: bool | None = None  # whether the classifier to train further has a network
    characters: int = 0  # of all training texts


class Chosen(NamedTuple):
    """A default that depends on the training texts, and its description."""

    text: str
    of: Callable[[Data], Any]


class Kind(NamedTuple):
    """The type and the range of an option's values."""

    type: type
    minimum: int = 0
    maximum: float = math.inf
    exclusive: bool = False  # whether the bounds are excluded
    choices: tuple[str, ...] = ()
    several: bool = False  # whether a tuple of choices is a value
    nullable: bool = False  # whether None is a value

    def check(self, name: str, value: Any) -> Any:
        """Return a value as a plain Python object, or raise an error if it is not of this kind."""
        if value is None and self.nullable:
            return None
        if self.type is int:
            maximum = min(self.maximum, _MAX_INT)
            return check_int(name, value, minimum=self.minimum, maximum=maximum)
        if self.type is float:
            bounds = {"minimum": self.minimum, "maximum": self.maximum}
            return check_float(name, value, **bounds, exclusive=self.exclusive)
        if self.type is bool and not isinstance(value, bool):
            rule = "a boolean or None" if self.nullable else "a boolean"
            raise InvalidTypeError(expected(name, rule, value))
        if self.choices and not self.several:
            return check_choice(name, value, self.choices)
        return value


class Option(NamedTuple):
    """A parameter of `TextClassifier`: name, kind, default and one line of help."""

    name: str
    kind: Kind
    default: Any  # a value, or `Chosen` where the parameter is None
    help: str
    is_setting: bool = True  # whether it is checked before training and part of `settings_`
    in_shell: bool = True  # whether the command line has it
    saved: bool = True  # whether a saved classifier has it

    @property
    def default_text(self) -> str:
        """The default as documentation shows it."""
        if isinstance(self.default, Chosen):
            return self.default.text
        return repr(self.default).replace("'", '"')


def choose_settings(params: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """Check a classifier's parameters and fill in those that are None."""
    preset = params["preset"]
    if preset is not None:
        check_choice("preset", preset, PRESETS)
    preset_values = PRESETS[preset or "default"]
    given = {name: value for name, value in params.items() if value is not None}
    pretrained = (preset_values | given).get("pretrain_epochs")
    data = data._replace(
        supported=params["ngram_order"] != 0 and not pretrained, asked=_asks_for_network(params)
    )
    settings = {}
    for option in OPTIONS:
        if not option.is_setting:
            continue
        value = params[option.name]
        if value is None and isinstance(option.default, Chosen):
            value = preset_values.get(option.name, option.default.of(data))
        settings[option.name] = option.kind.check(option.name, value)
    if not settings["network"]:
        if not settings["ngram_order"]:
            raise InvalidValueError(expected("ngram_order", "at least 1 without a network", 0))
        if settings["pretrain_epochs"]:
            rule = "0 without a network"
            raise InvalidValueError(expected("pretrain_epochs", rule, settings["pretrain_epochs"]))
    if settings["validation_fraction"] == 1:
        raise InvalidValueError(expected("validation_fraction", "a number below 1", 1))
    settings["max_length"] = min(settings["max_length"], MAX_LENGTH)
    settings["max_train_length"] = min(settings["max_train_length"], settings["max_length"])
    return settings


def _asks_for_network(params: Mapping[str, Any]) -> bool:
    """Tell whether an option of the network is given; a preset gives none."""
    for option in OPTIONS:
        if (option.is_setting or option.name == "vectors") and option.name not in WITHOUT_NETWORK:
            default = None if isinstance(option.default, Chosen) else option.default
            if repr(params[option.name]) != repr(default):  # an array has no single truth value
                return True
    return False


def choose(params: Mapping[str, Any], name: str, data: Data) -> Any:
    """Check a parameter that is not a setting, and choose it if it is None."""
    option = next(each for each in OPTIONS if each.name == name)
    if params[name] is None and isinstance(option.default, Chosen):
        return option.default.of(data)
    return option.kind.check(name, params[name])


def _always(value: Any) -> Chosen:
    """Return a default that no data changes."""
    return Chosen(repr(value), lambda _data: value)


def _by_support(supported: Any, alone: Any) -> Chosen:
    """Return a default for a network beside n-grams, and one for other networks."""
    text = f"{supported}, or {alone} without n-grams or with pretraining"
    return Chosen(text, lambda data: supported if data.supported else alone)


def _by_texts(few: Any, many: Any) -> Chosen:
    """Return a default for few training texts and one for many."""
    text = f"{few}, or {many} from {_MANY_TEXTS:,} texts"
    return Chosen(text, lambda data: few if data.texts < _MANY_TEXTS else many)


@partial(
    Chosen,
    f"True from {_NETWORK_TEXTS:,} texts, without n-grams, or if another option of it is given",
)
def _network(data: Data) -> bool:
    if data.asked or not data.supported:
        return True
    return data.texts >= _NETWORK_TEXTS if data.kept is None else data.kept


@partial(
    Chosen,
    "4; without n-grams or with pretraining, 4 + 500 / sqrt(texts), from 5 to 40",
)
def _epochs(data: Data) -> int:
    if data.supported:
        return 4
    return round(min(max(4 + 500 / math.sqrt(data.texts), 5), 40))


@partial(Chosen, "128; without n-grams or with pretraining, that of max_length")
def _max_train_length(data: Data) -> int:
    return 128 if data.supported else MAX_LENGTH


@partial(Chosen, "about texts / 80, from 8 to 128")
def _batch_size(data: Data) -> int:
    return int(2 ** round(math.log2(min(max(data.texts / 80, 8), 128))))


@partial(Chosen, "1, 2 from 2,000 texts, or 5 from 20,000 unlabelled texts")
def _min_freq(data: Data) -> int:
    if data.texts + data.unlabelled < 2000:
        return 1
    return 2 if data.unlabelled < _MANY_TEXTS else 5


@partial(
    Chosen,
    f"2, or 3 from {_MANY_TEXTS:,} texts or {_MANY_CHARACTERS // 10**6} million characters",
)
def _ngram_order(data: Data) -> int:
    return 3 if data.texts >= _MANY_TEXTS or data.characters >= _MANY_CHARACTERS else 2


@partial(Chosen, f"1, or those of PyTorch from {_MANY_TEXTS:,} texts")
def _num_threads(data: Data) -> int | None:
    # Each small operation waits for the last thread, which a busy core delays tenfold.
    return 1 if data.texts < _MANY_TEXTS else None


@partial(Chosen, "0.1, or 0.0 for multi-label data")
def _label_smoothing(data: Data) -> float:
    return 0.0 if data.multi_label else 0.1


def _choice(*choices: str, several: bool = False, nullable: bool = False) -> Kind:
    return Kind(type=str, choices=choices, several=several, nullable=nullable)


_POSITIVE, _COUNT = Kind(type=int, minimum=1), Kind(type=int)
_SIZE = Kind(type=int, minimum=1, maximum=2**16)  # more would not fit into any memory
_SHARE, _ABOVE_0 = Kind(type=float, maximum=1), Kind(type=float, exclusive=True)
_FLAG = Kind(type=bool)
_POOLING = _choice("max", "mean", "last", "attention", several=True)

OPTIONS = (
    Option(
        "preset",
        _choice(*PRESETS),
        None,
        'Preset of other options; "fast" trains the network briefly, "best" pretrains',
        is_setting=False,
    ),
    Option(
        "network",
        _FLAG,
        _network,
        "Train a recurrent network; without one, n-grams predict alone",
    ),
    Option("cell", _choice("rnn", "gru", "lstm"), "gru", "Recurrent cell"),
    Option("hidden_size", _SIZE, _by_support(64, 128), "Hidden features in each direction"),
    Option("embedding_size", _SIZE, _by_support(64, 128), "Features of a word embedding"),
    Option("num_layers", Kind(type=int, minimum=1, maximum=1000), 1, "Number of recurrent layers"),
    Option("bidirectional", _FLAG, _by_support(False, True), "Read texts in both directions"),
    Option("pooling", _POOLING, ("max", "mean"), "Pooling of the hidden states of a text"),
    Option("dropout", _SHARE, _always(0.3), "Dropout between the last two layers"),
    Option("embedding_dropout", _SHARE, _always(0.3), "Dropout of embeddings, one mask for a text"),
    Option("layer_dropout", _SHARE, 0.0, "Dropout between recurrent layers"),
    Option("word_dropout", _SHARE, _always(0.1), "Probability that a word is hidden in an epoch"),
    Option("pretrain_epochs", _COUNT, _always(0), "Epochs of pretraining without labels"),
    Option("ngram_order", _COUNT, _ngram_order, "Maximum n-gram length; 0 turns n-grams off"),
    Option("max_ngrams", _POSITIVE, _by_texts(2**18, 2**19), "Maximum number of n-grams"),
    Option("spelling", _FLAG, _by_texts(True, False), "Use the character n-grams of words too"),
    Option(
        "vectors",
        Kind(type=str),
        None,
        "Text file of word vectors to use, as of word2vec, fastText or GloVe",
        is_setting=False,
        saved=False,
    ),
    Option(
        "tokenizer",
        _choice(*NAMES),
        Chosen('"wordpunct"', lambda _data: "wordpunct"),
        "Tokenizer of the texts",
        is_setting=False,
        saved=False,
    ),
    Option("min_freq", _POSITIVE, _min_freq, "Minimum frequency of a word in all texts"),
    Option(
        "max_vocab_size",
        Kind(type=int, minimum=4, nullable=True),
        None,
        "Maximum vocabulary size, special tokens included",
    ),
    Option(
        "max_length",
        Kind(type=int, minimum=3),
        _always(1000),
        "Maximum text length in tokens, begin and end token included",
    ),
    Option(
        "max_train_length",
        Kind(type=int, minimum=3),
        _max_train_length,
        "Maximum number of tokens of a text that an epoch trains the network on",
    ),
    Option("epochs", _POSITIVE, _epochs, "Maximum number of epochs"),
    Option("batch_size", _POSITIVE, _batch_size, "Texts per update"),
    Option("learning_rate", _ABOVE_0, _by_support(0.004, 0.002), "Maximum learning rate"),
    Option("weight_decay", Kind(type=float), 0.01, "Weight decay of AdamW"),
    Option("label_smoothing", _SHARE, _label_smoothing, "Share of a target spread over all labels"),
    Option(
        "class_weight",
        _choice("balanced"),
        None,
        'Class weights; "balanced" weights labels inversely to their frequency',
        is_setting=False,
    ),
    Option("max_grad_norm", _ABOVE_0, 1.0, "Maximum gradient norm"),
    Option(
        "weight_averaging",
        _choice("ema", "swa", nullable=True),
        "ema",
        'Exponential ("ema") or stochastic ("swa") weight averaging',
    ),
    Option("validation_fraction", _SHARE, 0.1, "Share of the texts to hold out for validation"),
    Option("patience", _POSITIVE, 3, "Epochs without a lower validation loss until training stops"),
    Option(
        "threshold",
        _SHARE,
        0.5,
        "Minimum probability of a label, if a text has several",
        is_setting=False,
    ),
    Option("warm_start", _FLAG, False, "Continue training", is_setting=False, in_shell=False),
    Option("precision", _choice("fp32", "bf16", "fp16"), "fp32", "Floating-point precision"),
    Option(
        "device",
        Kind(type=str),
        "auto",
        'Device, such as "cpu" or "cuda:1"; "auto" is a GPU if there is one',
        is_setting=False,
        saved=False,
    ),
    Option(
        "num_threads",
        Kind(type=int, minimum=1, maximum=2**10),
        _num_threads,
        "Threads of PyTorch to train with",
        is_setting=False,
        saved=False,
    ),
    Option(
        "progress",
        Kind(type=bool, nullable=True),
        None,
        "Show the progress of each epoch",
        is_setting=False,
        in_shell=False,
        saved=False,
    ),
    Option("seed", _COUNT, 0, "Seed of all random numbers"),
)
"""The parameters of `TextClassifier`, in the order of its signature."""

WITHOUT_NETWORK = frozenset(
    {
        "network",
        "ngram_order",
        "max_ngrams",
        "spelling",
        "min_freq",
        "max_vocab_size",
        "max_length",
        "validation_fraction",
        "seed",
    }
)
"""The settings that have an effect without a recurrent network."""
