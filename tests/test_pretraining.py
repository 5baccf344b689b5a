"""Pretraining changes embedding and encoder, and nothing else."""

import copy
import math

import pytest
import torch
from torch.utils.data import DataLoader, Subset

from tests.toys import VOCABULARY, bucketed, make_dataset, timeless, weights_of
from textrnn import Batch, BucketBatchSampler, PaddingCollator, WordDataset
from textrnn.errors import InvalidTypeError, InvalidValueError, NonFiniteLossError
from textrnn.nn import LanguageModel, RecurrentClassifier, perplexity
from textrnn.training import (
    Checkpoint,
    FreezeEmbeddings,
    LambdaCallback,
    Trainer,
    parameter_groups,
    pretrain,
    schedulers,
)
from textrnn.training.state import TrainingState

TEXTS = ["w1 w2 w3 w4", "w2 w3 w4 w5 w6", "w3 w4"] * 6


def make(seed: int = 0, **settings: object) -> RecurrentClassifier:
    """Return a small classifier."""
    torch.manual_seed(seed)
    settings = {"num_classes": 3, "hidden_size": 8, "bidirectional": True} | settings
    return RecurrentClassifier(len(VOCABULARY), **settings)


def texts(texts: list[str] = TEXTS, labels: list[int] | None = None) -> WordDataset:
    """Return encoded texts."""
    return WordDataset(texts, labels, VOCABULARY, str.split)


def test_embedding_and_encoder_learn_and_the_rest_stays():
    """Pooling and head keep their bits, padding its zeros, and the perplexity falls."""
    model = make()
    before = weights_of(model)
    history = pretrain(model, texts(), epochs=25, learning_rate=0.1, progress=False)
    assert history["perplexity"][0] > 10
    assert history["perplexity"][-1] < 5
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("head.")
    assert (model.embedding.weight[0] == 0).all()
    assert all(weight.requires_grad for weight in model.parameters())


def test_records_tell_losses_and_perplexities():
    """Those of evaluations are exact over all tokens; there are no figures about classes."""
    model, dataset = make(), make_dataset(20, labelled=False)
    history = pretrain(model, texts(), dataset, epochs=2, progress=False)
    assert [set(record) for record in history] == [
        {
            *("epoch", "step", "loss", "perplexity", "learning_rate", "seconds"),
            *("eval_loss", "eval_perplexity"),
        }
    ] * 2
    for record in history:
        assert record["perplexity"] == math.exp(record["loss"])
        assert record["eval_perplexity"] == pytest.approx(math.exp(record["eval_loss"]))


def test_the_weights_of_the_lowest_perplexity_come_back():
    """The classifier ends with the weights of the best evaluation."""
    model, dataset = make(), make_dataset(20)
    kept = []

    def keep(state: TrainingState) -> None:
        assert isinstance(state.model, LanguageModel)
        kept.append(copy.deepcopy(state.model.encoder.state_dict()))

    history = pretrain(
        model,
        texts(),
        dataset,
        epochs=8,
        learning_rate=0.5,  # so high that later weights are worse ones
        callbacks=[LambdaCallback(on_evaluation_end=keep)],
        progress=False,
    )
    values = history["eval_perplexity"]
    best = values.index(min(values))
    assert best < len(values) - 1
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, kept[best][name])


def test_the_loss_of_an_evaluation_is_that_of_the_model():
    """A rate of almost nothing leaves the perplexity of the untrained language model."""
    dataset = make_dataset(30, labelled=False)
    history = pretrain(make(), texts(), dataset, learning_rate=1e-12, seed=3, progress=False)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = LanguageModel(make()).eval()
    scores = [model(batch.input_ids, batch.lengths) for batch in bucketed(dataset)]
    assert history["eval_perplexity"] == [pytest.approx(perplexity(torch.cat(scores)), rel=1e-4)]


def test_labels_play_no_part():
    """Texts with labels, without and batches of either train alike; labels are left as they are."""
    labels = [0, 1, 2] * 6
    results = []
    for source in (
        texts(),
        texts(labels=labels),
        loader_of(texts()),
        loader_of(texts(labels=labels)),
        list(loader_of(texts())),
    ):
        model = make()
        pretrain(model, source, batch_size=4, dropout=0.0, progress=False)
        results.append(weights_of(model))
        if isinstance(source, WordDataset):
            assert (None if source.labels is None else source.labels.tolist()) in (None, labels)
    for result in results[1:]:
        for name, value in result.items():
            assert torch.equal(value, results[0][name])


def loader_of(dataset: WordDataset) -> DataLoader[Batch]:
    """Return the loader that is made of a data set."""
    sampler = BucketBatchSampler(dataset, 4, seed=0)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=PaddingCollator())


def test_every_epoch_has_an_order_of_its_own():
    """That of a bucket sampler, whether it is made here or by the user."""
    seen: list[list[int]] = []

    class Watched(BucketBatchSampler):
        def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
            super().set_epoch(epoch, start_batch)
            seen.append([i for batch in self for i in batch])

    dataset = make_dataset(40)
    loader: DataLoader[Batch] = DataLoader(
        dataset, batch_sampler=Watched(dataset, 8, seed=0), collate_fn=PaddingCollator()
    )
    results = []
    for source in (loader, dataset):
        model = make()
        pretrain(model, source, epochs=3, batch_size=8, progress=False)
        results.append(weights_of(model))
    assert len(seen) == 3
    assert seen[0] != seen[1] != seen[2]
    assert all(torch.equal(results[0][name], value) for name, value in results[1].items())


def test_global_generators_are_not_set(monkeypatch):
    """Other threads keep what they draw meanwhile."""
    model = make(embedding_dropout=0.3)
    monkeypatch.setattr(torch, "set_rng_state", None)
    monkeypatch.setattr(torch, "manual_seed", None)
    pretrain(model, texts(), texts(), progress=False)


def test_a_run_depends_on_its_seed_alone():
    """Global generators neither act on it nor are moved, and modes come back."""
    results = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        model = make(embedding_dropout=0.3).eval()
        model.pooling.train()
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        pretrain(model, texts(), seed=seed, dropout=0.3, progress=False)
        assert torch.equal(torch.get_rng_state(), before)
        assert not model.training
        assert not model.encoder.training
        assert model.pooling.training
        results.append(weights_of(model)["embedding.weight"])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_a_run_goes_on_from_a_checkpoint(tmp_path):
    """An interrupted run ends with the bits of one that was not."""
    dataset = make_dataset(24)
    settings = {"epochs": 2, "batch_size": 6, "progress": False}
    whole = make(embedding_dropout=0.2)
    history = pretrain(whole, dataset, dataset, **settings)

    def stop(state: TrainingState) -> None:
        if state.step == 6:
            state.request_stop("enough")

    folder = tmp_path / "run"
    watchers = [Checkpoint(folder, every_steps=6), LambdaCallback(on_batch_end=stop)]
    interrupted = make(embedding_dropout=0.2)
    pretrain(interrupted, dataset, dataset, **settings, callbacks=watchers)
    model = make(embedding_dropout=0.2)
    resumed = pretrain(
        model,
        dataset,
        dataset,
        **settings,
        callbacks=[Checkpoint(folder, every_steps=6), LambdaCallback()],
        resume_from=folder,
    )
    assert timeless(resumed) == timeless(history)
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


@pytest.mark.parametrize("settings", [{}, {"num_layers": 2}])
def test_a_pretrained_classifier_can_be_trained(settings):
    """It learns as any other, layer after layer, with rates whose ratio a schedule keeps."""
    dataset = make_dataset(24)
    model = make(**settings)
    pretrain(model, dataset, progress=False)
    optimizer = torch.optim.Adam(parameter_groups(model, 0.05, decay=2.0))
    trainer = Trainer(
        model,
        optimizer=optimizer,
        scheduler=schedulers.cosine_warmup(min_factor=0.1),
        callbacks=[FreezeEmbeddings(2, attribute="encoder"), FreezeEmbeddings(3)],
        progress=False,
    )
    history = trainer.fit(bucketed(dataset), epochs=16)
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates[0] < 0.05
    assert rates == pytest.approx([rates[0] / 2**depth for depth in range(len(rates))])


@pytest.mark.parametrize(
    ("length", "number", "steps"), [(1, 300, 3), (98, 60, 3), (500, 20, 3), (500, 8, 1)]
)
def test_batches_have_a_bounded_number_of_tokens(length, number, steps):
    """Short texts come in batches of up to 128, long ones of at least 8, unless told otherwise."""
    dataset = texts([" ".join(["w1"] * length)] * number)
    model = make(bidirectional=False, hidden_size=2)
    assert pretrain(model, dataset, progress=False)[-1]["step"] == steps
    assert pretrain(model, dataset, batch_size=number, progress=False)[-1]["step"] == 1


def test_groups_of_rates_hold_every_weight_once():
    """Head, layers from the last to the first, embedding: each has a smaller rate than before."""
    for settings in ({}, {"num_layers": 3}, {"num_layers": 2, "cell": "lstm"}):
        model = make(**settings)
        groups = parameter_groups(model, 0.01)
        layers = model.encoder.num_layers
        rates = [group["lr"] for group in groups]
        assert rates == pytest.approx([0.01 / 2.6**depth for depth in range(layers + 2)])
        assert sorted(id(w) for group in groups for w in group["params"]) == sorted(
            map(id, model.parameters())
        )
        assert {id(w) for w in groups[0]["params"]} == {id(w) for w in model.head.parameters()}
        last = {name for name, w in model.encoder.rnn.named_parameters() if is_in(w, groups[1])}
        assert last
        assert all(f"_l{layers - 1}" in name for name in last)
        assert groups[-1]["params"] == [model.embedding.weight]


def is_in(weight: torch.Tensor, group: dict[str, list[torch.Tensor]]) -> bool:
    """Tell whether a group has this very weight."""
    return any(weight is each for each in group["params"])


def test_wrong_arguments_are_refused():
    """Wrong arguments are named, before anything is trained."""
    model = make()
    before = weights_of(model)
    with pytest.raises(InvalidTypeError, match="`model` to be a RecurrentClassifier"):
        pretrain(torch.nn.Linear(2, 2), texts())
    rule = "`dataset` to be a WordDataset, or batches that can be iterated anew"
    for wrong in (Subset(texts(), [0]), iter(loader_of(texts())), 3):
        with pytest.raises(InvalidTypeError, match=rule):
            pretrain(model, wrong)
    with pytest.raises(InvalidTypeError, match="`eval_dataset` to be a WordDataset"):
        pretrain(model, texts(), 3)
    with pytest.raises(InvalidValueError, match="`dataset` to be at least one text"):
        pretrain(model, texts([]))
    with pytest.raises(InvalidValueError, match="at least one batch"):
        pretrain(model, [])
    for name, value in (
        ("learning_rate", 0.0),
        ("weight_decay", -1.0),
        ("batch_size", 0),
        ("seed", -1),
        ("epochs", 0),
        ("max_grad_norm", 0.0),
        ("dropout", 2.0),
    ):
        with pytest.raises(InvalidValueError, match=f"`{name}` to be"):
            pretrain(model, texts(), **{name: value})
    assert all(torch.equal(value, before[name]) for name, value in weights_of(model).items())
    with pytest.raises(InvalidTypeError, match="`model` to be a RecurrentClassifier"):
        parameter_groups(torch.nn.Linear(2, 2), 0.1)
    with pytest.raises(InvalidValueError, match="`learning_rate` to be"):
        parameter_groups(model, -0.1)
    with pytest.raises(InvalidValueError, match="`decay` to be a number of at least 1"):
        parameter_groups(model, 0.1, decay=0.5)


def test_a_loss_without_bounds_is_an_error():
    """It ends the run, and modes come back all the same."""
    model = make().eval()
    with torch.no_grad():
        model.encoder.rnn.weight_ih_l0 += math.nan
    with pytest.raises(NonFiniteLossError):
        pretrain(model, texts(), progress=False)
    assert not model.encoder.training
    huge = make(bidirectional=False)
    with torch.no_grad():
        huge.embedding.weight.mul_(1e6)
    assert pretrain(huge, texts(), learning_rate=1e-9, progress=False)["perplexity"] == [math.inf]


@pytest.mark.cuda
def test_pretraining_on_a_gpu_leaves_the_classifier_there():
    """It is moved as a whole, and still computes without a warning."""
    for settings in ({}, {"num_layers": 2}, {"bidirectional": False}):
        model = make(**settings)
        history = pretrain(
            model,
            texts(),
            texts(),
            epochs=10,
            batch_size=6,
            learning_rate=0.03,
            device="cuda",
            precision="bf16",
            progress=False,
        )
        assert history["eval_perplexity"][-1] < 8
        assert all(weight.is_cuda for weight in model.parameters())
        model(torch.tensor([[2, 5, 6, 3], [2, 5, 3, 0]]).cuda(), torch.tensor([4, 3]))
