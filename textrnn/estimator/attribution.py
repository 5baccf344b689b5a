"""Divide the logits of texts among their words."""

from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray

from textrnn.estimator.batches import padded_batch
from textrnn.estimator.explanation import Explanation, Explanations
from textrnn.estimator.model import Model, logits_of
from textrnn.ngrams import BlendedClassifier
from textrnn.nn import RecurrentClassifier
from textrnn.runtime.batches import batches_by_length
from textrnn.runtime.ngrams import Ngrams
from textrnn.text.spelling import UnknownWords

__all__ = ["explain", "integrated_gradients"]

_STEPS = 32  # of the integral
_MAX_IDS = 16_384  # in a batch, whose activations are all kept


def explain(
    model: Model, texts: list[str], label_id: int | None, limits: NDArray[np.float64]
) -> Explanations:
    """Explain the logit of a label for each text; None is the label that suits the text best.

    `limits` are the probabilities above which a text has a label, for multi-label data.
    """
    ids, lengths, unknown = model.encode(texts)
    logits = logits_of(model.network, ids, lengths, unknown).numpy()  # (texts, labels)
    probabilities = model.labels.probabilities(logits)
    if not model.labels.multi_label:
        limits = np.zeros_like(limits)
    targets = np.argmax(probabilities - limits, axis=1)  # (texts,)
    best = targets
    if label_id is not None:
        targets = np.full(len(texts), label_id)
    biases, parts = _contributions(model, ids, lengths, targets, unknown)
    explanations = []
    starts = lengths.cumsum() - lengths  # (texts,)
    for row, (text, target) in enumerate(zip(texts, targets.tolist(), strict=True)):
        words = tuple(model.tokenizer(text))
        own = parts[starts[row] : starts[row] + lengths[row]]  # (tokens,)
        weights = np.zeros(len(words))  # words beyond the maximum length have none
        weights[: len(own) - 2] = own[1:-1]
        # What `<bos>` and `<eos>` contribute depends on no word.
        bias, logit = float(biases[row] + own[0] + own[-1]), float(logits[row, target])
        probability = float(probabilities[row, target])
        several = model.labels.multi_label
        explanations.append(
            Explanation(
                label=model.labels.names[target],
                predicted=bool(probability > limits[target] if several else target == best[row]),
                probability=probability,
                logit=logit,
                bias=bias,
                residual=logit - bias - float(weights.sum()),
                words=words,
                weights=tuple(weights.tolist()),
            )
        )
    return Explanations(explanations)


def _contributions(
    model: Model,
    ids: NDArray[np.int32],
    lengths: NDArray[np.int64],
    targets: NDArray[np.int64],
    unknown: UnknownWords,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return biases `(texts,)` and contributions of all tokens, `(total,)`."""
    network, ngrams = model.network, model.ngrams
    shares = network.scales.tolist() if isinstance(network, BlendedClassifier) else [1.0, 1.0]
    biases, parts = np.zeros(len(lengths)), np.zeros(len(ids))
    if shares[0] and model.recurrent is not None:
        unk_id = model.vocabulary.unk_id
        found = integrated_gradients(model.recurrent, ids, lengths, targets, unk_id=unk_id)
        biases += shares[0] * found[0]
        parts += shares[0] * found[1]
    if ngrams is not None:
        state = ngrams.state_dict().items()
        linear = Ngrams(ngrams.config, {name: each.cpu().numpy() for name, each in state})
        biases += shares[1] * linear.bias[targets]
        parts += shares[1] * linear.contributions(ids, lengths, targets, unknown)
    return biases, parts


def integrated_gradients(
    network: RecurrentClassifier,
    ids: NDArray[np.int32],
    lengths: NDArray[np.int64],
    targets: NDArray[np.int64],
    *,
    unk_id: int,
    steps: int = _STEPS,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return logits of texts of unknown words, `(texts,)`, and what each token adds, `(total,)`.

    The gradient of a logit is integrated along the straight line from the embedding of `<unk>` to
    that of each word (Sundararajan et al., "Axiomatic Attribution for Deep Networks", 2017).
    """
    starts = lengths.cumsum() - lengths  # (texts,)
    hidden = np.full_like(ids, unk_id)
    for edge in (starts, starts + lengths - 1):  # `<bos>` and `<eos>` stay
        hidden[edge] = ids[edge]
    bases = logits_of(network, hidden, lengths).double().numpy()
    added = np.zeros(len(ids))
    points, shares = np.polynomial.legendre.leggauss(steps)  # Gauss-Legendre, from -1 to 1
    with torch.inference_mode(mode=False), torch.enable_grad():
        network = _differentiable(network)
        weight = network.embedding.weight
        along = torch.from_numpy((points + 1) / 2).to(weight)
        factors = torch.from_numpy(shares / 2).to(weight)
        for rows in batches_by_length(lengths, max_ids=_MAX_IDS, max_texts=_MAX_IDS):
            first, sizes = starts[rows], lengths[rows]
            batch, counts = padded_batch(ids, first, sizes, network.padding_id)
            masked, _ = padded_batch(hidden, first, sizes, network.padding_id)
            # Time first, so that the embeddings of each step are contiguous in memory.
            base = network.embedding(masked.t().to(weight.device)).unsqueeze(1)
            change = network.embedding(batch.t().to(weight.device)).unsqueeze(1) - base
            classes = torch.from_numpy(targets[rows]).to(weight.device)  # (batch,)
            total = torch.zeros_like(change[:, 0])  # (time, batch, embedding)
            size = max(_MAX_IDS // batch.numel(), 1)
            for start in range(0, steps, size):
                near, share = along[start : start + size], factors[start : start + size]
                count = len(near)
                # The shape is (time, steps, batch, embedding).
                inputs = base + near.view(1, -1, 1, 1) * change
                inputs.requires_grad_()
                logits = network.forward_embeddings(
                    inputs.flatten(1, 2).transpose(0, 1), counts.repeat(count)
                )  # (steps * batch, classes)
                chosen = logits.gather(1, classes.repeat(count).unsqueeze(1)).sum()
                (slopes,) = torch.autograd.grad(chosen, inputs)
                total += torch.einsum("tsbe,s->tbe", slopes, share)
            sums = (total * change.squeeze(1)).sum(dim=2, dtype=torch.float64).t()  # (batch, time)
            real = np.arange(batch.shape[1]) < sizes[:, np.newaxis]  # (batch, time)
            places = first[:, np.newaxis] + np.arange(batch.shape[1])
            added[places[real]] = sums.cpu().numpy()[real]
    return bases[np.arange(len(targets)), targets], added


def _differentiable(network: RecurrentClassifier) -> RecurrentClassifier:
    """Return a copy of a network without dropout that has gradients of embeddings alone."""
    copy = deepcopy(network).eval().requires_grad_(requires_grad=False)
    # cuDNN computes gradients of recurrent layers only in training mode, here without dropout.
    copy.encoder.rnn.dropout = 0.0
    copy.encoder.rnn.train()
    copy.encoder.rnn.flatten_parameters()
    return copy
