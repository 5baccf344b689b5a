"""Two classifiers that decide together."""

from typing import Any

import torch
from torch import Tensor, nn

from textrnn.errors import InvalidValueError, expected
from textrnn.nn.classifier import RecurrentClassifier
from textrnn.nn.ngrams import NgramClassifier

__all__ = ["BlendedClassifier"]


class BlendedClassifier(nn.Module):
    """Add the logits of a recurrent classifier and of an n-gram classifier, each with its scale.

    The two err on different texts: one reads sentences, the other remembers phrases. Scaled sums
    of logits are a geometric mean of the two probabilities, sharpened or softened. For recurrent
    networks beside n-grams see Mesnil et al., "Ensemble of Generative and Discriminative Techniques
    for Sentiment Analysis of Movie Reviews", 2015, https://arxiv.org/abs/1412.5335.

    Args:
        recurrent: The recurrent classifier.
        ngrams: The n-gram classifier, for the same token ids and classes.

    Attributes:
        recurrent: The recurrent classifier.
        ngrams: The n-gram classifier.
        scales: What their logits are multiplied by, `(2,)`; one half each at first.

    Raises:
        InvalidValueError: If the two differ in the number of token ids or classes, or in the
            padding.

    Example:
        >>> import torch
        >>> recurrent = RecurrentClassifier(100, num_classes=4, hidden_size=16)
        >>> ngrams = NgramClassifier(100, num_classes=4, num_ngrams=50)
        >>> BlendedClassifier(recurrent, ngrams)(torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]])).shape
        torch.Size([2, 4])
    """

    scales: Tensor

    def __init__(self, recurrent: RecurrentClassifier, ngrams: NgramClassifier) -> None:
        super().__init__()
        for name in ("vocab_size", "num_classes", "padding_id"):
            theirs, ours = getattr(ngrams, name), getattr(recurrent, name)
            if theirs != ours:
                rule = f"that of the recurrent classifier, {ours}"
                raise InvalidValueError(expected(f"ngrams.{name}", rule, theirs))
        self.vocab_size = recurrent.vocab_size
        self.num_classes = recurrent.num_classes
        self.padding_id = recurrent.padding_id
        self.recurrent = recurrent
        self.ngrams = ngrams
        self.register_buffer("scales", torch.full((2,), 0.5))

    @property
    def config(self) -> dict[str, Any]:
        """The `config` of each of the two, by name."""
        return {"recurrent": self.recurrent.config, "ngrams": self.ngrams.config}

    def forward(self, input_ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the logits of a batch of texts.

        Args:
            input_ids: Token ids, int64 or int32, `(batch, time)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`;
                None derives them, to the last id that is not padding.

        Returns:
            The logits, `(batch, num_classes)`.

        Raises:
            InvalidTypeError: If `input_ids` or `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, an id or a length is out of range, or a
                text without given length is padding throughout.
        """
        read = self.recurrent(input_ids, lengths)  # (batch, classes)
        found = self.ngrams(input_ids, lengths)  # (batch, classes)
        logits: Tensor = self.scales[0] * read + self.scales[1] * found
        return logits
