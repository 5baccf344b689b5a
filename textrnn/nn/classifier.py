"""The classifier: token ids in, logits out."""

from collections.abc import Iterable, Mapping
from inspect import signature
from typing import Any, Self

import torch
from torch import Tensor, nn

from textrnn.errors import InvalidValueError, check_float, check_int, check_keys, expected
from textrnn.nn.encoder import RecurrentEncoder
from textrnn.nn.layers import LockedDropout
from textrnn.nn.padding import check_batch
from textrnn.nn.pooling import Pooling
from textrnn.nn.recurrence import is_untouched

__all__ = ["RecurrentClassifier"]

_EMBEDDING_STD = 0.1
_REPEATS = 2  # how often a word of a batch has to come on average to be computed once
_FEWEST_TEXTS = 8  # of a batch in which words can come so often


class RecurrentClassifier(nn.Module):
    """Classify texts: embedding, recurrent layers, pooling over time, two linear layers.

    A prediction depends on its text alone: neither padding nor the other texts of a batch change
    it.

    Args:
        vocab_size: Number of token ids.
        num_classes: Number of logits.
        cell: Recurrent cell: `"rnn"`, `"gru"` or `"lstm"`.
        hidden_size: Features of a state in one direction, and of the hidden linear layer.
        embedding_size: Features of a token's embedding; None means `hidden_size`.
        num_layers: Number of recurrent layers.
        bidirectional: Whether texts are read in both directions.
        pooling: How the states of a text become one vector: `"max"`, `"mean"`, `"last"` or
            `"attention"`, or several of them, which are concatenated in that order.
        dropout: Dropout between the two linear layers, from 0 to 1.
        embedding_dropout: Dropout on embeddings, one mask for all tokens of a text, from 0 to 1.
        layer_dropout: Dropout between recurrent layers, from 0 to 1; 0 with one layer.
        padding_id: The id that fills texts up; its embedding is zero and stays so.

    Attributes:
        embedding: `torch.nn.Embedding` of the tokens, drawn from a normal distribution with the
            standard deviation 0.1; all other weights begin as torch has them.
        encoder: `RecurrentEncoder` over the embeddings.
        pooling: `Pooling` over the states.
        head: From the pooled states to logits: tanh, linear, dropout, tanh, linear.

    Raises:
        InvalidTypeError: If an argument has the wrong type.
        InvalidValueError: If an argument has a value that it must not have.

    Example:
        >>> import torch
        >>> model = RecurrentClassifier(100, num_classes=4, hidden_size=16)
        >>> model(torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]]), torch.tensor([4, 3])).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        num_classes: int,
        cell: str = "gru",
        hidden_size: int = 256,
        embedding_size: int | None = None,
        num_layers: int = 1,
        bidirectional: bool = False,
        pooling: str | Iterable[str] = "mean",
        dropout: float = 0.1,
        embedding_dropout: float = 0.0,
        layer_dropout: float = 0.0,
        padding_id: int = 0,
    ) -> None:
        super().__init__()
        self.vocab_size = check_int("vocab_size", vocab_size)
        self.num_classes = check_int("num_classes", num_classes)
        hidden_size = check_int("hidden_size", hidden_size)
        if embedding_size is None:
            embedding_size = hidden_size
        embedding_size = check_int("embedding_size", embedding_size)
        dropout = check_float("dropout", dropout, minimum=0.0, maximum=1.0)
        embedding_dropout = check_float(
            "embedding_dropout", embedding_dropout, minimum=0.0, maximum=1.0
        )
        layer_dropout = check_float("layer_dropout", layer_dropout, minimum=0.0, maximum=1.0)
        if layer_dropout and check_int("num_layers", num_layers) == 1:
            rule = "0 in a model of one layer (it acts between layers)"
            raise InvalidValueError(expected("layer_dropout", rule, layer_dropout))
        self.padding_id = check_int("padding_id", padding_id, minimum=0)
        if self.padding_id >= self.vocab_size:
            raise InvalidValueError(
                expected("padding_id", f"an id of the vocabulary, below {vocab_size}", padding_id)
            )
        self.embedding = nn.Embedding(self.vocab_size, embedding_size, self.padding_id)
        # torch draws embeddings from N(0, 1): so large that the noise of rare words, which training
        # hardly changes, drowns what the frequent ones have learned.
        with torch.no_grad():
            self.embedding.weight.mul_(_EMBEDDING_STD)
        self.embedding_dropout = LockedDropout(embedding_dropout)
        self.encoder = RecurrentEncoder(
            embedding_size,
            hidden_size,
            cell=cell,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=layer_dropout,
        )
        features = self.encoder.output_size
        self.pooling = Pooling(pooling, bidirectional=bidirectional, features=features)
        self.head = nn.Sequential(
            nn.Tanh(),
            nn.Linear(self.pooling.output_size(features), hidden_size),
            nn.Dropout(dropout),
            nn.Tanh(),
            nn.Linear(hidden_size, self.num_classes),
        )
        names = self.pooling.names
        self._config = {
            "vocab_size": self.vocab_size,
            "num_classes": self.num_classes,
            "cell": cell,
            "hidden_size": hidden_size,
            "embedding_size": embedding_size,
            "num_layers": self.encoder.num_layers,
            "bidirectional": bidirectional,
            "pooling": names[0] if isinstance(pooling, str) else list(names),
            "dropout": dropout,
            "embedding_dropout": embedding_dropout,
            "layer_dropout": layer_dropout,
            "padding_id": self.padding_id,
        }

    @property
    def config(self) -> dict[str, Any]:
        """All constructor arguments, as JSON has them; `from_config` takes them back."""
        pooling = self._config["pooling"]
        return self._config | {"pooling": pooling[:] if isinstance(pooling, list) else pooling}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build a new classifier from the `config` of another.

        Args:
            config: All constructor arguments by name.

        Returns:
            A classifier with that configuration and new, random weights.

        Raises:
            InvalidTypeError: If `config` is not a mapping, or a value has the wrong type.
            InvalidValueError: If a value is one that it must not have.
            MissingKeyError: If arguments are missing or unknown.

        Example:
            >>> model = RecurrentClassifier(100, num_classes=4, pooling=("max", "last"))
            >>> RecurrentClassifier.from_config(model.config).config == model.config
            True
        """
        check_keys("config", config, signature(cls).parameters)
        return cls(**config)

    def forward(self, input_ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the logits of a batch of texts.

        Args:
            input_ids: Token ids, int64 or int32, `(batch, time)`. On the CPU ids out of range
                raise an error; elsewhere they are not looked for, since that would wait for the
                device.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`,
                preferably on the CPU; None derives them, to the last id that is not padding.

        Returns:
            The logits, `(batch, num_classes)`.

        Raises:
            InvalidTypeError: If `input_ids` or `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, an id or a length is out of range, or a
                text without given length is padding throughout.
        """
        input_ids, lengths = check_batch(
            input_ids, lengths, vocab_size=self.vocab_size, padding_id=self.padding_id
        )  # (batch, time) and (batch,)
        if self._looks_for_repeats(input_ids):
            words, positions = torch.unique(input_ids, return_inverse=True)
            # Where few words come again, the plain way is faster.
            if _REPEATS * len(words) <= positions.numel():
                return self.forward_embeddings(self.embedding(words), lengths, positions)
        # Looked up by time first, so that each step's embeddings lie together in memory.
        embedded = self.embedding(input_ids.t()).transpose(0, 1)  # (batch, time, embedding)
        return self.forward_embeddings(embedded, lengths)

    def forward_embeddings(
        self, embedded: Tensor, lengths: Tensor, positions: Tensor | None = None
    ) -> Tensor:
        """Compute the logits of texts that are embedded already.

        Args:
            embedded: Embeddings of the tokens, `(batch, time, embedding_size)`; with `positions`
                those of the different words alone, `(words, embedding_size)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.
            positions: Which of the words stands where, int64 `(batch, time)`, to save time (see
                `RecurrentEncoder`); embedding dropout is left out then. Default: None.

        Returns:
            The logits, `(batch, num_classes)`.

        Raises:
            InvalidTypeError: If `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, or a length is out of range.
        """
        if positions is None:
            states = self.encoder(self.embedding_dropout(embedded), lengths)
        else:
            states = self.encoder(embedded, lengths, positions)  # (batch, time, features)
        logits: Tensor = self.head(self.pooling(states, lengths))  # (batch, classes)
        return logits

    def extra_repr(self) -> str:
        """Show the arguments that are not the defaults."""
        defaults = {name: p.default for name, p in signature(type(self)).parameters.items()}
        defaults["embedding_size"] = self._config["hidden_size"]
        shown = {key: value for key, value in self._config.items() if value != defaults.get(key)}
        return ", ".join(f"{key}={value!r}" for key, value in shown.items())

    def _looks_for_repeats(self, input_ids: Tensor) -> bool:
        """Tell whether words that come again may be computed once, and are worth a look."""
        dropout = self.embedding_dropout
        return (
            len(input_ids) >= _FEWEST_TEXTS
            # Who watches or changes embeddings wants those of a whole batch.
            and is_untouched(self.embedding, nn.Embedding)
            and is_untouched(dropout, LockedDropout)
            and is_untouched(self.encoder, RecurrentEncoder)
            and type(self).forward_embeddings is RecurrentClassifier.forward_embeddings
            and not (dropout.training and dropout.p)  # which differs from text to text
            and self.encoder.gains_by_positions(input_ids.device)
        )
