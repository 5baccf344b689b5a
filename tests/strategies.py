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


# What the tokenizers must get right: NLTK's contractions, quotation marks and dashes, characters
# that change with case or context, white space of every kind, marks, lone surrogates, accents in
# either form and invisible characters.
_TRICKY = [
    *("cannot", "gimme", "gonna", "gotta", "lemme", "wanna", "Cannot", "GONNA", "can", "not"),
    *("G\u0130MME", "g\u0131mme", "\u00ab", "\u201c", "\u2018", "\u201e", "\u00bb", "\u201d"),
    *("\u2019", "\u2011", "\u2012", "\u2015", "\u2016", " ", "\t", "\r\n", "\x85", "\u3000"),
    *("\x1c", "\x00", "\u0301", "\ud83d", "\ude00", "\U0001f600", "\u017f", "\u212a", "\u03a3"),
    *("\u00ad", "\u200d", "\ufe0f", "e\u0301", "\u00e9", "\u0645", "\u200c", "\u0e01"),
    *("\u00df", "\u200b", "\ufeff", "'", "''", '"', "`", "n't", "d'ye", "more'n", " 'tis", "'s"),
    *("\u597d", "\u30fc", "\uff76\uff9e", "\u0e01\u0e33", "\u1780\u17d2\u1781", "\u1039", "\u0e53"),
    *("\U0001f1ef", "\U0001f44d", "\U0001f3fd", "1\ufe0f\u20e3", "\u2764", "\xa9", "\uff21"),
    *(".", "...", "!", "--", "|", "_", "(", "]", "%", ",", ":", "1", "\xff", "a", "b"),
]


def texts(max_size: int = 12) -> st.SearchStrategy[str]:
    r"""Draw texts of any characters, rich in what a tokenizer may stumble over.

    Example: ``"gonna\\x85\u201ecannot\ud83d 1x"``
    """
    anything = st.text(st.characters(exclude_categories=()), max_size=4)
    pieces = st.sampled_from(_TRICKY) | anything
    return st.lists(pieces, max_size=max_size).map("".join)


def token_lists() -> st.SearchStrategy[list[list[str]]]:
    r"""Draw some texts' tokens, many of which occur several times.

    Example: ``[["b", "a", "b"], [], ["<unk>", "\ud83d"]]``
    """
    tokens = st.sampled_from(["a", "b", "oil", "<unk>", "<pad>", "", "\ud83d", "\ud83d\ude00"])
    return st.lists(st.lists(tokens | st.text(st.characters(exclude_categories=()), max_size=2)))


@st.composite
def ragged_ids(draw: st.DrawFn, *, vocab_size: int = 12, max_length: int = 9) -> list[list[int]]:
    """Draw the token ids of one to six texts, none of them empty, id 0 kept for padding.

    Example: ``[[5, 3], [7], [1, 1, 4]]``
    """
    text = st.lists(st.integers(1, vocab_size - 1), min_size=1, max_size=max_length)
    return draw(st.lists(text, min_size=1, max_size=6))


def label_lists() -> st.SearchStrategy[list]:
    """Draw labels that differ and that JSON can hold.

    Example: ``["spam", 3, ("a", 0.5)]``
    """
    plain = st.one_of(st.text(max_size=4), st.booleans(), st.integers(), st.floats(allow_nan=False))
    tuples = st.lists(plain, max_size=2).map(tuple)
    different = (lambda label: label, str)  # equal labels and those written alike are refused
    return st.lists(st.one_of(plain, tuples), min_size=1, max_size=8, unique_by=different)


def json_values() -> st.SearchStrategy:
    """Draw what JSON can hold, sizes that no memory has included.

    Example: ``{"a": [None, 1000000000]}``
    """
    plain = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([-1, 0, 1, 2**31, 10**9, 10**18, 10**30]),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=4),
    )
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=4,
    )


@st.composite
def mutations(draw: st.DrawFn, value: object) -> object:
    """Draw JSON data like `value` with one change somewhere in it.

    Example: ``{"a": [1, 2]}`` may give ``{"a": [1, 1000000000]}``
    """
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        changed = dict(value)
        del changed[key]
        kind = draw(st.sampled_from(["inside", "inside", "inside", "drop", "rename"]))
        if kind == "rename":
            changed[draw(st.text(max_size=4))] = value[key]
        elif kind == "inside":
            changed[key] = draw(mutations(value[key]))
        return changed
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        place = draw(st.integers(0, len(value) - 1))
        kind = draw(st.sampled_from(["inside", "inside", "drop", "double"]))
        middle = {
            "inside": [draw(mutations(value[place]))],
            "drop": [],
            "double": [value[place]] * 2,
        }
        return [*value[:place], *middle[kind], *value[place + 1 :]]
    return draw(json_values())


@st.composite
def configurations(draw: st.DrawFn, *, max_size: int = 4) -> tuple[dict, dict | None]:
    """Draw the arguments of a recurrent network, and of n-grams beside it or None.

    Example: ``({"vocab_size": 9, "num_classes": 2, "cell": "gru", ...}, None)``
    """
    sizes = st.integers(1, max_size)
    shared = {"vocab_size": draw(st.integers(4, 12)), "num_classes": draw(sizes), "padding_id": 0}
    poolings = st.sampled_from(["max", "mean", "last", "attention"])
    layers = draw(st.integers(1, 2))
    network = {
        **shared,
        "cell": draw(st.sampled_from(["rnn", "gru", "lstm"])),
        "hidden_size": draw(sizes),
        "embedding_size": draw(sizes),
        "num_layers": layers,
        "bidirectional": draw(st.booleans()),
        "pooling": draw(poolings | st.lists(poolings, min_size=1, unique=True)),
        "dropout": draw(st.sampled_from([0, 0.5, 1.0])),
        "embedding_dropout": 0.25,
        "layer_dropout": draw(st.sampled_from([0.0, 0.5])) if layers > 1 else 0.0,
    }
    ngrams = {
        **shared,
        "num_ngrams": draw(st.integers(1, 20)),
        "max_order": draw(st.integers(1, 3)),
        "num_char_ngrams": draw(st.integers(0, 20)),
        "vector_size": draw(st.sampled_from([0, network["embedding_size"]])),
    }
    return network, ngrams if draw(st.booleans()) else None
