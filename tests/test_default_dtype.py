"""Results do not depend on PyTorch's default type, which other libraries may have set."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from tests import toys
from textrnn import PaddingCollator, WordDataset
from textrnn.errors import InvalidTypeError
from textrnn.ngrams import BlendedClassifier, NgramClassifier, fit_ngrams, fit_scales
from textrnn.nn import (
    AttentionPooling,
    LanguageModel,
    LockedDropout,
    Pooling,
    RecurrentClassifier,
    RecurrentEncoder,
)
from textrnn.training import (
    Checkpoint,
    ClassificationMetrics,
    LambdaCallback,
    MultilabelMetrics,
    find_learning_rate,
    pretrain,
    schedulers,
)

TRAIN, EVAL = toys.make_dataset(20), toys.make_dataset(7, seed=1)
TYPES = [torch.float64, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Set the default type back."""
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


def seeded() -> torch.Generator:
    """Return a generator in the same state at each call."""
    return torch.Generator().manual_seed(3)


def gradients(model: torch.nn.Module, loss: torch.Tensor) -> list[Any]:
    """Return a loss and the gradients of all weights."""
    model.zero_grad()
    loss.backward()
    return [loss.detach(), [weight.grad for weight in model.parameters()]]


def classified(**settings: Any) -> list[Any]:
    """Return weights, logits and gradients of a new network."""
    model = toys.make_model(**settings, generator=seeded())
    batch = toys.make_batches()[0]
    loss = model(batch.input_ids, batch.lengths).square().sum()
    logits = model.eval()(batch.input_ids, batch.lengths).detach()
    return [toys.weights_of(model), logits, gradients(model, loss)]


def pooled() -> list[Any]:
    """Return the results of single layers for float32 inputs."""
    states = torch.rand(3, 4, 6, dtype=torch.float32, generator=seeded())
    lengths = torch.tensor([4, 1, 2])
    encoder = RecurrentEncoder(6, 3, bidirectional=True, generator=seeded())
    pooling = Pooling(
        ("max", "mean", "last", "attention"), bidirectional=True, features=6, generator=seeded()
    )
    dropped = LockedDropout(generator=seeded())(states)
    outputs = [encoder(states, lengths), pooling(states, lengths), dropped]
    return [each.detach() for each in outputs]


def trained(**settings: Any) -> list[Any]:
    """Return what a training with all that has numbers of its own leaves."""
    model = toys.make_model(generator=seeded(), embedding_dropout=0.2)
    trainer = toys.make_trainer(
        model,
        optimizer=None,
        class_weights="balanced",
        label_smoothing=0.1,
        max_grad_norm=0.5,
        accumulation_steps=2,
        weight_averaging="ema",
        scheduler=schedulers.linear_warmup(),
        metrics={"mean": lambda logits, _: logits.mean()},
        **settings,
    )
    history = trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=2)
    return [toys.weights_of(model), toys.timeless(history), trainer.predict(toys.bucketed(EVAL))]


def multilabel() -> list[Any]:
    """Return what a training with several labels for each text leaves."""
    model = toys.make_model(generator=seeded())
    trainer = toys.make_trainer(model, class_weights=[1, 2, 3.5])
    batches = toys.make_batches(multilabel=True)
    return [toys.timeless(trainer.fit(batches, batches, epochs=2)), toys.weights_of(model)]


def pretrained() -> list[Any]:
    """Return what a pretraining leaves, with a plain and an adaptive softmax."""
    model = toys.make_model(generator=seeded(), embedding_size=5)
    history = pretrain(model, TRAIN, EVAL, progress=False)
    language_model = LanguageModel(model, cutoffs=[6, 10])
    batch = toys.make_batches()[0]
    loss = language_model(batch.input_ids, batch.lengths)[:, 0].sum()
    return [toys.weights_of(model), toys.timeless(history), gradients(language_model, loss)]


def ngrams() -> list[Any]:
    """Return an n-gram classifier with spelling, blended, and its logits."""
    batches = toys.make_batches((8, 6, 9))
    words = [f"word{number}" for number in range(len(toys.VOCABULARY))]
    model = fit_ngrams(
        batches, vocab_size=len(toys.VOCABULARY), num_classes=3, words=words, max_order=2
    )
    blended = BlendedClassifier(toys.make_model(generator=seeded()), model).eval()
    ids, lengths = batches[0].input_ids, batches[0].lengths
    logits = [each(ids, lengths).detach() for each in (blended.recurrent, model)]
    assert batches[0].labels is not None
    return [
        toys.weights_of(model),
        logits,
        blended(ids, lengths).detach(),
        list(fit_scales(logits, batches[0].labels)),
    ]


def measured() -> list[Any]:
    """Return reports of random logits."""
    logits = torch.rand(50, 3, dtype=torch.float32, generator=seeded())
    labels = torch.arange(50) % 3
    single, several = ClassificationMetrics(3, top_k=(2,)), MultilabelMetrics(3)
    single.update(logits, labels)
    several.update(logits - 0.5, torch.nn.functional.one_hot(labels, 3).float())
    return [single.compute(), several.compute()]


def searched() -> list[Any]:
    """Return the curve of a range test."""
    model = toys.make_model(generator=seeded())
    curve = find_learning_rate(model, toys.make_batches(), num_steps=20)
    return [list(curve.rates), list(curve.losses)]


@pytest.mark.parametrize("default", TYPES)
@pytest.mark.parametrize(
    "run",
    [
        lambda: classified(cell="rnn", pooling=("max", "last")),
        lambda: classified(bidirectional=True, num_layers=2, layer_dropout=0.3),
        lambda: classified(cell="lstm", pooling=("mean", "attention")),
        pooled,
        trained,
        lambda: trained(precision="bf16"),
        multilabel,
        pretrained,
        ngrams,
        measured,
        searched,
    ],
)
def test_results_are_the_very_same(run: Callable[[], list[Any]], default: torch.dtype) -> None:
    """Weights, logits, gradients and figures have the bits that they have with float32."""
    torch.manual_seed(0)
    expected = run()
    torch.set_default_dtype(default)
    torch.manual_seed(0)
    assert toys.worst_difference(run(), expected) == 0.0


@pytest.mark.parametrize("default", TYPES)
def test_a_run_resumes_under_another_default(default: torch.dtype, tmp_path: Any) -> None:
    """Its checkpoint is the one that a run with float32 would have written."""

    def run(*, stop: bool, **fit: Any) -> Any:
        model = toys.make_model(generator=seeded())
        callbacks: list[Any] = [Checkpoint(tmp_path, every_steps=1)] if stop or fit else []
        if stop:
            stopper = LambdaCallback(on_epoch_end=lambda state: state.request_stop("half"))
            callbacks.append(stopper)
        trainer = toys.make_trainer(model, callbacks=callbacks)
        trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=2, **fit)
        return toys.weights_of(model)

    whole = run(stop=False)
    torch.set_default_dtype(default)
    run(stop=True)
    torch.set_default_dtype(torch.float32)
    assert toys.worst_difference(run(stop=False, resume_from="auto"), whole) == 0.0


@pytest.mark.parametrize("default", TYPES)
def test_data_sets_are_the_same(default: torch.dtype) -> None:
    """Labels of several kinds have the types that they have with float32."""

    def batch(labels: Any) -> Any:
        dataset = WordDataset(["w1 w2", "w3"], labels, toys.VOCABULARY, str.split)
        made = PaddingCollator()([dataset[0], dataset[1]])
        return [made.input_ids, made.lengths, made.labels]

    for labels in ([0, 1], [[0.0, 1.0], [1.0, 0.5]]):
        expected = batch(labels)
        torch.set_default_dtype(default)
        assert toys.worst_difference(batch(labels), expected) == 0.0
        torch.set_default_dtype(torch.float32)


def test_models_can_be_converted() -> None:
    """A model in double precision answers in it, and a single layer names the type it expects."""
    batch = toys.make_batches()[0]
    for model in (toys.make_model(), NgramClassifier(16, num_classes=3, num_ngrams=4)):
        exact = model.double().eval()(batch.input_ids, batch.lengths)
        assert exact.dtype == torch.float64
    states, lengths = torch.rand(2, 3, 4, dtype=torch.float64), torch.tensor([3, 1])
    assert RecurrentEncoder(4, 3).double()(states, lengths).dtype == torch.float64
    with pytest.raises(
        InvalidTypeError, match=r"`inputs` to be torch.float32, as the weights, but"
    ):
        RecurrentEncoder(4, 3)(states, lengths)
    with pytest.raises(InvalidTypeError, match=r"`states` to be torch.float32, .* torch.float64"):
        AttentionPooling(4)(states, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        RecurrentEncoder(4, 3)(states.bfloat16(), lengths)
    assert isinstance(toys.make_model().bfloat16(), RecurrentClassifier)
