"""The language model: exact probabilities, no leaks, no dependence on padding."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from torch import nn

from tests import strategies
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.nn import LanguageModel, RecurrentClassifier, perplexity

VOCAB = 12


def make(*, vocab_size: int = VOCAB, seed: int = 0, **settings: object) -> RecurrentClassifier:
    """Return a small classifier in evaluation mode."""
    torch.manual_seed(seed)
    settings = {"num_classes": 2, "hidden_size": 6, "bidirectional": True} | settings
    return RecurrentClassifier(vocab_size, **settings).eval()


def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch of texts and their lengths."""
    tensors = [torch.tensor(row) for row in rows]
    lengths = torch.tensor([len(row) for row in rows])
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True), lengths


def by_hand(model: LanguageModel, row: list[int]) -> float:
    """Compute a text's score from single steps of the cells and one plain softmax."""
    weight = model.embedding.weight.detach().clone()
    rnn = model.encoder.rnn
    total = 0.0
    for suffix, tokens in (("", row), ("_reverse", row[::-1])):
        cell = nn.GRUCell(rnn.input_size, rnn.hidden_size)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).data = getattr(rnn, f"{name}_l0{suffix}").data
        state = None
        for token, target in pairwise(tokens):
            state = cell(weight[[token]], state)
            logits = (state @ weight.T + model.bias)[0]
            total -= float(logits.log_softmax(0)[target])
    return total


@given(strategies.ragged_ids(vocab_size=VOCAB))
def test_scores_are_those_of_single_steps(rows):
    """Scores equal those of single cell steps in both directions, with any padding."""
    model = LanguageModel(make()).eval()
    nn.init.normal_(model.bias)
    with torch.no_grad():
        scores = model(*padded(rows))
        for row, (total, count) in zip(rows, scores.tolist(), strict=True):
            assert count == 2 * (len(row) - 1)
            assert total == pytest.approx(by_hand(model, row), abs=1e-4)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_no_token_is_predicted_from_itself(cell, bidirectional, num_layers):
    """A forward state depends on no later token, a backward state on no earlier one."""
    model = LanguageModel(
        make(cell=cell, bidirectional=bidirectional, num_layers=num_layers, embedding_size=6)
    ).eval()
    ids, lengths = torch.tensor([[2, 5, 3]]), torch.tensor([3])
    inputs = model.embedding(ids).detach().requires_grad_()
    states = model.encoder(inputs, lengths)
    hidden = model.encoder.hidden_size
    for step in range(3):
        (forward,) = torch.autograd.grad(states[0, step, :hidden].sum(), inputs, retain_graph=True)
        assert forward[0, step + 1 :].abs().sum() == 0
        if bidirectional:
            backward = torch.autograd.grad(
                states[0, step, hidden:].sum(), inputs, retain_graph=True
            )[0]
            assert backward[0, :step].abs().sum() == 0


def test_random_tokens_can_not_be_predicted():
    """After training on random tokens, the perplexity on others stays near chance."""
    generator = torch.Generator().manual_seed(0)
    ids, fresh = (torch.randint(2, VOCAB, (64, 6), generator=generator) for _ in range(2))
    lengths = torch.full((64,), 6)
    for settings in ({}, {"num_layers": 2}, {"bidirectional": False, "num_layers": 2}):
        model = LanguageModel(make(**settings), dropout=0.0)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(30):
            optimizer.zero_grad()
            scores = model(ids, lengths)
            (scores[:, 0].sum() / scores[:, 1].sum()).backward()
            optimizer.step()
        assert perplexity(model(fresh, lengths)) > VOCAB - 2.5


def test_a_pattern_is_learned():
    """A deterministic sequence is predicted with a perplexity near 1."""
    ids = (torch.arange(12) + torch.arange(6).unsqueeze(1)) % 6 + 4
    model = LanguageModel(make(hidden_size=16), dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(40):
        optimizer.zero_grad()
        scores = model(ids)
        (scores[:, 0].sum() / scores[:, 1].sum()).backward()
        optimizer.step()
    assert perplexity(model(ids)) < 1.2


@pytest.mark.parametrize("cutoffs", [[4], [3, 9], [1, 2, 3], [11]])
@pytest.mark.parametrize("embedding_size", [6, 4])
def test_an_adaptive_softmax_is_a_distribution(cutoffs, embedding_size):
    """The probabilities of all words but padding and of padding itself sum to 1."""
    model = LanguageModel(
        make(bidirectional=False, embedding_size=embedding_size), cutoffs=cutoffs
    ).eval()
    nn.init.normal_(model.groups)
    nn.init.normal_(model.bias)
    ids = torch.stack((torch.full((VOCAB,), 5), torch.arange(VOCAB)), 1)
    scores = model(ids, torch.full((VOCAB,), 2))
    assert float((-scores.detach()[:, 0]).exp().sum()) == pytest.approx(1, abs=1e-5)


def test_an_adaptive_softmax_is_pytorchs_with_tied_weights():
    """Its likelihoods are those of `torch.nn.AdaptiveLogSoftmaxWithLoss` over the same weights."""
    classifier = make(bidirectional=False)
    model = LanguageModel(classifier, cutoffs=[4, 9]).eval()
    nn.init.normal_(model.groups)
    nn.init.normal_(model.bias)
    nn.init.normal_(model.group_projections)
    softmax = nn.AdaptiveLogSoftmaxWithLoss(6, VOCAB, [4, 9], 1.0, head_bias=True)
    words = classifier.embedding.weight.detach()
    softmax.head.weight.data = torch.cat((words[:4], model.groups.detach()))
    softmax.head.bias.data = model.bias.detach()
    for group, (begin, end) in enumerate(((4, 9), (9, VOCAB))):
        softmax.tail[group][0].weight.data = model.group_projections[group].detach()
        softmax.tail[group][1].weight.data = words[begin:end]
    ids = torch.tensor([[2, 5, 10, 7, 1, 11, 3]])
    states = classifier.encoder(classifier.embedding(ids), torch.tensor([7]))[0, :-1]
    expected = -softmax(states, ids[0, 1:]).output.sum()
    torch.testing.assert_close(model(ids)[0, 0], expected)


@pytest.mark.parametrize("cutoffs", [[], [4], [2, 6]])
@pytest.mark.parametrize("padding_id", [0, 5])
def test_padding_stays_zero(cutoffs, padding_id):
    """The embedding of padding gets no gradient, neither as input nor as output."""
    classifier = make(padding_id=padding_id)
    model = LanguageModel(classifier, cutoffs=cutoffs)
    ids = torch.tensor([[2, 7, 9, 3], [2, 8, padding_id, padding_id]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(ids, torch.tensor([4, 2]))[:, 0].sum().backward()
        optimizer.step()
    assert (classifier.embedding.weight[padding_id] == 0).all()
    assert (classifier.embedding.weight.grad[[2, 3, 7, 8, 9]] != 0).any(1).all()


def test_ids_at_padding_change_nothing():
    """Ids after the end of a text do not affect its score."""
    model = LanguageModel(make(), cutoffs=[4]).eval()
    lengths = torch.tensor([4, 2])
    one = model(torch.tensor([[2, 7, 9, 3], [2, 8, 0, 0]]), lengths)
    other = model(torch.tensor([[2, 7, 9, 3, 1], [2, 8, 11, 6, 5]]), lengths)
    assert torch.equal(one, other)


def test_embedding_and_encoder_are_the_classifiers():
    """The model shares the classifier's embedding and encoder, but not its head."""
    classifier = make(embedding_size=4)
    model = LanguageModel(classifier)
    shared = {id(weight) for weight in classifier.parameters()}
    trained = {name for name, weight in model.named_parameters() if id(weight) in shared}
    assert model.embedding is classifier.embedding
    assert model.encoder is classifier.encoder
    assert len(trained) == 1 + 8
    assert {name for name, _ in model.named_parameters()} - trained == {
        "bias",
        "group_projections",
        "groups",
        "projection.weight",
    }


def test_only_the_first_bidirectional_layer_is_trained():
    """Only the first layer of a bidirectional encoder is trained, with shared weights."""
    classifier = make(num_layers=2)
    before = copy.deepcopy(classifier.state_dict())
    model = LanguageModel(classifier, dropout=0.0)
    assert model.encoder.num_layers == 1
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    ids = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]])
    model(ids, torch.tensor([4, 3]))[:, 0].sum().backward()
    optimizer.step()
    changed = {
        name
        for name, value in classifier.state_dict().items()
        if not torch.equal(value, before[name])
    }
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    first = {f"encoder.rnn.{kind}_l0{way}" for kind in kinds for way in ("", "_reverse")}
    assert changed == first | {"embedding.weight"}
    states = classifier.encoder(classifier.embedding(ids), torch.tensor([4, 3]))
    assert states.shape == (2, 4, 12)


def test_one_direction_is_trained_in_all_layers():
    """Every layer of a forward encoder gets a gradient."""
    classifier = make(num_layers=3, bidirectional=False)
    model = LanguageModel(classifier)
    assert model.encoder is classifier.encoder
    scores = model(torch.tensor([[2, 7, 9, 3]]))
    assert scores[0, 1] == 3
    scores[:, 0].sum().backward()
    assert all(bool((w.grad != 0).any()) for w in classifier.encoder.parameters())


@pytest.mark.parametrize("cutoffs", [[], [4], [4, 9]])
def test_every_weight_gets_a_gradient(cutoffs):
    """All weights have gradients even if no word of a group, or no word, occurs."""
    for row in ([2, 3, 2], [5]):
        model = LanguageModel(make(embedding_size=4), cutoffs=cutoffs)
        model(torch.tensor([row]), torch.tensor([len(row)]))[:, 0].sum().backward()
        assert all(weight.grad is not None for weight in model.parameters())


def test_dropout_acts_in_training_alone():
    """Dropout of embeddings and of states acts in training mode only."""
    ids = torch.tensor([[2, 7, 9, 3]])
    for settings, dropout in (({"embedding_dropout": 0.5}, 0.0), ({}, 0.5)):
        model = LanguageModel(make(**settings), dropout=dropout)
        assert torch.equal(model.eval()(ids), model(ids))
        assert not torch.equal(model.train()(ids), model(ids))


def test_texts_with_nothing_to_predict_have_no_score():
    """Single tokens and empty batches have zero scores, and gradients."""
    for cutoffs in ([], [4]):
        model = LanguageModel(make(), cutoffs=cutoffs)
        scores = model(torch.tensor([[5], [6]]), torch.tensor([1, 1]))
        assert scores.tolist() == [[0, 0], [0, 0]]
        scores.sum().backward()
        assert perplexity(scores) == 1
        empty = model(torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
        assert empty.shape == (0, 2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
@pytest.mark.parametrize("cutoffs", [[], [4]])
def test_half_precision_is_close(dtype, tolerance, cutoffs):
    """Under autocast scores are in fp32 and near those of full precision."""
    model = LanguageModel(make(), cutoffs=cutoffs).eval()
    ids = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]])
    exact = model(ids)
    with torch.autocast("cpu", dtype):
        scores = model(ids)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, exact, rtol=tolerance, atol=tolerance)


def test_int32_ids_are_accepted():
    """int32 ids give the scores of int64 ids."""
    model = LanguageModel(make(), cutoffs=[4]).eval()
    ids = torch.tensor([[2, 7, 9, 3]])
    assert torch.equal(model(ids.int()), model(ids))


@pytest.mark.parametrize(
    ("vocab_size", "cutoffs"),
    [
        (999, []),
        (1000, [500]),
        (10_000, [625, 1250, 2500, 5000]),
        (24_001, [750, 1500, 3000, 6000, 12_000]),
    ],
)
def test_cutoffs_grow_with_the_vocabulary(vocab_size, cutoffs):
    """Default cutoffs halve a large vocabulary, and a small one has none."""
    model = LanguageModel(make(vocab_size=vocab_size))
    assert model.cutoffs == cutoffs
    weights = sum(w.numel() for name, w in model.named_parameters() if "." not in name)
    assert weights == (cutoffs or [vocab_size])[0] + (1 + 6 + 36) * len(cutoffs)
    assert all(weight.device.type == "cpu" for weight in model.parameters())


def test_a_copy_is_a_model_of_its_own():
    """A deep copy gives the same scores and shares no weights."""
    model = LanguageModel(make(), cutoffs=[4]).eval()
    twin = copy.deepcopy(model)
    ids = torch.tensor([[2, 7, 9, 3]])
    assert torch.equal(twin(ids), model(ids))
    with torch.no_grad():
        model.embedding.weight += 1
    assert not torch.equal(twin(ids), model(ids))


def test_perplexity_weighs_tokens():
    """Perplexity weights texts by their tokens, and overflows to infinity."""
    scores = torch.tensor([[math.log(4) * 3, 3], [math.log(2), 1]])
    assert perplexity(scores) == pytest.approx(4**0.75 * 2**0.25)
    assert perplexity(torch.tensor([[1e6, 1.0]])) == math.inf


def test_wrong_arguments_are_errors():
    """The message names the wrong argument."""
    with pytest.raises(InvalidTypeError, match="`classifier` to be a RecurrentClassifier"):
        LanguageModel(nn.Linear(2, 2))
    with pytest.raises(InvalidValueError, match="`dropout` to be a number from 0 to 1"):
        LanguageModel(make(), dropout=1.5)
    with pytest.raises(InvalidTypeError, match="`cutoffs` to be ascending ids from 1 to 11"):
        LanguageModel(make(), cutoffs=4)
    with pytest.raises(InvalidTypeError, match=r"`cutoffs\[0\]` to be a positive integer"):
        LanguageModel(make(), cutoffs="4")
    for wrong in ([4, 4], [5, 4], [12]):
        with pytest.raises(InvalidValueError, match="`cutoffs` to be ascending ids from 1 to 11"):
            LanguageModel(make(), cutoffs=wrong)
    model = LanguageModel(make())
    with pytest.raises(InvalidTypeError, match="`input_ids` to be an int64 or int32 tensor"):
        model([[2, 3]])
    with pytest.raises(InvalidTypeError, match="`input_ids` to be an int64 or int32 tensor"):
        model(torch.ones(1, 2))
    with pytest.raises(InvalidValueError, match=r"`input_ids` to be of shape \(batch, time\)"):
        model(torch.tensor([2, 3]))
    for wrong in (-1, 12):
        with pytest.raises(InvalidValueError, match="`input_ids` to be from 0 to 11"):
            model(torch.tensor([[2, wrong]]), torch.tensor([2]))
    with pytest.raises(InvalidValueError, match="`lengths` to be from 1 to 2"):
        model(torch.tensor([[2, 3]]), torch.tensor([3]))
    with pytest.raises(InvalidValueError, match="a token in each text"):
        model(torch.tensor([[0, 0]]))


@pytest.mark.cuda
def test_a_gpu_scores_as_a_cpu_does():
    """A GPU gives the scores of a CPU, with and without an adaptive softmax."""
    ids = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]])
    for settings in ({}, {"num_layers": 2}, {"bidirectional": False}):
        for cutoffs in ([], [4]):
            model = LanguageModel(make(**settings), cutoffs=cutoffs).eval()
            expected = model(ids)
            scores = model.cuda()(ids.cuda(), torch.tensor([4, 3]))
            torch.testing.assert_close(scores.cpu(), expected, rtol=1e-4, atol=1e-4)
