"""The model of a fitted classifier: network, vocabulary, tokenizer and labels."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textrnn.data import WordDataset
from textrnn.estimator.batches import padded_batches
from textrnn.ngrams import BlendedClassifier, NgramClassifier
from textrnn.nn import RecurrentClassifier
from textrnn.runtime.labels import LabelSet
from textrnn.text import Tokenizer, Vocabulary, encode_texts
from textrnn.text.columns import read_texts
from textrnn.training import History
from textrnn.training.evaluation import undisturbed_modes

__all__ = ["Model", "Network", "logits_of"]

Network: TypeAlias = RecurrentClassifier | BlendedClassifier


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A trained network, everything it takes to predict with it, and how it was trained."""

    network: Network
    vocabulary: Vocabulary
    tokenizer: Tokenizer
    labels: LabelSet
    settings: dict[str, Any]
    data: dict[str, Any]  # facts about the training texts
    history: History
    metrics: dict[str, float]  # of the validation part; empty without one
    eval_set: WordDataset | None = None  # the validation part; None of a loaded model

    @property
    def recurrent(self) -> RecurrentClassifier:
        """The recurrent part of the network."""
        network = self.network
        return network.recurrent if isinstance(network, BlendedClassifier) else network

    @property
    def ngrams(self) -> NgramClassifier | None:
        """The n-gram part of the network, if there is one."""
        return self.network.ngrams if isinstance(self.network, BlendedClassifier) else None

    def logits(self, texts: Any) -> Tensor:
        """Return the logits of a column of texts, fp32 `(texts, labels)`, on the CPU."""
        ids, lengths = encode_texts(
            read_texts(texts),
            self.tokenizer,
            self.vocabulary,
            max_length=self.settings["max_length"],
        )
        return logits_of(self.network, ids, lengths)

    def probabilities(self, texts: Any) -> NDArray[np.float64]:
        """Return the probabilities of a column of texts, `(texts, labels)`."""
        return self.labels.probabilities(self.logits(texts).numpy())


def logits_of(
    network: Network | NgramClassifier, ids: NDArray[np.int32], lengths: NDArray[np.int64]
) -> Tensor:
    """Return the logits of encoded texts, fp32 `(texts, labels)`, on the CPU."""
    if not len(lengths):
        return torch.empty(0, network.num_classes, dtype=torch.float32)
    device = next(network.parameters()).device
    positions, parts = [], []
    with undisturbed_modes(network), torch.inference_mode():
        network.eval()
        for rows, batch, sizes in padded_batches(ids, lengths, network.padding_id):
            positions.append(rows)
            parts.append(network(batch.to(device), sizes))  # (batch, labels)
    logits = torch.cat(parts).float().cpu()  # (texts, labels)
    return logits[np.concatenate(positions).argsort()]
