"""The classifier's logits, configuration and checks; logits never depend on the batch."""

import copy
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests import strategies
from textrnn.errors import InvalidTypeError, InvalidValueError, MissingKeyError
from textrnn.nn import LanguageModel, RecurrentClassifier
from textrnn.nn.layers import Dropout

CELLS = ["rnn", "gru", "lstm"]
POOLINGS = ["max", "mean", "last", "attention", ("max", "last"), ("mean", "max", "attention")]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def _model(**arguments):
    return RecurrentClassifier(12, num_classes=3, **({"hidden_size": 5} | arguments))


def _pad(texts, extra=0):
    """Return the ids `(batch, time)` and lengths `(batch,)` of texts."""
    time = max(map(len, texts)) + extra
    ids = torch.tensor([text + [0] * (time - len(text)) for text in texts])
    return ids, torch.tensor([len(text) for text in texts])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@given(texts=strategies.ragged_ids(), extra=st.integers(0, 3), data=st.data())
@settings(max_examples=12)
def test_logits_depend_on_the_text_alone(cell, bidirectional, pooling, *, texts, extra, data):
    """A text's logits do not depend on other texts, their order or the amount of padding."""
    model = _model(cell=cell, bidirectional=bidirectional, pooling=pooling).eval()
    order = data.draw(st.permutations(range(len(texts))))
    with torch.no_grad():
        alone = torch.cat([model(*_pad([text])) for text in texts])
        together = model(*_pad([texts[i] for i in order], extra))
        derived = model(_pad([texts[i] for i in order], extra)[0])
    torch.testing.assert_close(together, alone[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(derived, together, atol=0, rtol=0)


def test_the_head_is_tanh_linear_dropout_tanh_linear():
    """The logits are those of the same layers written out by hand."""
    model = _model(hidden_size=6, embedding_size=4, pooling="mean").eval()
    ids = torch.tensor([[2, 7, 9, 3], [2, 8, 8, 3]])
    states, _ = model.encoder.rnn(model.embedding(ids).transpose(0, 1))
    hidden = model.head[1](states.mean(0).tanh())
    torch.testing.assert_close(model(ids), model.head[4](hidden.tanh()))
    assert [type(layer) for layer in model.head] == [
        nn.Tanh,
        nn.Linear,
        Dropout,
        nn.Tanh,
        nn.Linear,
    ]


DROPOUTS = {"dropout": 0.4, "embedding_dropout": 0.3, "num_layers": 2, "layer_dropout": 0.2}
TEXTS = _pad([[1, 2, 3], [4, 5, 6, 7], [8, 9]])


def _steps(model, count=3, precision=torch.float32):
    """Return the logits of some steps in training mode, and the gradients' sum."""
    outputs = []
    for _ in range(count):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
            logits = model(*TEXTS)
        logits.float().sum().backward()
        outputs.append(logits.detach().float())
    return torch.stack([*outputs, torch.full_like(outputs[0], model.embedding.weight.grad.sum())])


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_model_draws_from_its_own_generator(cell, bidirectional, precision):
    """Weights and dropout are those of a seeded global generator, which is left alone."""
    arguments = {"cell": cell, "bidirectional": bidirectional, "pooling": ("mean", "attention")}
    torch.manual_seed(5)
    expected = _model(**arguments, **DROPOUTS)
    outputs = _steps(expected, 1, precision)
    torch.manual_seed(6)
    before = torch.get_rng_state()
    model = _model(**arguments, **DROPOUTS, generator=torch.Generator().manual_seed(5))
    found = _steps(model, 1, precision)
    assert torch.equal(torch.get_rng_state(), before)
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    if precision is torch.float32 or cell != "lstm":
        torch.testing.assert_close(found, outputs)
    assert model.generator is not None


def test_threads_draw_the_same_from_equal_seeds():
    """Models made and trained at once get the very numbers that one alone gets."""

    def run(_):
        model = _model(**DROPOUTS, generator=torch.Generator().manual_seed(5))
        language_model = LanguageModel(model, dropout=0.4)
        return torch.cat([_steps(model, 20).flatten(), language_model(*TEXTS).detach().flatten()])

    alone = run(0)
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(each, alone) for each in pool.map(run, range(8)))


def test_a_generator_can_be_exchanged_and_is_copied_with_the_model():
    """A copy goes on by itself, and None draws from the global generator."""
    model = _model(**DROPOUTS, generator=torch.Generator().manual_seed(5))
    twin = copy.deepcopy(model)
    first = _steps(model)
    assert torch.equal(_steps(twin), first)
    assert twin.generator is twin.head[2].generator is twin.embedding_dropout.generator
    model.zero_grad()
    model.generator = torch.Generator().manual_seed(7)
    second = _steps(model)
    assert not torch.equal(first, second)
    for generator in (torch.Generator().manual_seed(7), None):
        torch.manual_seed(7)
        model.zero_grad()
        model.generator = generator
        assert torch.equal(_steps(model), second)
    with pytest.raises(InvalidTypeError, match=r"`generator` to be a torch\.Generator or None"):
        model.generator = 7


@needs_cuda
def test_a_generator_serves_on_every_device():
    """On a GPU as well, dropout follows the generator and leaves the global ones alone."""
    outputs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = _model(**DROPOUTS, bidirectional=True, generator=torch.Generator().manual_seed(5))
        before = torch.cuda.get_rng_state()
        outputs.append(_steps(model.cuda()))
        assert torch.equal(torch.cuda.get_rng_state(), before)
    assert torch.equal(*outputs)
    assert not torch.equal(outputs[0][0], outputs[0][1])


def test_initial_weights_are_those_of_plain_modules_with_smaller_embeddings():
    """With one seed, weights start as those of PyTorch's modules do, embeddings at a tenth."""
    torch.manual_seed(5)
    model = _model(hidden_size=6, embedding_size=4, num_layers=2, pooling=("max", "mean"))
    torch.manual_seed(5)
    plain = nn.ModuleList(
        [
            nn.Embedding(12, 4, padding_idx=0),
            nn.GRU(4, 6, 2),
            nn.Linear(12, 6),
            nn.Linear(6, 3),
        ]
    )
    with torch.no_grad():
        plain[0].weight.mul_(0.1)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_reach_every_token_but_padding(cell, bidirectional, pooling):
    """Embeddings of a text's tokens get a gradient; padding and absent tokens get none."""
    model = _model(cell=cell, bidirectional=bidirectional, pooling=pooling, hidden_size=32)
    model(*_pad([[3, 4, 5], [6]], extra=2)).sum().backward()
    reached = model.embedding.weight.grad.abs().sum(1) > 0
    assert reached.nonzero().flatten().tolist() == [3, 4, 5, 6]
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("padding_id", [0, 11])
def test_any_id_can_be_the_padding(padding_id):
    """Its embedding is zero, and lengths are derived from it."""
    model = _model(padding_id=padding_id).eval()
    assert not model.embedding.weight[padding_id].any()
    padded = torch.tensor([[5, 6, padding_id, padding_id]])
    torch.testing.assert_close(model(padded), model(torch.tensor([[5, 6]])))


def test_steps_beyond_the_longest_text_are_not_computed():
    """A batch is cut to its longest text before the encoder."""
    model = _model().eval()
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, batch: seen.append(batch[0].shape))
    model(*_pad([[5, 6], [7]], extra=500))
    assert seen == [(2, 2, 5)]


def test_embeddings_can_be_given_in_place_of_ids():
    """Logits from embeddings equal those from ids; only real tokens get gradients."""
    model = _model(bidirectional=True).eval()
    ids, lengths = _pad([[3, 4, 5], [6]])
    embedded = model.embedding(ids).detach().requires_grad_()
    logits = model.forward_embeddings(embedded, lengths)
    torch.testing.assert_close(logits, model(ids, lengths))
    logits.sum().backward()
    reached = embedded.grad.abs().sum(2) > 0
    assert reached.tolist() == [[True, True, True], [True, False, False]]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_int32_ids_are_accepted(bidirectional):
    """Ids of a flat int32 array need no conversion."""
    model = _model(bidirectional=bidirectional).eval()
    ids, lengths = _pad([[3, 4, 5], [6]])
    assert torch.equal(model(ids.int(), lengths.int()), model(ids, lengths))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("shape", [(0, 4), (0, 0)])
def test_an_empty_batch_has_no_logits(pooling, shape):
    """Zero texts give zero rows, with lengths or without."""
    model, ids = _model(pooling=pooling), torch.empty(shape, dtype=torch.int64)
    assert model(ids).shape == (0, 3)
    assert model(ids, torch.empty(0, dtype=torch.int64)).shape == (0, 3)


def test_evaluation_draws_no_random_numbers():
    """In evaluation mode logits are deterministic, and the generator's state is unchanged."""
    dropouts = {"dropout": 0.5, "embedding_dropout": 0.5, "layer_dropout": 0.5}
    model = _model(num_layers=2, **dropouts).eval()
    batch, before = _pad([[3, 4, 5], [6]]), torch.get_rng_state()
    assert torch.equal(model(*batch), model(*batch))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["dropout", "embedding_dropout", "layer_dropout"])
def test_each_dropout_acts_in_training(name):
    """Each of the three dropouts acts in training mode only, and follows the seed."""
    off = {"dropout": 0.0, "num_layers": 2, "hidden_size": 16}
    model, batch = _model(**(off | {name: 0.5})), _pad([[3, 4, 5], [6]])
    torch.manual_seed(7)
    first, second = model(*batch), model(*batch)
    torch.manual_seed(7)
    assert torch.equal(first, model(*batch))
    assert not torch.equal(first, second)
    assert torch.equal(model.eval()(*batch), _copy_of(model, **off)(*batch))


def _copy_of(model, **arguments):
    """Return a model with these arguments and the same weights, in evaluation mode."""
    other = _model(**arguments).eval()
    other.load_state_dict(model.state_dict())
    return other


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_order_can_be_learned(cell, bidirectional):
    """A few training steps are enough to learn which of two tokens came first."""
    arguments = {"cell": cell, "bidirectional": bidirectional, "pooling": "last"}
    model = RecurrentClassifier(6, num_classes=2, hidden_size=16, dropout=0.0, **arguments)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    ids, lengths = _pad([[4, 5], [5, 4], [3, 4, 5], [3, 5, 4]])
    labels = torch.tensor([0, 1, 0, 1])
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(ids, lengths), labels)
        loss.backward()
        optimizer.step()
    assert model(ids, lengths).argmax(1).tolist() == labels.tolist()
    assert loss.item() < 0.1


@pytest.mark.parametrize("cell", CELLS)
def test_a_model_is_restored_from_configuration_and_weights(cell):
    """A model restored from JSON configuration and weights computes the same."""
    model = _model(cell=cell, num_layers=2, bidirectional=True, pooling=("mean", "last")).eval()
    twin = RecurrentClassifier.from_config(json.loads(json.dumps(model.config))).eval()
    twin.load_state_dict(model.state_dict())
    batch = _pad([[3, 4, 5], [6]])
    assert torch.equal(model(*batch), twin(*batch))
    assert torch.equal(model(*batch), copy.deepcopy(model)(*batch))


def test_the_configuration_names_every_argument():
    """The configuration includes defaults, and a tuple becomes a list."""
    model = RecurrentClassifier(12, num_classes=3, pooling=("max", "last"))
    assert model.config == {
        "vocab_size": 12,
        "num_classes": 3,
        "cell": "gru",
        "hidden_size": 256,
        "embedding_size": 256,
        "num_layers": 1,
        "bidirectional": False,
        "pooling": ["max", "last"],
        "dropout": 0.1,
        "embedding_dropout": 0.0,
        "layer_dropout": 0.0,
        "padding_id": 0,
    }
    assert RecurrentClassifier(12, num_classes=3, pooling="max").config["pooling"] == "max"


def test_the_configuration_is_a_copy():
    """Changes to a returned configuration do not affect the model."""
    model = _model(pooling=["max"])
    model.config["pooling"].append("mean")
    model.config["cell"] = "lstm"
    assert model.config["pooling"] == ["max"]
    assert model.config["cell"] == "gru"


def test_a_configuration_must_be_complete_and_known():
    """The message lists the valid keys, the missing and the unknown ones."""
    config = _model().config
    del config["cell"], config["dropout"]
    with pytest.raises(
        MissingKeyError,
        match=r"the keys 'bidirectional', .*, but got unknown: 'cells'; "
        r"missing: 'cell', 'dropout'\.",
    ):
        RecurrentClassifier.from_config(config | {"cells": "gru"})


def test_a_configuration_is_a_mapping():
    """A list is not a configuration."""
    with pytest.raises(InvalidTypeError, match=r"`config` to be a mapping, but got"):
        RecurrentClassifier.from_config(["gru"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 0}, r"`vocab_size` to be a positive integer, but got 0"),
        ({"num_classes": -1}, r"`num_classes` to be a positive integer, but got -1"),
        ({"cell": "qrnn"}, r"`cell` to be one of 'rnn', 'gru', 'lstm', but got 'qrnn'"),
        ({"hidden_size": -3}, r"`hidden_size` to be a positive integer, but got -3"),
        ({"embedding_size": 0}, r"`embedding_size` to be a positive integer, but got 0"),
        ({"num_layers": 0}, r"`num_layers` to be a positive integer, but got 0"),
        ({"pooling": ("max", "max")}, r"`pooling` to be different names, .* got \('max', 'max'\)"),
        ({"dropout": 1.1}, r"`dropout` to be a number from 0 to 1, but got 1\.1"),
        ({"embedding_dropout": -1}, r"`embedding_dropout` to be a number from 0 to 1, but got -1"),
        ({"layer_dropout": 2.0}, r"`layer_dropout` to be a number from 0 to 1, but got 2\.0"),
        ({"layer_dropout": 0.2}, r"`layer_dropout` to be 0 in a model of one layer .* got 0\.2"),
        ({"padding_id": -1}, r"`padding_id` to be a non-negative integer, but got -1"),
        ({"padding_id": 12}, r"`padding_id` to be an id of the vocabulary, below 12, but got 12"),
    ],
)
def test_values_that_make_no_model_are_refused(arguments, message):
    """The message names the argument, its rule and the value."""
    with pytest.raises(InvalidValueError, match=message):
        RecurrentClassifier(**({"vocab_size": 12, "num_classes": 3} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": "12"}, r"`vocab_size` to be a positive integer, but got '12'"),
        ({"cell": 1}, r"`cell` to be one of 'rnn', 'gru', 'lstm', but got 1"),
        ({"bidirectional": 1}, r"`bidirectional` to be True or False, but got 1"),
        ({"pooling": 1}, r"`pooling` to be a name or several names, but got 1"),
        ({"dropout": None}, r"`dropout` to be a number from 0 to 1, but got None"),
    ],
)
def test_types_that_make_no_model_are_refused(arguments, message):
    """The message names the argument, the right type and the value."""
    with pytest.raises(InvalidTypeError, match=message):
        RecurrentClassifier(**({"vocab_size": 12, "num_classes": 3} | arguments))


@pytest.mark.parametrize(
    ("input_ids", "message"),
    [
        ([[1, 2]], r"`input_ids` to be an int64 or int32 tensor, but got \[\[1, 2\]\]"),
        (torch.ones(1, 2), r"`input_ids` to be an int64 or int32 tensor, but got torch\.float32"),
    ],
)
def test_ids_are_integers(input_ids, message):
    """A list or floats are not accepted as ids."""
    with pytest.raises(InvalidTypeError, match=message):
        _model()(input_ids)


@pytest.mark.parametrize(
    ("input_ids", "message"),
    [
        ([1, 2], r"`input_ids` to be of shape \(batch, time\), but got the shape \(2,\)"),
        ([[1, 12], [3, 4]], r"`input_ids` to be from 0 to 11, .*, but got 12 at position \(0, 1\)"),
        ([[1, 2], [-1, 4]], r"`input_ids` to be from 0 to 11, .*, but got -1 at position \(1, 0\)"),
        ([[1, 2], [0, 0]], r"a token in each text, but got only padding \(id 0\) at position 1"),
    ],
)
def test_ids_must_be_those_of_the_vocabulary(input_ids, message):
    """The message names an id out of range, or a text that has only padding."""
    with pytest.raises(InvalidValueError, match=message):
        _model()(torch.tensor(input_ids))


def test_lengths_must_fit_the_ids():
    """Lengths below 1, above the number of steps or of another type are errors."""
    ids = torch.ones(2, 4, dtype=torch.int64)
    with pytest.raises(InvalidValueError, match=r"from 1 to 4, .* but got 0 at position 1"):
        _model()(ids, torch.tensor([4, 0]))
    with pytest.raises(InvalidTypeError, match=r"integer tensor, but got torch\.float32"):
        _model()(ids, torch.tensor([4.0, 1.0]))
    with pytest.raises(InvalidValueError, match=r"from 1 to 4, .* but got 5 at position 0"):
        _model().forward_embeddings(torch.zeros(2, 4, 5), torch.tensor([5, 1]))


def test_embeddings_have_the_models_width():
    """The message names the right shape for embeddings of another width."""
    with pytest.raises(InvalidValueError, match=r"of shape \(batch, time, 5\), but got the shape"):
        _model().forward_embeddings(torch.zeros(2, 4, 6), torch.tensor([4, 1]))


def test_the_repr_shows_what_is_not_a_default():
    """The repr shows the arguments that differ from their defaults."""
    model = _model(cell="lstm", pooling=("max", "last"))
    assert repr(model).splitlines()[1].strip() == (
        "vocab_size=12, num_classes=3, cell='lstm', hidden_size=5, pooling=['max', 'last']"
    )
    assert "embedding_size=7" in repr(_model(embedding_size=7))


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_cuda_gives_the_logits_of_the_cpu(cell, bidirectional, pooling):
    """A GPU gives the logits of a CPU to 1e-4, with given or derived lengths."""
    model = _model(cell=cell, bidirectional=bidirectional, pooling=pooling, num_layers=2).eval()
    ids, lengths = _pad([[3, 4, 5], [6], [7, 8]], extra=1)
    on_cpu = model(ids, lengths)
    model.cuda()
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        given_lengths = model(ids.cuda(), lengths)
        derived = model(ids.cuda())
        moved = model(ids.cuda(), lengths.cuda())
    torch.testing.assert_close(given_lengths.cpu(), on_cpu, atol=1e-4, rtol=0)
    assert torch.equal(derived, given_lengths)
    assert torch.equal(moved, given_lengths)


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_cuda_trains_in_half_precision(cell, bidirectional, dtype):
    """Autocast on a GPU gives finite gradients and logits close to full precision."""
    model = _model(cell=cell, bidirectional=bidirectional, dropout=0.0, hidden_size=8).cuda()
    ids, lengths = _pad([[3, 4, 5], [6], [7, 8]])
    full = model(ids.cuda(), lengths)
    with torch.autocast("cuda", dtype):
        half = model(ids.cuda(), lengths)
    torch.testing.assert_close(half.float(), full, atol=0.05, rtol=0)
    half.float().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
