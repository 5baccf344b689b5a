"""Several recurrent classifiers that answer as one."""

from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from textrnn.errors import InvalidTypeError, InvalidValueError, expected
from textrnn.nn.classifier import RecurrentClassifier

__all__ = ["EnsembleClassifier"]


class EnsembleClassifier(nn.Module):
    """Average the logits of several recurrent classifiers.

    Networks that began with other random weights err on different texts, so that together they are
    right more often than each alone (Hansen and Salamon, 1990, "Neural Network Ensembles";
    Lakshminarayanan et al., 2017, "Simple and Scalable Predictive Uncertainty Estimation using Deep
    Ensembles"). Logits are averaged rather than probabilities, which gives the geometric mean of
    these: it serves one label for a text and several alike, and it is how `BlendedClassifier` adds
    up what it is made of.

    Args:
        networks: The classifiers, for the same token ids and classes; one is enough.

    Attributes:
        networks: The classifiers, in a `torch.nn.ModuleList`.

    Raises:
        InvalidTypeError: If one is no `RecurrentClassifier`.
        InvalidValueError: If there are none, or one differs from the first in the number of token
            ids or classes, or in the padding.

    Example:
        >>> import torch
        >>> networks = [RecurrentClassifier(100, num_classes=4, hidden_size=16) for _ in range(3)]
        >>> EnsembleClassifier(networks)(torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]])).shape
        torch.Size([2, 4])
    """

    def __init__(self, networks: Iterable[RecurrentClassifier]) -> None:
        super().__init__()
        if not isinstance(networks, Iterable):
            raise InvalidTypeError(expected("networks", "RecurrentClassifiers", networks))
        networks = list(networks)
        if not networks:
            raise InvalidValueError(
                expected("networks", "at least one RecurrentClassifier", networks)
            )
        for position, network in enumerate(networks):
            name = f"networks[{position}]"
            if not isinstance(network, RecurrentClassifier):
                raise InvalidTypeError(expected(name, "a RecurrentClassifier", network))
            for attribute in ("vocab_size", "num_classes", "padding_id"):
                theirs, ours = getattr(network, attribute), getattr(networks[0], attribute)
                if theirs != ours:
                    rule = f"that of the first network, {ours}"
                    raise InvalidValueError(expected(f"{name}.{attribute}", rule, theirs))
        self.vocab_size = networks[0].vocab_size
        self.num_classes = networks[0].num_classes
        self.padding_id = networks[0].padding_id
        self.networks = nn.ModuleList(networks)

    def __len__(self) -> int:
        return len(self.networks)

    def __iter__(self) -> Iterator[RecurrentClassifier]:
        return cast("Iterator[RecurrentClassifier]", iter(self.networks))

    @property
    def config(self) -> dict[str, Any]:
        """The `config` of each network."""
        return {"networks": [network.config for network in self]}

    def forward(self, input_ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the logits of a batch of texts.

        Args:
            input_ids: Token ids, int64 or int32, `(batch, time)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`;
                None derives them, to the last id that is not padding.

        Returns:
            The means of the networks' logits, `(batch, num_classes)`.

        Raises:
            InvalidTypeError: If `input_ids` or `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, an id or a length is out of range, or a
                text without given length is padding throughout.
        """
        logits = [network(input_ids, lengths) for network in self]  # (batch, classes) each
        return torch.stack(logits).mean(0)
