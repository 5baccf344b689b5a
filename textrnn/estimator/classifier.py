"""`TextClassifier`: raw strings in, labels out."""

import os
from collections.abc import Iterable, Mapping
from copy import deepcopy
from inspect import Parameter, signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from textrnn.errors import (
    InvalidValueError,
    NotFittedError,
    check_choice,
    expected,
    import_extra,
    listing,
    show,
)
from textrnn.estimator.attribution import explain
from textrnn.estimator.batches import (
    read_eval_set,
    read_examples,
    read_sample_weight,
    read_strings,
)
from textrnn.estimator.card import html_summary
from textrnn.estimator.evaluation import Evaluation, MultilabelEvaluation, evaluate
from textrnn.estimator.explanation import Explanations
from textrnn.estimator.fit_report import FitReport
from textrnn.estimator.hub import check_license, check_repo_id, fetch, upload
from textrnn.estimator.learning import learn
from textrnn.estimator.model import Model, Network
from textrnn.estimator.saving import restore, write_folder
from textrnn.estimator.task import resolve_device
from textrnn.runtime.folder import SavedModel, read_folder
from textrnn.runtime.predictor import Predictor, Threshold
from textrnn.text import Tokenizer
from textrnn.text.tokenizers import NAMES
from textrnn.training import History

__all__ = ["TextClassifier"]

_ROUTED = {"fit": ("sample_weight", "eval_set", "unlabelled"), "score": ("sample_weight",)}
"""The arguments of methods that scikit-learn's metadata routing may pass."""


class TextClassifier(Predictor):
    """Classify texts, with a recurrent network and a linear model over n-grams.

    A text has one label, any hashable value; or, for multi-label data, any number of labels: a list
    or a set, or a row of a matrix or data frame of zeros and ones. Texts and labels may be lists,
    arrays, pandas or polars columns, Arrow arrays or Hugging Face columns.

    The scaled logits of the two are added. Part of the texts is held out to choose the best weights
    and to stop early, unless `fit` gets an `eval_set`. Options that are None are chosen by the
    preset and the number of texts.

    It is a scikit-learn estimator, also without scikit-learn: the constructor only stores its
    arguments, and `fit` checks them.

    Args:
        preset: Preset of other options; "fast" trains the network briefly, "best" pretrains.
            Pretraining pays with many texts without labels. None is the same as "default". Default:
            None.
        network: Train a recurrent network; without one, n-grams predict alone. Options of the
            network have no effect then. Default: True from 10,000 texts, without n-grams, or if
            another option of it is given.
        cell: Recurrent cell. One of "rnn", "gru" and "lstm". Default: "gru".
        hidden_size: Hidden features in each direction. Default: 64, or 128 without n-grams or with
            pretraining.
        embedding_size: Features of a word embedding. Default: 64, or 128 without n-grams or with
            pretraining.
        num_layers: Number of recurrent layers. Default: 1.
        bidirectional: Read texts in both directions. Default: False, or True without n-grams or
            with pretraining.
        pooling: Pooling of the hidden states of a text. One of "max", "mean", "last" and
            "attention", or a tuple of several. Default: ("max", "mean").
        dropout: Dropout between the last two layers. Default: 0.3.
        embedding_dropout: Dropout of embeddings, one mask for a text. Default: 0.3.
        layer_dropout: Dropout between recurrent layers. Default: 0.0.
        word_dropout: Probability that a word is hidden in an epoch. Default: 0.1.
        pretrain_epochs: Epochs of pretraining without labels. The preset "best" has 1. Default: 0.
        ngram_order: Maximum n-gram length; 0 turns n-grams off. It is counted in tokens. Default:
            2, or 3 from 20,000 texts or 3 million characters.
        max_ngrams: Maximum number of n-grams. The most frequent are kept. Default: 262144, or
            524288 from 20,000 texts.
        spelling: Use the character n-grams of words too. There are at most `max_ngrams` of them;
            words that no training text has get their weights from them. Default: True, or False
            from 20,000 texts.
        vectors: Text file of word vectors to use, as of word2vec, fastText or GloVe. They are the
            embedding, which is not trained, and features of the linear model. Up to 50,000 words
            that only the file has are known, more if `max_vocab_size` has room. A saved classifier
            has the vectors and does not need the file. None learns an embedding from the texts.
            Default: None.
        tokenizer: Tokenizer of the texts. One of "word" (`WordTokenizer`), "wordpunct"
            (`WordPunctTokenizer`) and "char" (`CharTokenizer`), or a function that splits a text
            into tokens. Default: "wordpunct".
        min_freq: Minimum frequency of a word in all texts. Texts without labels count. Default: 1,
            2 from 2,000 texts, or 5 from 20,000 unlabelled texts.
        max_vocab_size: Maximum vocabulary size, special tokens included. None sets no limit.
            Default: None.
        max_length: Maximum text length in tokens, begin and end token included. Longer texts are
            cut. Default: 1000.
        max_train_length: Maximum number of tokens of a text that an epoch trains the network on.
            Of a longer text, each epoch has another part, drawn at random. Default: 128; without
            n-grams or with pretraining, that of max_length.
        epochs: Maximum number of epochs. Default: 4; without n-grams or with pretraining, 4 + 500 /
            sqrt(texts), from 5 to 40.
        batch_size: Texts per update. Default: about texts / 80, from 8 to 128.
        learning_rate: Maximum learning rate. It rises linearly at first, then falls linearly to 0.
            Default: 0.004, or 0.002 without n-grams or with pretraining.
        weight_decay: Weight decay of AdamW. Default: 0.01.
        label_smoothing: Share of a target spread over all labels. Default: 0.1, or 0.0 for
            multi-label data.
        class_weight: Class weights; "balanced" weights labels inversely to their frequency. A
            mapping gives weights to some labels; that of the others is 1. Default: None.
        max_grad_norm: Maximum gradient norm. Larger gradients are scaled down. Default: 1.0.
        weight_averaging: Exponential ("ema") or stochastic ("swa") weight averaging. "swa" begins
            after three quarters of `epochs`; None averages nothing. Default: "ema".
        validation_fraction: Share of the texts to hold out for validation. Fewer than 100 texts
            are all trained on. Default: 0.1.
        patience: Epochs without a lower validation loss until training stops. Default: 3.
        threshold: Minimum probability of a label, if a text has several. A mapping gives labels
            their own. Default: 0.5.
        warm_start: Continue training. `fit` then keeps network, vocabulary and labels, and
            pretrains nothing. Default: False.
        precision: Floating-point precision. One of "fp32", "bf16" and "fp16". Default: "fp32".
        device: Device, such as "cpu" or "cuda:1"; "auto" is a GPU if there is one. Default: "auto".
        num_threads: Threads of PyTorch to train with. `fit` never uses more than PyTorch's own
            number, `torch.get_num_threads()`, and restores it. Default: 1, or those of PyTorch from
            20,000 texts.
        progress: Show the progress of each epoch. None shows a bar on a terminal or in a notebook.
            True also prints a line elsewhere, as into a pipe; False shows nothing. Default: None.
        seed: Seed of all random numbers. The same seed gives the same model, bit for bit on a CPU.
            Global random generators do not change. Default: 0.

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

    _fitted: Model
    _metadata_request: Any  # absent until the first request

    def __init__(
        self,
        *,
        preset: str | None = None,
        network: bool | None = None,
        cell: str = "gru",
        hidden_size: int | None = None,
        embedding_size: int | None = None,
        num_layers: int = 1,
        bidirectional: bool | None = None,
        pooling: str | tuple[str, ...] = ("max", "mean"),
        dropout: float | None = None,
        embedding_dropout: float | None = None,
        layer_dropout: float = 0.0,
        word_dropout: float | None = None,
        pretrain_epochs: int | None = None,
        ngram_order: int | None = None,
        max_ngrams: int | None = None,
        spelling: bool | None = None,
        vectors: str | os.PathLike[str] | None = None,
        tokenizer: str | Tokenizer | None = None,
        min_freq: int | None = None,
        max_vocab_size: int | None = None,
        max_length: int | None = None,
        max_train_length: int | None = None,
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
        num_threads: int | None = None,
        progress: bool | None = None,
        seed: int = 0,
    ) -> None:
        self.preset = preset
        self.network = network
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
        self.vectors = vectors
        self.tokenizer = tokenizer
        self.min_freq = min_freq
        self.max_vocab_size = max_vocab_size
        self.max_length = max_length
        self.max_train_length = max_train_length
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
        self.num_threads = num_threads
        self.progress = progress
        self.seed = seed

    def fit(
        self,
        texts: Iterable[str],
        labels: Iterable[Any],
        eval_set: tuple[Iterable[str], Iterable[Any]] | None = None,
        unlabelled: Iterable[str] | None = None,
        sample_weight: Any = None,
    ) -> Self:
        """Train on labelled texts, and pretrain on others without labels.

        Args:
            texts: The texts.
            labels: A label for each text, or a list or set of labels for each, or a matrix of zeros
                and ones. The columns of a data frame are the labels.
            eval_set: Texts and labels to choose the best weights and to stop early; no text is held
                out then. Default: None.
            unlabelled: Further texts to pretrain on. `pretrain_epochs` must not be 0 then.
                Default: None.
            sample_weight: Weight of each text in the loss, also in that of held-out texts; only
                ratios matter. It is multiplied by `class_weight`. Texts of weight 0 are left out,
                but their labels are known. Pretraining and metrics other than the loss ignore
                weights. None weights all texts alike. Default: None.

        Returns:
            The classifier itself.

        Raises:
            InvalidTypeError: If texts, labels or a parameter have the wrong type.
            InvalidValueError: If texts, labels and weights differ in number, there are fewer than
                two labels, a label is missing, labels of different types are written alike, a
                weight is negative or not finite or all are 0, a parameter is out of range,
                `embedding_size` is not that of `vectors`, training continues with other `vectors`,
                or `unlabelled` is given but nothing is pretrained.
            OSError: If the file of `vectors` is missing or can't be read.
            CorruptFileError: If it is not a file of word vectors.
            KeyboardInterrupt: After Ctrl-C before or while pretraining, or without a network.
                Later, the first Ctrl-C ends training early: the classifier has the network as
                trained so far, and no n-grams unless from an earlier fit. `stopped_` says so.
            NonFiniteLossError: If training gave NaN or infinite numbers. The classifier is as
                before.
            MissingKeyError: If `eval_set`, `class_weight` or continued training has an unknown
                label.
        """
        eval_examples = None if eval_set is None else read_eval_set(eval_set)
        before = self._fitted if self.warm_start and self.__sklearn_is_fitted__() else None
        more = None if unlabelled is None else read_strings("unlabelled", unlabelled)
        examples = read_examples(texts, labels)
        weights = read_sample_weight(sample_weight, len(examples[0]))
        self._fitted = learn(
            self.get_params(), examples, eval_examples, more, before=before, sample_weight=weights
        )
        return self

    def decision_function(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Return the logit of every label for each text.

        Args:
            texts: The texts.

        Returns:
            Logits `(texts, labels)`, in the order of `classes_`. With two labels, one of which a
            text has, the difference of both `(texts,)`, which is above 0 where the second one is
            predicted. For multi-label data, a logit is above 0 where a probability is above 0.5.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If `texts` is not a column of strings.
        """
        model = self._model()
        logits = np.asarray(model.logits(texts), dtype=np.float64)  # (texts, labels)
        if model.labels.multi_label or len(model.labels) > 2:
            return logits
        return logits[:, 1] - logits[:, 0]

    def score(
        self, texts: Iterable[str], labels: Iterable[Any], sample_weight: Any = None
    ) -> float:
        """Return the share of texts whose labels are predicted exactly.

        Args:
            texts: The texts.
            labels: Their labels. In cross-validation, a rare label may be missing from the
                training texts: an unknown label counts as an error of the classifier, with a
                warning.
            sample_weight: Weight of each text, of which the share is taken. None weights all
                alike. Default: None.

        Returns:
            The accuracy, from 0 to 1.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If texts or labels have the wrong type.
            InvalidValueError: If there are no texts, texts and labels differ in number, a weight is
                negative or not finite, or all weights are 0.
            MissingKeyError: If all labels are unknown, or one is written like a known label of
                another type; the message lists the known ones.
        """
        model = self._model()
        strings, values = read_examples(texts, labels)
        weights = read_sample_weight(sample_weight, len(strings))
        targets, valid = model.labels.encode_known(values)
        same = self._decide(model.probabilities(strings)) == targets
        right = (same.all(axis=1) if model.labels.multi_label else same) & valid  # (texts,)
        return float(np.average(right, weights=weights))

    def evaluate(
        self, texts: Iterable[str], labels: Iterable[Any], *, top_k: Iterable[int] = ()
    ) -> Evaluation | MultilabelEvaluation:
        """Evaluate the classifier on labelled texts.

        Args:
            texts: The texts.
            labels: Their labels.
            top_k: Values of `k` for the top-k accuracy. Default: none.

        Returns:
            The report: accuracy, F1, the scores of every label and the confusion matrix. It prints
            as a table, and has `to_json`. `mistakes(k)` returns the wrong predictions.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If texts or labels have the wrong type.
            InvalidValueError: If there are no texts, texts and labels differ in number, or `top_k`
                is given for multi-label data.
            MissingKeyError: If a label is unknown; the message lists the known ones.
        """
        return self._evaluate(texts, labels, top_k=top_k)

    def _evaluate(
        self,
        texts: Iterable[str],
        labels: Iterable[Any],
        *,
        top_k: Iterable[int] = (),
        unknown: Iterable[Any] = (),
    ) -> Evaluation | MultilabelEvaluation:
        """Evaluate on texts that may also have `unknown` labels."""
        model = self._model()
        limits = model.labels.thresholds(self.threshold)  # (labels,)
        return evaluate(model, *read_examples(texts, labels), limits, top_k=top_k, unknown=unknown)

    def explain(self, texts: Iterable[str], label: Any = None) -> Explanations:
        """Divide the logit of a label among the words of each text.

        The part of the n-grams is exact: an n-gram's contribution is shared by its words. That of
        the recurrent network is by integrated gradients, from a text in which all words are unknown
        (Sundararajan et al., "Axiomatic Attribution for Deep Networks", 2017,
        https://arxiv.org/abs/1703.01365).

        Args:
            texts: The texts.
            label: The label; None is the one that `predict` gives. For multi-label data, None is
                the label whose probability is highest above its threshold, or nearest below it.
                Default: None.

        Returns:
            An explanation for each text. It has `words` and their `weights`, which with `bias` and
            `residual` add up to `logit`. It prints as a line of words, and has `to_json`.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If `texts` is not a column of strings.
            InvalidValueError: If the classifier's `threshold` is not between 0 and 1.
            MissingKeyError: If the label is unknown; the message lists the known ones.

        Example:
            >>> texts = ["oil prices soar", "stocks fall", "striker scores", "keeper saves"] * 10
            >>> labels = ["business", "business", "sports", "sports"] * 10
            >>> classifier = TextClassifier(hidden_size=16, seed=0).fit(texts, labels)
            >>> (explanation,) = classifier.explain(["the keeper scores"])
            >>> explanation.label, explanation.words
            ('sports', ('the', 'keeper', 'scores'))
            >>> sum(explanation.weights) > 0
            True
        """
        model = self._model()
        label_id = None if label is None else model.labels.id_of(label, "`label`")
        limits = model.labels.thresholds(self.threshold)  # (labels,)
        return explain(model, read_strings("texts", texts), label_id, limits)

    def _model(self) -> Model:
        if not self.__sklearn_is_fitted__():
            name = type(self).__name__
            raise NotFittedError(f"This {name} is not fitted yet; call `fit` or `load` first.")
        return self._fitted

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        weights: str = "fp32",
        custom_tokenizer: bool = False,
        columns: Mapping[str, Any] | None = None,
        license: str | None = None,
    ) -> None:
        """Write the classifier into a folder, atomically.

        The folder has the weights as safetensors, JSON, and a model card in Markdown; no code. An
        older model in the folder is replaced.

        Args:
            path: The folder.
            weights: Number format of the weights, exact only as "fp32". "fp16" halves them; "int8"
                stores the network's matrices as 8-bit integers with a scale per row, the rest as
                "fp16". The model card says how that changes predictions on the validation part.
                Default: "fp32".
            custom_tokenizer: Whether to leave out a tokenizer that is not one of this library.
                `load` then needs it. Default: False.
            columns: Columns of the training table, as `data_["columns"]` has them. The command line
                stores them here, and uses them for other tables by default. Default: None.
            license: License of the model for its card, an identifier of the Hugging Face Hub such
                as "mit" or "cc-by-4.0". Default: None.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If the tokenizer or a label can't be written as JSON.
            InvalidValueError: If there is something at `path` that is not a model, `path` is the
                current folder or a mount point, `license` has an invalid form, `load` would refuse
                the classifier, or weights are beyond the range of "fp16".
            OSError: If the folder can't be written. An older model is intact then.
        """
        if license is not None:
            check_license(license)
        write_folder(
            path,
            self._model(),
            self.get_params(),
            weights=weights,
            custom_tokenizer=custom_tokenizer,
            columns=columns,
            license=license,
        )

    def export(self, path: str | os.PathLike[str], *, custom_tokenizer: bool = False) -> None:
        """Write the classifier into a folder as `save` does, with `model.onnx` for other programs.

        That file is the recurrent network alone, as `RecurrentClassifier.export` describes it. The
        JSON files beside it have the vocabulary, the tokenizer and the labels; n-grams are in
        `model.safetensors`.

        Args:
            path: The folder.
            custom_tokenizer: As in `save`. Default: False.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: As in `save`.
            InvalidValueError: As in `save`, or if modules of the network were replaced or there is
                no network.
            OSError: If the folder can't be written. An older model is intact then.
        """
        model, params = self._model(), self.get_params()
        write_folder(path, model, params, custom_tokenizer=custom_tokenizer, onnx=True)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        tokenizer: Tokenizer | None = None,
        device: str | torch.device = "auto",
    ) -> Self:
        """Read a classifier that `save` wrote. The folder is not trusted.

        Args:
            path: The folder.
            tokenizer: The classifier's tokenizer, if it was saved without. Default: None.
            device: Device to predict on, as in the class. Default: "auto".

        Returns:
            The classifier, with the predictions of the saved one.

        Raises:
            MissingFileError: If there is no such folder.
            CorruptFileError: If the folder does not have a complete and valid model.
            InvalidValueError: If `tokenizer` is needed, or differs from the classifier's own.
        """
        saved = read_folder(path, tokenizer=tokenizer)
        return cls._restore(saved, tokenizer=tokenizer, device=device)

    @classmethod
    def _restore(
        cls, saved: SavedModel, *, tokenizer: Tokenizer | None, device: str | torch.device
    ) -> Self:
        """Return the classifier of a folder that was read."""
        model = restore(saved, cls._defaults().keys())
        if tokenizer is None and saved.tokenizer != NAMES["wordpunct"]:
            tokenizer = saved.tokenizer  # so that another fit uses the same one
        classifier = cls(**saved.parameters, tokenizer=tokenizer, device=device)
        model.network.to(resolve_device(device))
        classifier._fitted = model
        return classifier

    def push_to_hub(
        self,
        repo_id: str,
        *,
        license: str,
        weights: str = "fp32",
        private: bool | None = None,
        token: str | bool | None = None,
        commit_message: str = "Upload a text classifier",
        custom_tokenizer: bool = False,
    ) -> str:
        """Write the classifier into a repository of the Hugging Face Hub, in one commit.

        The repository is created if it does not exist. It gets the folder that `save` writes:
        weights, vocabulary, tokenizer, labels and the model card. An older model is replaced; other
        files of the repository stay. This needs the extra `hub`.

        Args:
            repo_id: Name of the repository, "owner/name".
            license: License of the model, an identifier of the Hub such as "mit" or "cc-by-4.0".
            weights: Precision of the weights in the file, as in `save`. Default: "fp32".
            private: Whether a new repository is private. None is the owner's default.
                Default: None.
            token: Access token. None or True is the one that `hf auth login` stored; False sends
                none.
                Default: None.
            commit_message: Title of the commit. Default: "Upload a text classifier".
            custom_tokenizer: Whether to leave out a tokenizer that is not one of this library, as
                in `save`. Default: False.

        Returns:
            The URL of the commit.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If `repo_id` or `license` is not a string, or the tokenizer or a label
                can't be written as JSON.
            InvalidValueError: If `repo_id` or `license` has an invalid form, or a repository that
                exists is public or private unlike `private`.
            MissingDependencyError: If `huggingface_hub` is not installed.
            OSError: If the Hub refuses the model or can't be reached. An older model in the
                repository is intact then.
        """
        check_repo_id(repo_id)
        check_license(license)
        with TemporaryDirectory() as scratch:
            folder = Path(scratch, "model")
            write_folder(
                folder,
                self._model(),
                self.get_params(),
                weights=weights,
                custom_tokenizer=custom_tokenizer,
                license=license,
                repo_id=repo_id,
            )
            return upload(
                folder, repo_id, private=private, token=token, commit_message=commit_message
            )

    @classmethod
    def from_pretrained(
        cls,
        repo_id_or_folder: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        tokenizer: Tokenizer | None = None,
        device: str | torch.device = "auto",
    ) -> Self:
        """Read a classifier from a repository of the Hugging Face Hub, or from a local folder.

        Files are downloaded once, into the cache of `huggingface_hub`. They are not trusted, and
        checked as `load` does. A repository needs the extra `hub`; a folder does not.

        Args:
            repo_id_or_folder: Name of a repository, "owner/name", or a folder. A folder that
                exists is preferred.
            revision: Branch, tag or commit of the repository. None is its main branch.
                Default: None.
            token: Access token, as in `push_to_hub`. Default: None.
            cache_dir: Folder for downloaded files. None is that of `huggingface_hub`.
                Default: None.
            tokenizer: The classifier's tokenizer, if it was saved without. Default: None.
            device: Device to predict on, as in the class. Default: "auto".

        Returns:
            The classifier, with the predictions of the saved one.

        Raises:
            MissingFileError: If there is no such folder, repository or revision, or `token` gives
                no access to it.
            CorruptFileError: If the files are not a complete and valid model.
            InvalidTypeError: If `repo_id_or_folder` is not a string or path.
            InvalidValueError: If `tokenizer` is needed, or differs from the classifier's own, or
                `revision` is given for a folder.
            MissingDependencyError: If `huggingface_hub` is not installed.
            OSError: If the Hub can't be reached and the cache does not have the files.
        """
        folder = fetch(repo_id_or_folder, revision=revision, token=token, cache_dir=cache_dir)
        return cls.load(folder, tokenizer=tokenizer, device=device)

    @property
    def network_(self) -> Network:
        """Trained network: a `BlendedClassifier`, or one of its parts without the other.

        It is a `RecurrentClassifier` without n-grams, and an `NgramClassifier` without a network.
        """
        return self._model().hand_out()

    @property
    def report_(self) -> FitReport:
        """Report of the fit: accuracy, blend weights and CPU time of network and n-grams.

        It also has the share of unknown words on the validation part.
        """
        return self._model().report

    @property
    def history_(self) -> History:
        """Training history of the network, empty without one; its metrics are without n-grams."""
        return self._model().history

    @property
    def metrics_(self) -> dict[str, float]:
        """Metrics of the whole classifier on the validation part, n-grams included.

        Empty without a validation part, or if training was interrupted before they were measured.
        """
        return dict(self._model().metrics)

    @property
    def settings_(self) -> dict[str, Any]:
        """Settings of the training, including those that were chosen."""
        return dict(self._model().settings)

    @property
    def data_(self) -> dict[str, Any]:
        """Facts about the training texts: number, mean length, columns of the table and others."""
        return dict(self._model().data)

    @property
    def stopped_(self) -> str | None:
        """Reason why training ended before its last epoch, or None."""
        reason = self._model().data["stopped"]
        return None if reason is None else str(reason)

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        """Return the defaults of the constructor's parameters, those of a subclass included."""
        parameters = signature(cls).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is Parameter.KEYWORD_ONLY}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name.

        Args:
            deep: Ignored; scikit-learn passes it. Default: True.

        Returns:
            A new dictionary.
        """
        del deep
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self, **params: Any) -> Self:
        """Change parameters; the next `fit` checks and uses them.

        Args:
            **params: New values by name.

        Returns:
            The classifier itself.

        Raises:
            InvalidValueError: If there is no such parameter; the message lists all.
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

    def set_fit_request(self, **requests: bool | str | None) -> Self:
        """Request arguments of `fit` from scikit-learn's metadata routing.

        Args:
            **requests: For `sample_weight`, `eval_set` or `unlabelled`: whether a pipeline, search
                or other meta-estimator passes it on, or the name that it has there. None is an
                error if it is given, as without a request.

        Returns:
            The classifier itself.

        Raises:
            MissingDependencyError: If scikit-learn is not installed.
            InvalidValueError: If there is no such argument, or metadata routing is off.
        """
        return self._request("fit", requests)

    def set_score_request(self, **requests: bool | str | None) -> Self:
        """Request arguments of `score` from scikit-learn's metadata routing.

        Args:
            **requests: For `sample_weight`, as for `set_fit_request`.

        Returns:
            The classifier itself.

        Raises:
            MissingDependencyError: If scikit-learn is not installed.
            InvalidValueError: If there is no such argument, or metadata routing is off.
        """
        return self._request("score", requests)

    def get_metadata_routing(self) -> Any:
        """Return the requests as scikit-learn's metadata routing reads them.

        Returns:
            A `sklearn.utils.metadata_routing.MetadataRequest`.

        Raises:
            MissingDependencyError: If scikit-learn is not installed.
        """
        routing = import_extra("sklearn.utils.metadata_routing", extra="sklearn")
        if "_metadata_request" in vars(self):
            return deepcopy(self._metadata_request)
        found = routing.MetadataRequest(owner=type(self).__name__)
        for method, names in _ROUTED.items():
            for name in names:
                getattr(found, method).add_request(param=name, alias=None)
        return found

    def _request(self, method: str, requests: Mapping[str, Any]) -> Self:
        sklearn = import_extra("sklearn", extra="sklearn")
        if not sklearn.get_config()["enable_metadata_routing"]:
            rule = "on; call sklearn.set_config(enable_metadata_routing=True)"
            raise InvalidValueError(expected("enable_metadata_routing", rule, False))
        for name in requests:
            check_choice("argument", name, _ROUTED[method])
        found = self.get_metadata_routing()
        for name, alias in requests.items():
            getattr(found, method).add_request(param=name, alias=alias)
        self._metadata_request = found  # scikit-learn's `clone` keeps it under this name
        return self

    def __repr__(self) -> str:
        given = {name: (repr(getattr(self, name)), repr(d)) for name, d in self._defaults().items()}
        changed = [f"{name}={text}" for name, (text, default) in given.items() if text != default]
        call = f"{type(self).__name__}({', '.join(changed)})"
        if not self.__sklearn_is_fitted__():
            return call
        labels, data = self._fitted.labels, self._fitted.data
        texts = data["train_texts"] + (0 if data["eval_given"] else data["eval_texts"])
        return f"{call}  # fitted: {len(labels)} labels, {texts:,} texts"

    def _repr_html_(self) -> str | None:
        """Return a summary of a fitted classifier for a notebook, or None before `fit`."""
        if not self.__sklearn_is_fitted__():
            return None
        return html_summary(self._fitted, repr(self), self.get_params())

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether `fit` was called."""
        return "_fitted" in vars(self)

    def __sklearn_tags__(self) -> Any:
        """Describe the estimator to scikit-learn."""
        utils = import_extra("sklearn.utils", extra="sklearn")
        return utils.Tags(
            estimator_type="classifier",
            target_tags=utils.TargetTags(required=True),
            classifier_tags=utils.ClassifierTags(multi_class=True, multi_label=True),
            input_tags=utils.InputTags(one_d_array=True, two_d_array=False, string=True),
        )
