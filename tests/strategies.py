"""Hypothesis strategies shared by the tests, each with an example of what it draws."""

import torch
from hypothesis import strategies as st
from torch import Tensor


def _logits(draw: st.DrawFn, rows: int, columns: int) -> tuple[Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    logits = torch.randn(rows, columns, generator=generator) * draw(st.sampled_from([1.0, 9.0]))
    return logits.round() if draw(st.booleans()) else logits, generator  # rounded ones have ties


@st.composite
def classified_texts(
    draw: st.DrawFn, *, min_classes: int = 2, distinct: bool = False
) -> tuple[Tensor, Tensor]:
    """Draw logits and a class id for each text; `distinct` logits of a text differ.

    Example: ``(tensor([[0.5, -2.0, 0.5], [1.0, 0.0, 3.0]]), tensor([0, 2]))``
    """
    num_texts, num_classes = draw(st.integers(1, 40)), draw(st.integers(min_classes, 6))
    logits, generator = _logits(draw, num_texts, num_classes)
    if distinct:
        logits = logits.argsort(dim=1).float()
    known = draw(st.integers(1, num_classes))  # the other classes never occur
    return logits, torch.randint(0, known, (num_texts,), generator=generator)


@st.composite
def labelled_texts(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Draw logits and a zero or one for each text and label.

    Example: ``(tensor([[0.5, -2.0], [0.0, 3.0]]), tensor([[1, 0], [0, 0]]))``
    """
    num_texts, num_labels = draw(st.integers(1, 40)), draw(st.integers(1, 5))
    logits, generator = _logits(draw, num_texts, num_labels)
    frequency = draw(st.sampled_from([0.0, 0.2, 0.5, 1.0]))
    return logits, (torch.rand(logits.shape, generator=generator) < frequency).long()
