"""`TextClassifier`: raw strings in, labels out."""

import os
from collections.abc import Iterable, Mapping
from inspect import Parameter, signature
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    NotFittedError,
    check_float,
    check_int,
    expected,
    import_extra,
    listing,
    show,
)
from textrnn.estimator.card import model_card
from textrnn.estimator.learning import Examples, learn, strings
from textrnn.estimator.model import Model, Network
from textrnn.estimator.network import resolve_device
from textrnn.estimator.saving import read_folder, write_folder
from textrnn.estimator.settings import params_to_json
from textrnn.text import Tokenizer, Vocabulary
from textrnn.text.tokenizers import is_known
from textrnn.training import (
    ClassificationMetrics,
    ClassificationReport,
    History,
    MultilabelMetrics,
    MultilabelReport,
)

__all__ = ["Parameters", "Predictor", "TextClassifier", "Threshold"]


class Parameters:
    """A class whose constructor only stores its arguments, each as an attribute of its name.

    That makes `get_params`, `set_params`, a `repr` and `sklearn.base.clone` work.

    Example:
        >>> class Cut(Parameters):
        ...     def __init__(self, *, size=3):
        ...         self.size = size
        >>> Cut().set_params(size=4)
        Cut(size=4)
    """

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        """Return the constructor's parameters with their defaults, in their order."""
        parameters = signature(cls).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is Parameter.KEYWORD_ONLY}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name.

        Args:
            deep: Taken for scikit-learn's sake; there are no estimators within this one.

        Returns:
            A new dictionary.
        """
        del deep
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments; the next `fit` uses them.

        Args:
            **params: New values by name; they are checked by `fit`.

        Returns:
            The estimator itself.

        Raises:
            InvalidValueError: If a name is none of the constructor's; those there are, are listed.
        """
        known = self._defaults()
        for name in params:
            if name not in known:
                raise InvalidValueError(
                    f"Expected a parameter of {type(self).__name__}, but got {show(name)}; "
                    f"there are: {listing(known)}."
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = [
            f"{name}={getattr(self, name)!r}"
            for name, default in self._defaults().items()
            if not _same(getattr(self, name), default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what kind of estimator this is."""
        utils = import_extra("sklearn.utils", extra="sklearn")
        return utils.Tags(
            estimator_type="classifier",
            target_tags=utils.TargetTags(required=True),
            classifier_tags=utils.ClassifierTags(multi_class=True, multi_label=True),
            input_tags=utils.InputTags(one_d_array=True, two_d_array=False, string=True),
        )


def _same(value: object, default: object) -> bool:
    """Tell whether a value is the default; values that can't be compared are not."""
    try:
        return type(value) is type(default) and bool(value == default)
    except (TypeError, ValueError):
        return False


Threshold: TypeAlias = float | Mapping[Any, float]
"""A probability above which a text has a label: the same for all labels, or one for each."""


class Predictor:
    """The methods of a classifier that ask its model.

    Attributes:
        threshold: For multi-label data, the threshold where none is given.
    """

    threshold: Threshold
    _fitted: Model

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether `fit` was called."""
        return "_fitted" in vars(self)

    def _model(self) -> Model:
        if not self.__sklearn_is_fitted__():
            name = type(self).__name__
            raise NotFittedError(f"This {name} is not fitted yet; call `fit` or `load` first.")
        return self._fitted

    def predict(self, texts: Iterable[str], *, threshold: Threshold | None = None) -> Any:
        """Return the most probable label of each text.

        Args:
            texts: The texts.
            threshold: For multi-label data: the probability above which a text has a label, or a
                mapping of labels to theirs (default: the parameter `threshold`).

        Returns:
            The labels, an array `(texts,)`; for multi-label data a list of labels for each text,
            or a matrix of zeros and ones if the classifier learned from one.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If `texts` is no column of strings.
            InvalidValueError: If a threshold is not between 0 and 1.
            MissingKeyError: If a threshold is that of no label.
        """
        model = self._model()
        if not model.labels.multi_label:
            return model.labels.classes[model.logits(texts).argmax(dim=1).numpy()]
        found = (self._above_threshold(texts, threshold) > 0).numpy()  # (texts, labels)
        if model.labels.matrix:
            return found.astype(np.int64)
        names = model.labels.names
        return [[names[index] for index in np.flatnonzero(row)] for row in found]

    def predict_proba(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Return the probability of every label for each text.

        Args:
            texts: The texts.

        Returns:
            Probabilities `(texts, labels)`, in the order of `classes_`. They sum to 1 for each
            text, unless a text has any number of labels.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If `texts` is no column of strings.
        """
        model = self._model()
        logits = model.logits(texts).double()  # (texts, labels)
        several = model.labels.multi_label
        return np.asarray(torch.sigmoid(logits) if several else torch.softmax(logits, dim=1))

    def top_k(
        self, texts: Iterable[str], k: int = 3, *, threshold: float = 0.0
    ) -> list[list[tuple[Any, float]]]:
        """Return the most probable labels of each text with their probabilities.

        Args:
            texts: The texts.
            k: How many labels at most.
            threshold: The least probability of a label that is returned.

        Returns:
            For each text pairs of a label and its probability, the most probable first.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If `texts` is no column of strings.
            InvalidValueError: If `k` or `threshold` is out of range.
        """
        k = check_int("k", k)
        threshold = check_float("threshold", threshold, minimum=0.0, maximum=1.0)
        names = self._model().labels.names
        probabilities = self.predict_proba(texts)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]  # (texts, k)
        return [
            [(names[i], float(row[i])) for i in order if row[i] >= threshold]
            for order, row in zip(best.tolist(), probabilities, strict=True)
        ]

    def score(self, texts: Iterable[str], labels: Iterable[Any]) -> float:
        """Return the share of texts whose labels are predicted exactly.

        Args:
            texts: The texts.
            labels: Their labels; one that the classifier doesn't know is never predicted.

        Returns:
            The accuracy, from 0 to 1.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If texts or labels have the wrong type.
            InvalidValueError: If there are none, or they differ in number.
        """
        known = self._model().labels
        examples = Examples.of(texts, labels)
        if not known.matrix:
            known.check_form(examples.labels)
        found = self.predict(examples.texts)
        if known.multi_label and not known.matrix:
            right = [set(a) == set(b) for a, b in zip(found, examples.labels, strict=True)]
        elif known.matrix:
            right = (found == known.encode(examples.labels)).all(axis=1).tolist()
        else:
            right = [a == b for a, b in zip(found.tolist(), examples.labels, strict=True)]
        return sum(right) / len(right)

    def evaluate(
        self, texts: Iterable[str], labels: Iterable[Any], *, top_k: Iterable[int] = ()
    ) -> ClassificationReport | MultilabelReport:
        """Measure the classifier.

        Args:
            texts: The texts.
            labels: Their labels.
            top_k: For which ``k`` to tell how often a text's label is among the ``k`` most
                probable ones.

        Returns:
            The report: accuracy, F1, the scores of every label and the confusions. It prints as a
            table, and has `to_json`.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If texts or labels have the wrong type.
            InvalidValueError: If there are none, they differ in number, or `top_k` is given for
                multi-label data.
            MissingKeyError: If the classifier doesn't know a label; those it knows are listed.
        """
        model = self._model()
        examples = Examples.of(texts, labels)
        targets = torch.from_numpy(model.labels.encode(examples.labels))
        if model.labels.multi_label:
            if tuple(top_k):
                raise InvalidValueError(expected("top_k", "empty for multi-label data", top_k))
            several = MultilabelMetrics(len(model.labels))
            several.update(self._above_threshold(examples.texts, None), targets)
            return several.report(model.labels.names)
        metrics = ClassificationMetrics(len(model.labels), top_k=tuple(top_k))
        metrics.update(model.logits(examples.texts), targets)
        return metrics.report(model.labels.names)

    def _above_threshold(self, texts: Any, threshold: Threshold | None) -> Tensor:
        """Return how far each logit is above its label's threshold, `(texts, labels)`."""
        model = self._model()
        given = self.threshold if threshold is None else threshold
        limits = torch.full((len(model.labels),), 0.5, dtype=torch.float64)
        if isinstance(given, Mapping):
            for label, value in given.items():
                limits[model.labels.id_of(label)] = _probability(f"threshold[{show(label)}]", value)
        else:
            limits[:] = _probability("threshold", given)
        return model.logits(texts).double() - torch.logit(limits)


def _probability(name: str, value: Any) -> float:
    return check_float(name, value, minimum=0.0, maximum=1.0, exclusive=True)


_NOT_SAVED = {"device", "progress", "tokenizer"}  # they belong to the machine, or have a file


class TextClassifier(Predictor, Parameters):
    """Learn to label texts from examples: strings in, labels out.

    A text has one label, any hashable value; or, for multi-label data, any number of them, written
    as a list or a set, or as a row of a matrix of zeros and ones. Texts and labels may be lists,
    arrays, pandas or polars columns, Arrow arrays or Hugging Face columns.

    A recurrent network and a linear model over n-grams learn from the texts, and decide together.

    Parameters that are None are chosen by the preset and the number of texts. A part of the texts
    is held out to tell which weights are best and when to stop, unless `fit` gets an `eval_set`.

    It is a scikit-learn estimator, also without scikit-learn: the constructor only stores its
    arguments, `fit` checks them.

    Args:
        preset: ``"best"`` pretrains, which pays with many texts without labels.
            None and ``"default"`` are the same.
        cell: Recurrent cell: ``"rnn"``, ``"gru"`` or ``"lstm"``.
        hidden_size: Features of a state in one direction.
        embedding_size: Features of a word's embedding.
        num_layers: Recurrent layers.
        bidirectional: Whether texts are read in both directions.
        pooling: How the states of a text become one vector: ``"max"``, ``"mean"``, ``"last"`` or
            ``"attention"``, or several of them.
        dropout: Dropout between the last two layers, from 0 to 1.
        embedding_dropout: Dropout on embeddings, one mask for all words of a text.
        layer_dropout: Dropout between recurrent layers.
        word_dropout: The probability that a word is hidden from the network in an epoch.
        pretrain_epochs: How often to go through all texts, labels left aside, before the labels
            are learned; 0 pretrains nothing (default: 0).
        ngram_order: The most words of an n-gram in the linear model; 0 leaves that model out
            (default: 2, or 3 from 20,000 texts on).
        max_ngrams: The most n-grams in the linear model; the most frequent are kept (default:
            262,144, or 524,288 from 20,000 texts on).
        spelling: Whether the linear model also goes by how words are spelled, with as many
            character n-grams as n-grams at most (default: True, or False from 20,000 texts on).
        tokenizer: What cuts a text into words (default: ``WordPunctTokenizer()``).
        min_freq: How often a word must occur to be known, in texts with and without labels.
        max_vocab_size: The most words known, special tokens included (default: no limit).
        max_length: How many words of a text are read, begin and end token included.
        epochs: How often to go through the texts at most.
        batch_size: Texts of an update.
        learning_rate: The highest rate; it rises at first, then falls linearly to 0.
        weight_decay: Weight decay of AdamW.
        label_smoothing: The share of a target that is spread over all labels.
        class_weight: ``"balanced"``, or a weight for each label; a label without one has 1.
        max_grad_norm: The norm that gradients are scaled down to where they exceed it.
        weight_averaging: ``"ema"``, ``"swa"`` or None: which average of the weights is kept. SWA
            begins after three quarters of `epochs`, before which training may have stopped.
        validation_fraction: The share of the texts to hold out; 0 holds out none.
        patience: Epochs without a better validation loss after which training stops.
        threshold: For multi-label data: the probability above which a text has a label, the same
            for all or one for each.
        warm_start: Whether `fit` goes on with the network, the vocabulary and the labels that
            there are already; nothing is pretrained then.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
        device: ``"auto"`` (a CUDA GPU if there is one), or a device's name.
        progress: Whether a bar is shown on a terminal.
        seed: Seed of everything random. The same seed gives the same model, bit for bit on a CPU;
            global generators are left as they were.

    Attributes:
        classes_: The labels in the order of the probabilities.
        network_: The trained network: a `BlendedClassifier`, or its recurrent part alone if
            `ngram_order` is 0, a `RecurrentClassifier`.
        vocabulary_: The words that it knows.
        tokenizer_: What cuts texts into words.
        history_: What was measured while training.
        metrics_: What the validation part gave in the end; empty without one.
        settings_: All settings, those that were chosen included.
        data_: Numbers that describe the training texts: how many, their mean length, the share of
            known words and so on.
        multi_label_: Whether a text has any number of labels.
        stopped_: Why training ended before its last epoch, or None.

    Example:
        >>> texts = ["oil prices soar", "stocks fall", "striker scores", "keeper saves"] * 10
        >>> labels = ["business", "business", "sports", "sports"] * 10
        >>> classifier = TextClassifier(hidden_size=16, seed=0).fit(texts, labels)
        >>> print(*classifier.predict(["oil stocks", "the keeper scores"]))
        business sports
        >>> classifier.predict_proba(["oil stocks"]).shape
        (1, 2)
        >>> classifier.score(texts, labels)
        1.0
    """

    def __init__(
        self,
        *,
        preset: str | None = None,
        cell: str = "gru",
        hidden_size: int | None = None,
        embedding_size: int | None = None,
        num_layers: int = 1,
        bidirectional: bool = True,
        pooling: str | tuple[str, ...] = ("max", "mean"),
        dropout: float | None = None,
        embedding_dropout: float | None = None,
        layer_dropout: float = 0.0,
        word_dropout: float | None = None,
        pretrain_epochs: int | None = None,
        ngram_order: int | None = None,
        max_ngrams: int | None = None,
        spelling: bool | None = None,
        tokenizer: Tokenizer | None = None,
        min_freq: int | None = None,
        max_vocab_size: int | None = None,
        max_length: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float = 0.01,
        label_smoothing: float | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        max_grad_norm: float = 1.0,
        weight_averaging: str | None = "ema",
        validation_fraction: float = 0.1,
        patience: int = 3,
        threshold: Threshold = 0.5,
        warm_start: bool = False,
        precision: str = "fp32",
        device: str | torch.device = "auto",
        progress: bool = True,
        seed: int = 0,
    ) -> None:
        self.preset = preset
        self.cell = cell
        self.hidden_size = hidden_size
        self.embedding_size = embedding_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.pooling = pooling
        self.dropout = dropout
        self.embedding_dropout = embedding_dropout
        self.layer_dropout = layer_dropout
        self.word_dropout = word_dropout
        self.pretrain_epochs = pretrain_epochs
        self.ngram_order = ngram_order
        self.max_ngrams = max_ngrams
        self.spelling = spelling
        self.tokenizer = tokenizer
        self.min_freq = min_freq
        self.max_vocab_size = max_vocab_size
        self.max_length = max_length
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.max_grad_norm = max_grad_norm
        self.weight_averaging = weight_averaging
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.threshold = threshold
        self.warm_start = warm_start
        self.precision = precision
        self.device = device
        self.progress = progress
        self.seed = seed

    def fit(
        self,
        texts: Iterable[str],
        labels: Iterable[Any],
        eval_set: tuple[Iterable[str], Iterable[Any]] | None = None,
        unlabelled: Iterable[str] | None = None,
    ) -> Self:
        """Learn from labelled texts, and from others without labels.

        Args:
            texts: The texts.
            labels: A label for each text, or a list or set of labels for each.
            eval_set: Texts and labels that tell which weights are best and when to stop; none of
                the texts is held out then (default: None).
            unlabelled: More texts of the same kind, to pretrain on besides `texts`; there must be
                some `pretrain_epochs` (default: None).

        Returns:
            The classifier itself.

        Raises:
            InvalidTypeError: If texts, labels or a parameter have the wrong type.
            InvalidValueError: If texts and labels differ in number, there are fewer than two
                labels, a label is missing, a parameter is out of range, or nothing is pretrained
                on `unlabelled`.
            KeyboardInterrupt: After Ctrl-C while pretraining; later it ends the training early.
            MissingKeyError: If `eval_set`, `class_weight` or continued training has a label that
                is not known.
        """
        pair = None
        if eval_set is not None:
            try:
                eval_texts, eval_labels = eval_set
            except (TypeError, ValueError):
                rule = "a pair (texts, labels)"
                raise InvalidTypeError(expected("eval_set", rule, eval_set)) from None
            pair = Examples.of(eval_texts, eval_labels)
        before = self._fitted if self.warm_start and self.__sklearn_is_fitted__() else None
        more = None if unlabelled is None else strings("unlabelled", unlabelled)
        self._fitted = learn(self.get_params(), Examples.of(texts, labels), pair, more, before)
        return self

    def save(self, path: str | os.PathLike[str], *, custom_tokenizer: bool = False) -> None:
        """Write the classifier into a folder, whole or not at all.

        The folder holds the weights as safetensors, JSON, and a model card in Markdown; no code. A
        model that is there already is replaced.

        Args:
            path: The folder.
            custom_tokenizer: Whether to leave the tokenizer out, if it is not one of this library,
                which alone can be written as JSON. `load` must then be given it.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If the tokenizer or a label can't be written as JSON.
            InvalidValueError: If there is something at `path` that is not a model.
            OSError: If the folder can't be written; what was there before is intact.
        """
        import textrnn

        model = self._model()
        if not (is_known(model.tokenizer) or custom_tokenizer):
            rule = (
                "one of this library, which can be written as JSON (or pass custom_tokenizer=True)"
            )
            raise InvalidTypeError(expected("tokenizer", rule, model.tokenizer))
        params = {k: v for k, v in self.get_params().items() if k not in _NOT_SAVED}
        write_folder(
            path,
            model,
            parameters=params_to_json(params),
            version=textrnn.__version__,
            card=model_card(model, version=textrnn.__version__),
        )

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        tokenizer: Tokenizer | None = None,
        device: str | torch.device = "auto",
    ) -> Self:
        """Read a classifier that `save` wrote; the folder is not trusted.

        Args:
            path: The folder.
            tokenizer: The classifier's tokenizer, if it was saved without (default: None).
            device: Where to predict, as for the class.

        Returns:
            The classifier, which predicts as the one that was saved did.

        Raises:
            FileNotFoundError: If there is no such folder.
            CorruptFileError: If it does not hold a whole and sound model.
            InvalidValueError: If `tokenizer` is needed, or is not the classifier's own.
        """
        names = {name for name in cls._defaults() if name not in _NOT_SAVED}
        model, params = read_folder(path, parameters=names, tokenizer=tokenizer)
        classifier = cls(**params, tokenizer=tokenizer, device=device)
        model.network.to(resolve_device(device))
        classifier._fitted = model
        return classifier

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels in the order of the probabilities."""
        return self._model().labels.classes

    @property
    def network_(self) -> Network:
        """The trained network."""
        return self._model().network

    @property
    def vocabulary_(self) -> Vocabulary:
        """The words that the classifier knows."""
        return self._model().vocabulary

    @property
    def tokenizer_(self) -> Tokenizer:
        """What cuts texts into words."""
        return self._model().tokenizer

    @property
    def history_(self) -> History:
        """What was measured while training."""
        return self._model().history

    @property
    def metrics_(self) -> dict[str, float]:
        """What the validation part gave in the end; empty without one."""
        return dict(self._model().metrics)

    @property
    def settings_(self) -> dict[str, Any]:
        """All settings, those that were chosen included."""
        return dict(self._model().settings)

    @property
    def data_(self) -> dict[str, Any]:
        """Numbers that describe the training texts."""
        return dict(self._model().data)

    @property
    def multi_label_(self) -> bool:
        """Whether a text has any number of labels."""
        return self._model().labels.multi_label

    @property
    def stopped_(self) -> str | None:
        """Why training ended before its last epoch, or None."""
        reason = self._model().data["stopped"]
        return None if reason is None else str(reason)
