"""The model of a fitted classifier: network, vocabulary, tokenizer and labels."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from textrnn.estimator.batches import batch_rows, padded_batch
from textrnn.estimator.fit_report import FitReport
from textrnn.estimator.threads import side_by_side
from textrnn.ngrams import BlendedClassifier, NgramClassifier
from textrnn.nn import RecurrentClassifier
from textrnn.runtime.classifier import Networks
from textrnn.runtime.labels import LabelSet
from textrnn.text import Tokenizer, Vocabulary
from textrnn.text.columns import read_texts
from textrnn.text.encoding import TextEncoder
from textrnn.text.spelling import NO_WORDS, UnknownWords
from textrnn.training import History
from textrnn.training.evaluation import undisturbed_modes

__all__ = ["Encoded", "Model", "Network", "build_network", "logits_of"]

Network: TypeAlias = RecurrentClassifier | NgramClassifier | BlendedClassifier

Encoded: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int64], UnknownWords]
"""Ids of texts, number of ids of each, and their unknown words."""

_FEW_TEXTS = 16  # whose time is mostly that of calls
_MIN_IDS = 16_384  # for each thread
_VECTORS = "ngrams.vectors"
_PLAIN = ("tokenizer", "settings", "data", "metrics")


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A trained network, everything it takes to predict with it, and how it was trained."""

    network: Network
    vocabulary: Vocabulary
    tokenizer: Tokenizer
    labels: LabelSet
    settings: dict[str, Any]
    data: dict[str, Any]  # facts about the training texts
    report: FitReport
    history: History
    metrics: dict[str, float]  # of the validation part; empty without one
    eval_texts: Encoded | None = None  # the validation part, of which a loaded model has none

    @property
    def recurrent(self) -> RecurrentClassifier | None:
        """The recurrent part of the network, if there is one."""
        network = self.network
        if isinstance(network, NgramClassifier):
            return None
        return network.recurrent if isinstance(network, BlendedClassifier) else network

    @property
    def ngrams(self) -> NgramClassifier | None:
        """The n-gram part of the network, if there is one."""
        network = self.network
        if isinstance(network, RecurrentClassifier):
            return None
        return network.ngrams if isinstance(network, BlendedClassifier) else network

    @property
    def configs(self) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """The `config` of the recurrent part and of the n-grams; None for a part that is not."""
        recurrent, ngrams = (
            None if part is None else part.config for part in (self.recurrent, self.ngrams)
        )
        return recurrent, ngrams

    def __getstate__(self) -> dict[str, Any]:
        """Return plain data and arrays, which tools that know no PyTorch can store as well."""
        labels, (recurrent, ngrams), texts = self.labels, self.configs, self.eval_texts
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "recurrent": recurrent,
            "ngrams": ngrams,
            "weights": self.weights(),
            "device": str(next(self.network.parameters()).device),
            "vocabulary": self.vocabulary.to_dict(),
            "labels": [list(labels.names), labels.multi_label, labels.matrix],
            "report": self.report.to_dict(),
            "history": list(self.history),
            "eval_texts": None if texts is None else (*texts[:2], tuple(texts[2])),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a model, on the CPU if its device is not there."""
        network = build_network(state["recurrent"], state["ngrams"], state["weights"])
        device = torch.device("cpu")
        with suppress(RuntimeError, AssertionError):  # raised where torch was built without CUDA
            device = torch.empty(0, device=state["device"]).device
        names, multi_label, matrix = state["labels"]
        texts = state["eval_texts"]
        vars(self).update(
            {name: state[name] for name in _PLAIN},
            network=network.to(device),
            vocabulary=Vocabulary.from_dict(state["vocabulary"]),
            labels=LabelSet(tuple(names), multi_label=multi_label, matrix=matrix),
            report=FitReport(**state["report"]),
            history=History(state["history"]),
            eval_texts=None if texts is None else (*texts[:2], UnknownWords(*texts[2])),
        )

    def logits(self, texts: Any) -> Tensor:
        """Return the logits of a column of texts, fp32 `(texts, labels)`, on the CPU."""
        ids, lengths, unknown = self.encode(texts)
        if len(lengths) <= _FEW_TEXTS and self._in_numpy is not None:
            return torch.from_numpy(self._in_numpy.logits(ids, lengths, unknown))
        return logits_of(self.network, ids, lengths, unknown)

    def encode(self, texts: Any) -> tuple[NDArray[np.int32], NDArray[np.int64], UnknownWords]:
        """Return ids, lengths and unknown words of a column of texts."""
        encode = TextEncoder(
            self.tokenizer, self.vocabulary, max_length=self.settings["max_length"]
        )
        return encode.with_unknown(read_texts(texts))

    def hand_out(self) -> Network:
        """Return the network to a user, who may change it: no copy of its weights is used then."""
        vars(self)["_in_numpy"] = None
        return self.network

    @cached_property
    def _in_numpy(self) -> Networks | None:
        """The same network in NumPy, whose calls cost less; None on another device."""
        if any(weight.device.type != "cpu" for weight in self.network.parameters()):
            return None
        return self._networks()

    def _networks(self) -> Networks:
        """Return the network in NumPy; on the CPU, the weights are shared."""
        return Networks(*self.configs, self.weights())

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return all weights; vectors of n-grams that are the embedding are left out."""
        state = self.network.state_dict().items()
        return {name: np.asarray(each.cpu()) for name, each in state if name != _VECTORS}

    def top_ngrams(self, index: int, k: int) -> list[tuple[tuple[int, ...], float]] | None:
        """Return the n-grams of words that speak most for a label; None without n-grams."""
        return self._networks().top_ngrams(index, k, len(self.vocabulary.specials))

    def probabilities(self, texts: Any) -> NDArray[np.float64]:
        """Return the probabilities of a column of texts, `(texts, labels)`."""
        return self.labels.probabilities(self.logits(texts).numpy())


class _Uninitialized(TorchFunctionMode):
    """Skip the initialization of weights, which on a meta device imports PyTorch's compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call any function but those of `torch.nn.init`."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def build_network(
    recurrent: Mapping[str, Any] | None,
    ngrams: Mapping[str, Any] | None,
    weights: Mapping[str, NDArray[Any]],
) -> Network:
    """Return the network of these configurations, one or both, with copies of its weights."""
    parts: list[Any] = []
    with _Uninitialized(), torch.device("meta"):
        if recurrent is not None:
            # In single precision, as `fit` makes it, whatever PyTorch's default is.
            parts.append(RecurrentClassifier.from_config(recurrent).float())
        if ngrams is not None:
            parts.append(NgramClassifier.from_config(ngrams))
        network: Network = BlendedClassifier(*parts) if len(parts) == 2 else parts[0]
    tensors = {name: torch.from_numpy(array.copy()) for name, array in weights.items()}
    if isinstance(network, BlendedClassifier) and network.ngrams.vectors is not None:
        tensors[_VECTORS] = tensors["recurrent.embedding.weight"]
        network.load_state_dict(tensors, assign=True)
        network.ngrams.vectors = cast("nn.Parameter", network.recurrent.embedding.weight)
    else:
        network.load_state_dict(tensors, assign=True)
    return network.eval()


def logits_of(
    network: Network,
    ids: NDArray[np.int32],
    lengths: NDArray[np.int64],
    unknown: UnknownWords = NO_WORDS,
) -> Tensor:
    """Return the logits of encoded texts, fp32 `(texts, labels)`, on the CPU."""
    if not len(lengths):
        return torch.empty(0, network.num_classes, dtype=torch.float32)
    device = next(network.parameters()).device
    threads = 1
    if device.type == "cpu" and not torch.is_autocast_enabled("cpu"):  # of the calling thread
        threads = max(min(torch.get_num_threads(), int(lengths.sum()) // _MIN_IDS), 1)

    ngrams = network.ngrams if isinstance(network, BlendedClassifier) else network
    spelled: list[Tensor] = []
    if isinstance(ngrams, NgramClassifier) and ngrams.num_char_ngrams and unknown.words:
        words = unknown.by_token(len(ids))  # (total,)
        spelled = [ngrams.spell(unknown.words)]

    def compute(rows: NDArray[np.int64]) -> Tensor:
        with torch.inference_mode():
            first, sizes = starts[rows], lengths[rows]
            batch, counts = padded_batch(ids, first, sizes, network.padding_id)
            own = [(padded_batch(words, first, sizes, -1)[0].to(device), each) for each in spelled]
            logits: Tensor = network(batch.to(device), counts, *own)
            return logits  # (batch, labels)

    starts = lengths.cumsum() - lengths  # (texts,)
    batches = batch_rows(lengths, threads=threads)
    with undisturbed_modes(network):
        network.eval()
        parts = list(side_by_side(compute, batches, threads))
    logits = torch.cat(parts).float().cpu()  # (texts, labels)
    return logits[np.concatenate(batches).argsort()]
