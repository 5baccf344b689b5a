"""`Model`: all that a fitted classifier consists of."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from textrnn.data import WordDataset
from textrnn.estimator.batches import Column, only_batch, prediction_loader
from textrnn.estimator.labels import LabelSet
from textrnn.ngrams import BlendedClassifier, NgramClassifier
from textrnn.nn import RecurrentClassifier
from textrnn.text import Tokenizer, Vocabulary
from textrnn.training import History
from textrnn.training.evaluation import predict
from textrnn.training.step import Precision

__all__ = ["Model", "Network"]

Network: TypeAlias = RecurrentClassifier | BlendedClassifier


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """All that a fitted classifier consists of.

    Attributes:
        network: The network with its weights.
        vocabulary: Gives each token its id.
        tokenizer: Cuts texts into tokens.
        labels: The labels in the order of the network's logits.
        max_length: How many ids of a text are read.
        settings: The settings it was trained with, plain data by name.
        data: Numbers that describe its texts, by name.
        history: What was measured while training.
        metrics: What the validation part gave in the end; empty without one.
    """

    network: Network
    vocabulary: Vocabulary
    tokenizer: Tokenizer
    labels: LabelSet
    max_length: int
    settings: dict[str, Any]
    data: dict[str, Any]
    history: History
    metrics: dict[str, float]

    @property
    def recurrent(self) -> RecurrentClassifier:
        """The recurrent part of the network."""
        network = self.network
        return network.recurrent if isinstance(network, BlendedClassifier) else network

    @property
    def ngrams(self) -> NgramClassifier | None:
        """The part that looks at n-grams, if there is one."""
        return self.network.ngrams if isinstance(self.network, BlendedClassifier) else None

    def logits(self, texts: Any) -> Tensor:
        """Compute the logits of texts.

        Args:
            texts: A column of strings.

        Returns:
            The logits in fp32, `(texts, labels)`, on the CPU.

        Raises:
            InvalidTypeError: If `texts` is no column of strings.
        """
        dataset = WordDataset(
            Column.of(texts), None, self.vocabulary, self.tokenizer, max_length=self.max_length
        )
        if not len(dataset):
            return torch.empty(0, len(self.labels))
        device = next(self.network.parameters()).device
        batch = only_batch(dataset)
        if batch is not None and not self.network.training:
            with torch.inference_mode():
                logits: Tensor = self.network(batch.input_ids.to(device), batch.lengths)
            return logits.cpu()
        precision = Precision("fp32", device)
        return predict(self.network, prediction_loader(dataset), precision=precision)
