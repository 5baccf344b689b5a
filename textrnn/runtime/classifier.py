"""`RuntimeClassifier`: predictions of a saved classifier, with NumPy or ONNX Runtime."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import check_choice
from textrnn.runtime.folder import SavedModel, read_folder
from textrnn.runtime.network import RecurrentNetwork
from textrnn.runtime.ngrams import Ngrams
from textrnn.runtime.onnx import OnnxNetwork
from textrnn.runtime.predictor import Predictor
from textrnn.text.columns import read_texts
from textrnn.text.encoding import TextEncoder
from textrnn.text.spelling import UnknownWords
from textrnn.text.tokenizers import Tokenizer

__all__ = ["Networks", "RuntimeClassifier", "load"]

_ALONE = np.ones(2, np.float32)  # blend weights of a network or n-grams without the other


class Networks:
    """The recurrent network of a classifier and its linear model over n-grams, without PyTorch.

    Args:
        network: `config` of the recurrent network, or None without one.
        ngrams: That of the n-grams, or None without them.
        weights: `state_dict()` of the network, or of the module that holds both, as arrays.
        backend: Library that computes the recurrent network, "numpy" or "onnx". Default: "numpy".
    """

    def __init__(
        self,
        network: Mapping[str, Any] | None,
        ngrams: Mapping[str, Any] | None,
        weights: dict[str, NDArray[Any]],
        *,
        backend: str = "numpy",
    ) -> None:
        config: Any = network or ngrams
        self._num_classes = int(config["num_classes"])
        self._scales = weights.get("scales", _ALONE)  # (2,)
        self._ngrams: Ngrams | None = None
        self._recurrent: OnnxNetwork | RecurrentNetwork | None = None
        if ngrams is not None:
            linear = weights if network is None else _part(weights, "ngrams.")
            if network is not None and ngrams["vector_size"]:
                linear["vectors"] = weights["recurrent.embedding.weight"]
            if backend == "onnx":  # ONNX Runtime copies the network, whose arrays may then go
                linear = {name: array.copy() for name, array in linear.items()}
                self._scales = self._scales.copy()
            self._ngrams = Ngrams(ngrams, linear)
            weights = _part(weights, "recurrent.")
        if network is not None:
            kind = OnnxNetwork if backend == "onnx" else RecurrentNetwork
            self._recurrent = kind(network, weights)

    def logits(
        self, ids: NDArray[np.int32], lengths: NDArray[np.int64], unknown: UnknownWords
    ) -> NDArray[np.float32]:
        """Return the logits of encoded texts, `(texts, classes)`."""
        if not len(lengths):
            return np.empty((0, self._num_classes), np.float32)
        parts: list[NDArray[np.float32]] = []  # (texts, classes)
        if self._recurrent is not None:
            parts.append(self._recurrent.logits(ids, lengths))
        if self._ngrams is not None:
            parts.append(self._ngrams.logits(ids, lengths, unknown))
        if len(parts) == 1:
            return parts[0]
        blended: NDArray[np.float32] = self._scales[0] * parts[0] + self._scales[1] * parts[1]
        return blended

    def top_ngrams(
        self, index: int, k: int, first_word: int
    ) -> list[tuple[tuple[int, ...], float]] | None:
        """Return the n-grams of words that speak most for a class; None without n-grams."""
        if self._ngrams is None:
            return None
        found = self._ngrams.strongest(index, k, first_word=first_word)
        return [(ids, float(self._scales[1]) * strength) for ids, strength in found]


class _Model:
    """A saved model, and its networks."""

    def __init__(self, saved: SavedModel, backend: str) -> None:
        self.labels = saved.labels
        self.vocabulary = saved.vocabulary
        self.tokenizer = saved.tokenizer
        self._encode = TextEncoder(
            saved.tokenizer, saved.vocabulary, max_length=saved.settings["max_length"]
        )
        self._networks = Networks(saved.network, saved.ngrams, saved.weights, backend=backend)

    def encode(self, texts: Any) -> tuple[NDArray[np.int32], NDArray[np.int64], UnknownWords]:
        """Return ids of a column of texts, number of ids of each, and their unknown words."""
        return self._encode.with_unknown(read_texts(texts))

    def probabilities(self, texts: Any) -> NDArray[np.float64]:
        """Return the probabilities of a column of texts, `(texts, labels)`."""
        return self.labels.probabilities(self._networks.logits(*self.encode(texts)))

    def top_ngrams(self, index: int, k: int) -> list[tuple[tuple[int, ...], float]] | None:
        """Return the n-grams of words that speak most for a label; None without n-grams."""
        return self._networks.top_ngrams(index, k, len(self.vocabulary.specials))


class RuntimeClassifier(Predictor):
    """Predict with a saved classifier, without PyTorch; `textrnn.runtime.load` reads one.

    Predictions are those of the `TextClassifier` that was saved. Probabilities are equal up to the
    rounding of single precision.

    Attributes:
        threshold: For multi-label data, the probability above which a text has a label, or a
            mapping of labels to theirs.

    Example:
        >>> from textrnn import TextClassifier, runtime
        >>> texts, labels = ["oil prices", "stocks fall", "a goal", "two goals"], [0, 0, 1, 1]
        >>> classifier = TextClassifier(epochs=3, hidden_size=16).fit(texts * 10, labels * 10)
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     classifier.save(folder)
        ...     small = runtime.load(folder)
        >>> small.predict(["oil stocks", "goals"])
        array([0, 1])
    """

    def __init__(self, saved: SavedModel, *, backend: str = "numpy") -> None:
        self.threshold = saved.parameters["threshold"]
        self._fitted = _Model(saved, backend)

    def _model(self) -> _Model:
        return self._fitted


def load(
    path: str | os.PathLike[str], *, tokenizer: Tokenizer | None = None, backend: str = "numpy"
) -> RuntimeClassifier:
    """Read a classifier that `TextClassifier.save` wrote, without PyTorch.

    The folder is not trusted.

    Args:
        path: The folder.
        tokenizer: The classifier's tokenizer, if it was saved without. Default: None.
        backend: Library that computes the recurrent network: `"numpy"`, or `"onnx"` for ONNX
            Runtime (extra `onnx`), on one thread. It predicts single texts faster, but takes longer
            to start and more memory. Default: "numpy".

    Returns:
        The classifier, with the predictions of the saved one.

    Raises:
        MissingFileError: If there is no such folder.
        CorruptFileError: If the folder does not have a complete and valid model.
        InvalidValueError: If `tokenizer` is needed, or differs from the classifier's own, or
            `backend` is unknown.
        MissingDependencyError: If the package of `backend` is not installed.
    """
    check_choice("backend", backend, ("numpy", "onnx"))
    return RuntimeClassifier(read_folder(path, tokenizer=tokenizer), backend=backend)


def _part(weights: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Return the weights of a part by its own names."""
    return {
        name.removeprefix(prefix): array
        for name, array in weights.items()
        if name.startswith(prefix)
    }
