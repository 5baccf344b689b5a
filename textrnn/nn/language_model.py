"""A language model that trains a classifier's embedding and encoder without labels."""

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from textrnn.errors import InvalidTypeError, InvalidValueError, check_float, check_int, expected
from textrnn.nn.classifier import RecurrentClassifier
from textrnn.nn.encoder import RecurrentEncoder
from textrnn.nn.layers import LockedDropout, first_weights_from
from textrnn.nn.padding import check_batch

__all__ = ["LanguageModel", "perplexity"]

_MIN_SHORTLIST = 500  # minimum number of words whose logits are always computed


class LanguageModel(nn.Module):
    """Predict each token of a text from the tokens on one side of it.

    The embedding and the encoder are those of a classifier, so training this model trains them. The
    forward direction predicts the next token, the backward direction the previous one (Dai and Le,
    2015, "Semi-supervised Sequence Learning"; Peters et al., 2018, "Deep Contextualized Word
    Representations"). No state depends on the token that it predicts. For that reason only the
    first layer of a bidirectional encoder is trained: the layers above read both directions.

    The logit of a word is the product of the state with the word's embedding ("tied weights": Press
    and Wolf, 2017, "Using the Output Embedding to Improve Language Models"), after a projection if
    they differ in size. First weights and dropout are drawn from the classifier's `generator`. A
    large vocabulary uses PyTorch's adaptive softmax (`torch.nn.AdaptiveLogSoftmaxWithLoss`; Grave
    et al., 2017, "Efficient softmax approximation for GPUs"), which computes logits of rare words
    only where one of them occurs. It needs ids sorted by falling frequency, as in a `Vocabulary`.

    Args:
        classifier: The classifier whose embedding and encoder to train.
        dropout: Dropout probability of the states, with one mask for all tokens of a text, from 0
            to 1; embeddings have the classifier's dropout. Default: 0.1.
        cutoffs: Ascending ids at which groups of rarer words begin; an empty list means a plain
            softmax, None halves the vocabulary repeatedly, down to 500 words. Default: None.

    Attributes:
        embedding: Embedding of the classifier.
        encoder: Encoder of the classifier, or a `RecurrentEncoder` that shares the weights of its
            first layer.
        cutoffs: The cutoffs as a list.

    Raises:
        InvalidTypeError: If `classifier` is not a `RecurrentClassifier`, or another argument has a
            wrong type.
        InvalidValueError: If an argument has an invalid value.

    Example:
        >>> classifier = RecurrentClassifier(100, num_classes=4, hidden_size=16, bidirectional=True)
        >>> model = LanguageModel(classifier)
        >>> scores = model(torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]]), torch.tensor([4, 3]))
        >>> scores[:, 1].tolist()
        [6.0, 4.0]
        >>> 80 < perplexity(scores) < 120  # untrained, all of 100 words are about as probable
        True
    """

    def __init__(
        self,
        classifier: RecurrentClassifier,
        *,
        dropout: float = 0.1,
        cutoffs: Iterable[int] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(classifier, RecurrentClassifier):
            raise InvalidTypeError(expected("classifier", "a RecurrentClassifier", classifier))
        self.vocab_size = classifier.vocab_size
        self.padding_id = classifier.padding_id
        self.cutoffs = _check_cutoffs(cutoffs, self.vocab_size)
        self.embedding = classifier.embedding
        self.embedding_dropout = classifier.embedding_dropout
        self.encoder = _causal_layers(classifier.encoder)
        self.dropout = LockedDropout(
            check_float("dropout", dropout, minimum=0.0, maximum=1.0),
            generator=classifier.generator,
        )
        weight = self.embedding.weight
        features, hidden = weight.shape[1], self.encoder.hidden_size
        self.projection: nn.Module = nn.Identity()
        if hidden != features:
            with first_weights_from(classifier.generator):
                self.projection = nn.Linear(hidden, features, bias=False, dtype=torch.float32)
        # The head predicts a frequent word, or the group of a rare one.
        groups = len(self.cutoffs)
        self.groups = nn.Parameter(torch.zeros(groups, features))
        self.bias = nn.Parameter(torch.zeros((*self.cutoffs, self.vocab_size)[0] + groups))
        self.group_projections = nn.Parameter(torch.eye(features).repeat(groups, 1, 1))
        self.to(weight)  # device and type
        # In a tuple, so that its own weights are not registered: `_losses` passes others.
        self._softmax = (
            (
                nn.AdaptiveLogSoftmaxWithLoss(
                    features, self.vocab_size, self.cutoffs, 1.0, head_bias=True, device="meta"
                ),
            )
            if self.cutoffs
            else ()
        )

    def forward(self, input_ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the negative log-likelihood of each text.

        Args:
            input_ids: Token ids, int64 or int32, `(batch, time)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`,
                preferably on the CPU; None counts up to the last id that is not padding.
                Default: None.

        Returns:
            For each text the sum of the negative log-probabilities of its tokens in both
            directions, and the number of predicted tokens, fp32 `(batch, 2)`.

        Raises:
            InvalidTypeError: If `input_ids` or `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, an id (on the CPU) or a length is out of
                range, or a text has only padding and no given length.
        """
        input_ids, lengths = check_batch(
            input_ids, lengths, vocab_size=self.vocab_size, padding_id=self.padding_id
        )  # (batch, time) and (batch,)
        embedded = self.embedding_dropout(self.embedding(input_ids.t()).transpose(0, 1))
        states = self.dropout(self.encoder(embedded, lengths))  # (batch, time, directions * hidden)
        batch, time = input_ids.shape
        # Of each pair of neighbours, one is read and the other one predicted.
        pairs = torch.arange(time - 1) < lengths.unsqueeze(1) - 1  # (batch, time - 1)
        text, first = (each.to(states.device) for each in pairs.nonzero(as_tuple=True))  # (pairs,)
        if self.encoder.bidirectional:
            forward, backward = states.chunk(2, 2)  # (batch, time, hidden) each
            known = torch.cat((forward[text, first], backward[text, first + 1]))
            wanted = torch.cat((input_ids[text, first + 1], input_ids[text, first]))
            text = text.repeat(2)
        else:
            known, wanted = states[text, first], input_ids[text, first + 1]
        losses = self._losses(known, wanted)  # (predictions,)
        totals = losses.new_zeros(batch).index_add(0, text, losses)  # (batch,)
        counts = ((lengths - 1) * (states.shape[2] // self.encoder.hidden_size)).to(totals)
        return torch.stack((totals, counts), 1)  # (batch, 2)

    def _losses(self, states: Tensor, wanted: Tensor) -> Tensor:
        """Return the negative log-probability of each wanted token."""
        # Under autocast, the adaptive softmax of a CPU would mix two types.
        with torch.autocast(states.device.type, enabled=False):
            states, wanted = self.projection(states.float()), wanted.long()
            bounds = (0, *self.cutoffs, self.vocab_size)
            sizes = [end - begin for begin, end in pairwise(bounds)]
            # Split once, since each slice would have a gradient of the whole embedding.
            words = list(torch.split_with_sizes(self.embedding.weight, sizes))
            block = sum(self.padding_id >= cutoff for cutoff in self.cutoffs)
            # Padding is never predicted, and its embedding gets no gradient.
            words[block] = words[block].index_fill(
                0, wanted.new_tensor([self.padding_id - bounds[block]]), 0.0
            )
            head = torch.cat((words[0], self.groups))  # (frequent words + groups, features)
            if self._softmax:
                weights = {"head.weight": head, "head.bias": self.bias}
                for group, projection in enumerate(self.group_projections):
                    weights[f"tail.{group}.0.weight"] = projection
                    weights[f"tail.{group}.1.weight"] = words[group + 1]
                losses: Tensor = -functional_call(self._softmax[0], weights, (states, wanted))[0]
            else:
                logits = functional.linear(states, head, self.bias)  # (predictions, words)
                losses = functional.cross_entropy(logits, wanted, reduction="none")
            # Distributed training needs a gradient of every weight, even if no word of a group
            # occurs in a batch.
            return losses + 0.0 * self.group_projections.sum()  # (predictions,)


def perplexity(scores: Tensor) -> float:
    """Return the perplexity of a language model on some texts.

    Args:
        scores: Scores of a `LanguageModel`, `(texts, 2)`.

    Returns:
        The exponential of the mean negative log-probability of a token: infinity if it overflows,
        and 1 if no token was predicted.

    Example:
        >>> scores = torch.tensor([[6 * 2.302585, 6], [0.0, 2]])
        >>> round(perplexity(scores), 2)  # probability 1 / 10 for six tokens, 1 for two tokens
        5.62
    """
    total, count = scores.detach().double().cpu().sum(0)
    return float((total / count.clamp(min=1)).exp())


def _check_cutoffs(cutoffs: Iterable[int] | None, vocab_size: int) -> list[int]:
    """Return checked cutoffs, or the default ones."""
    if cutoffs is None:
        halves = []
        while (vocab_size := vocab_size // 2) >= _MIN_SHORTLIST:
            halves.append(vocab_size)
        return halves[::-1]
    rule = f"ascending ids from 1 to {vocab_size - 1}"
    if not isinstance(cutoffs, Iterable):
        raise InvalidTypeError(expected("cutoffs", rule, cutoffs))
    checked = [check_int(f"cutoffs[{i}]", cutoff) for i, cutoff in enumerate(cutoffs)]
    if checked != sorted(set(checked)) or (checked and checked[-1] >= vocab_size):
        raise InvalidValueError(expected("cutoffs", rule, cutoffs))
    return checked


def _causal_layers(encoder: RecurrentEncoder) -> RecurrentEncoder:
    """Return the layers of an encoder whose states depend only on one side of a token."""
    if not encoder.bidirectional or encoder.num_layers == 1:
        return encoder
    first = RecurrentEncoder(
        encoder.input_size,
        encoder.hidden_size,
        cell=encoder.cell,
        bidirectional=True,
        generator=encoder.generator,
    )
    for name, _ in list(first.rnn.named_parameters()):
        setattr(first.rnn, name, getattr(encoder.rnn, name))
    return first
