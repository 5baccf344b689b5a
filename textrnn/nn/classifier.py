"""A recurrent text classifier."""

import os
from collections.abc import Iterable, Mapping
from inspect import signature
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.compiler import is_exporting

from textrnn._storage import write_atomically
from textrnn.errors import InvalidValueError, check_float, check_int, check_keys, expected
from textrnn.nn.encoder import RecurrentEncoder
from textrnn.nn.inference import POOLINGS, Packing
from textrnn.nn.layers import (
    Dropout,
    LockedDropout,
    check_generator,
    first_weights_from,
    set_generator,
)
from textrnn.nn.padding import check_batch
from textrnn.nn.pooling import Pooling
from textrnn.nn.recurrence import is_unmodified

__all__ = ["RecurrentClassifier"]

_EMBEDDING_STD = 0.1
# Computing each different word once pays off in batches of at least so many texts, where a word
# comes so often on average.
_MIN_TEXTS = 8
_MIN_REPEATS = 2


class RecurrentClassifier(nn.Module):
    """Classify texts: embedding, recurrent layers, pooling over time, two linear layers.

    The logits of a text depend neither on padding nor on the other texts of a batch. Weights are
    float32, whatever PyTorch's default type; `double()` and the like convert them.

    Args:
        vocab_size: Number of token ids.
        num_classes: Number of classes.
        cell: Recurrent cell: `"rnn"`, `"gru"` or `"lstm"`. Default: "gru".
        hidden_size: Number of features of a state in one direction, and of the hidden linear
            layer. Default: 256.
        embedding_size: Number of features of an embedding; None means `hidden_size`.
            Default: None.
        num_layers: Number of recurrent layers. Default: 1.
        bidirectional: Whether texts are read in both directions. Default: False.
        pooling: Pooling of the states of a text: `"max"`, `"mean"`, `"last"` or `"attention"`, or
            several of them, which are concatenated in that order. Default: "mean".
        dropout: Dropout probability between the linear layers, from 0 to 1. Default: 0.1.
        embedding_dropout: Dropout probability of embedding features, with one mask for all tokens
            of a text, from 0 to 1. Default: 0.
        layer_dropout: Dropout probability between recurrent layers, from 0 to 1; must be 0 with
            one layer. Default: 0.
        padding_id: Id of padding, whose embedding is zero and is not trained. Default: 0.
        generator: Generator of the first weights and of dropout, on any device. Such a model draws
            nothing from PyTorch's global generators, which None means. Default: None.

    Attributes:
        embedding: `torch.nn.Embedding` of the tokens, initialized from a normal distribution with
            standard deviation 0.1. All other weights have PyTorch's initial values.
        encoder: `RecurrentEncoder` over the embeddings.
        pooling: `Pooling` over the states.
        head: Layers from pooled states to logits: tanh, linear, dropout, tanh, linear.

    Raises:
        InvalidTypeError: If an argument has a wrong type.
        InvalidValueError: If an argument has an invalid value.

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
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_generator(generator)
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
        with first_weights_from(generator):
            self.embedding = nn.Embedding(
                self.vocab_size, embedding_size, self.padding_id, dtype=torch.float32
            )
        # PyTorch's N(0, 1) is too large: the noise of rare words, which are hardly trained, would
        # outweigh what is learned about frequent ones.
        with torch.no_grad():
            self.embedding.weight.mul_(_EMBEDDING_STD)
        self.embedding_dropout = LockedDropout(embedding_dropout, generator=generator)
        self.encoder = RecurrentEncoder(
            embedding_size,
            hidden_size,
            cell=cell,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=layer_dropout,
            generator=generator,
        )
        features = self.encoder.output_size
        self.pooling = Pooling(
            pooling, bidirectional=bidirectional, features=features, generator=generator
        )
        with first_weights_from(generator):
            self.head = nn.Sequential(
                nn.Tanh(),
                nn.Linear(self.pooling.output_size(features), hidden_size, dtype=torch.float32),
                Dropout(dropout, generator=generator),
                nn.Tanh(),
                nn.Linear(hidden_size, self.num_classes, dtype=torch.float32),
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
        """All constructor arguments but `generator` as JSON values, for `from_config`."""
        pooling = self._config["pooling"]
        return self._config | {"pooling": pooling[:] if isinstance(pooling, list) else pooling}

    @property
    def generator(self) -> torch.Generator | None:
        """The generator of dropout; set it to draw from another one, or None."""
        return self.encoder.generator

    @generator.setter
    def generator(self, generator: torch.Generator | None) -> None:
        set_generator(self, check_generator(generator))

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], *, generator: torch.Generator | None = None
    ) -> Self:
        """Return a new classifier with the `config` of another.

        Args:
            config: All constructor arguments but `generator` by name.
            generator: Generator of the first weights and of dropout. Default: None.

        Returns:
            A classifier with newly initialized weights.

        Raises:
            InvalidTypeError: If `config` is not a mapping, or a value has a wrong type.
            InvalidValueError: If a value is invalid.
            MissingKeyError: If arguments are missing or unknown.

        Example:
            >>> model = RecurrentClassifier(100, num_classes=4, pooling=("max", "last"))
            >>> RecurrentClassifier.from_config(model.config).config == model.config
            True
        """
        check_keys("config", config, signature(cls).parameters.keys() - {"generator"})
        return cls(**config, generator=generator)

    def forward(self, input_ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the logits of a batch of texts.

        Args:
            input_ids: Token ids, int64 or int32, `(batch, time)`. Ids are checked only on the
                CPU, since the check would wait for another device.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`,
                preferably on the CPU; None counts up to the last id that is not padding.
                Default: None.

        Returns:
            The logits, `(batch, num_classes)`.

        Raises:
            InvalidTypeError: If `input_ids` or `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, an id or a length is out of range, a text
                has only padding and no given length, or `torch.jit.trace` or
                `torch.onnx.export(dynamo=False)` records the call.
        """
        input_ids, lengths = check_batch(
            input_ids, lengths, vocab_size=self.vocab_size, padding_id=self.padding_id
        )  # (batch, time) and (batch,)
        if self._may_pack(input_ids):
            logits: Tensor = self.head(self._read_packed(input_ids, lengths))  # (batch, classes)
            return logits
        if self._may_share_words(input_ids):
            words, positions = torch.unique(input_ids, return_inverse=True)
            if _MIN_REPEATS * len(words) <= positions.numel():
                return self.forward_embeddings(self.embedding(words), lengths, positions)
        if is_unmodified(self.embedding, nn.Embedding):
            # Looked up time first, so that the embeddings of each step are contiguous in memory.
            embedded = self.embedding(input_ids.t()).transpose(0, 1)  # (batch, time, embedding)
        else:  # hooks, such as those of captum, expect the batch first
            embedded = self.embedding(input_ids)  # (batch, time, embedding)
        return self.forward_embeddings(embedded, lengths)

    def forward_embeddings(
        self, embedded: Tensor, lengths: Tensor, positions: Tensor | None = None
    ) -> Tensor:
        """Compute the logits of texts from their embeddings.

        Args:
            embedded: Embeddings of the tokens, `(batch, time, embedding_size)`; with `positions`
                only those of the different words, `(words, embedding_size)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.
            positions: Index of the word at each token, int64 `(batch, time)`, as in
                `RecurrentEncoder`; embedding dropout is then left out. Default: None.

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

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write an ONNX model, for ONNX Runtime and other programs without PyTorch.

        Its inputs are `input_ids`, int64 `(batch, time)`, and `lengths`, int64 `(batch,)`, from 1
        to `time`; its output is `logits`, float32 `(batch, num_classes)`, those of evaluation mode.
        Batches may have any shape, also without texts. Weights become float32. Ids and lengths out
        of range are refused by ONNX Runtime (extra `onnx`).

        Args:
            path: File to write, or to replace.

        Raises:
            InvalidValueError: If modules have hooks or were replaced, or weights are not finite or
                take 2 GiB.

        Example:
            >>> import tempfile
            >>> import onnxruntime
            >>> model = RecurrentClassifier(100, num_classes=4, hidden_size=16).eval()
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     model.export(f"{folder}/model.onnx")
            ...     session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
            >>> ids, lengths = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]]), torch.tensor([4, 3])
            >>> feed = {"input_ids": ids.numpy(), "lengths": lengths.numpy()}
            >>> (logits,) = session.run(["logits"], feed)
            >>> torch.testing.assert_close(torch.from_numpy(logits), model(ids, lengths).detach())
        """
        from textrnn.nn.export import to_onnx

        write_atomically(path, to_onnx(self))

    def extra_repr(self) -> str:
        """Return the arguments that differ from their defaults."""
        defaults = {name: p.default for name, p in signature(type(self)).parameters.items()}
        defaults["embedding_size"] = self._config["hidden_size"]
        shown = {key: value for key, value in self._config.items() if value != defaults.get(key)}
        return ", ".join(f"{key}={value!r}" for key, value in shown.items())

    def _may_share_words(self, input_ids: Tensor) -> bool:
        """Tell whether computing each different word once is valid, and may be faster."""
        return (
            not is_exporting()
            and len(input_ids) >= _MIN_TEXTS
            and self._may_bypass()
            and self.encoder.gains_by_positions(input_ids.device)
        )

    def _may_pack(self, input_ids: Tensor) -> bool:
        """Tell whether states may be pooled as they come, which is faster without gradients."""
        return (
            not is_exporting()
            and len(input_ids) > 0
            and not torch.is_grad_enabled()
            and POOLINGS.issuperset(self.pooling.names)
            and is_unmodified(self.pooling, Pooling)
            and self._may_bypass()
            and self.encoder.reads_packed(input_ids.device)
        )

    def _may_bypass(self) -> bool:
        """Tell whether the words of a batch may be embedded in another order or number."""
        dropout = self.embedding_dropout
        return (
            # Hooks and replaced modules expect the embeddings of a whole batch.
            is_unmodified(self.embedding, nn.Embedding)
            and is_unmodified(dropout, LockedDropout)
            and is_unmodified(self.encoder, RecurrentEncoder)
            and type(self).forward_embeddings is RecurrentClassifier.forward_embeddings
            and not (dropout.training and dropout.p)  # which differs from text to text
        )

    def _read_packed(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the pooled states `(batch, output)`."""
        packing = Packing(lengths)
        words, positions = packing.pack(input_ids), None  # (tokens,)
        if len(lengths) >= _MIN_TEXTS:
            different, places = torch.unique(words, return_inverse=True)
            if _MIN_REPEATS * len(different) <= len(words):
                words, positions = different, places
        names = self.pooling.names
        pooled = self.encoder.read_packed(self.embedding(words), packing.counts, positions, names)
        if "mean" in pooled:
            pooled["mean"] /= packing.lengths.unsqueeze(1)
        return packing.restore(torch.cat([pooled[name] for name in names], 1))  # (batch, output)
