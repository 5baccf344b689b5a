"""Averages of weights: equal to those computed by hand."""

import pytest
import torch

from tests import toys
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.training import Callback, Trainer, TrainingState, WeightAveraging

TRAIN = toys.make_dataset(12)


class KeepWeights(Callback):
    """A callback that keeps the weights of each step."""

    def __init__(self) -> None:
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_batch_end(self, state: TrainingState) -> None:
        """Keep copies."""
        self.weights.append(toys.weights_of(state.model))


def trained(averaging: WeightAveraging | str, **settings: object) -> tuple[Trainer, KeepWeights]:
    """Train for three epochs of two steps with averaged weights."""
    keeper = KeepWeights()
    trainer = toys.make_trainer(weight_averaging=averaging, callbacks=[keeper], **settings)
    trainer.fit(toys.bucketed(TRAIN), epochs=3)
    return trainer, keeper


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Compare weights to what single precision allows."""
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5)


def test_an_ema_equals_one_computed_by_hand():
    """It starts with the weights of the first step, and each later step moves it by 1 - decay."""
    trainer, keeper = trained(WeightAveraging(kind="ema", decay=0.7))
    expected = keeper.weights[0]
    for weights in keeper.weights[1:]:
        expected = {name: 0.7 * expected[name] + 0.3 * weights[name] for name in weights}
    assert_close(toys.weights_of(trainer.model), expected)


@pytest.mark.parametrize(("start", "first"), [(0.0, 0), (0.5, 3), (0.75, 4)])
def test_swa_is_the_mean_of_the_steps_from_its_start(start, first):
    """Steps before the start do not count."""
    trainer, keeper = trained(WeightAveraging(kind="swa", start=start))
    last = keeper.weights[first:]
    expected = {name: torch.stack([w[name] for w in last]).mean(dim=0) for name in last[0]}
    assert_close(toys.weights_of(trainer.model), expected)


def test_there_is_no_average_before_its_start():
    """If averaging never begins, the model keeps the weights of the last step."""
    trainer, keeper = trained(WeightAveraging(kind="swa", start=1.0))
    assert toys.worst_difference(toys.weights_of(trainer.model), keeper.weights[-1]) == 0.0


def test_averaging_never_changes_the_training():
    """The weights of the steps are those of a run without averaging."""
    runs = []
    for averaging in (None, "ema", "swa"):
        torch.manual_seed(0)
        runs.append(trained(averaging)[1].weights)
    assert toys.worst_difference(runs[0], runs[1]) == 0.0
    assert toys.worst_difference(runs[0], runs[2]) == 0.0


def test_averaged_weights_are_evaluated_and_kept():
    """With evaluations, the best average is restored rather than the best single step."""
    keeper = KeepWeights()
    trainer = toys.make_trainer(
        toys.make_model(dropout=0.0),
        weight_averaging=WeightAveraging(decay=0.9),
        callbacks=[keeper],
    )
    history = trainer.fit(toys.bucketed(TRAIN), toys.bucketed(TRAIN), epochs=3)
    expected = keeper.weights[0]
    for weights in keeper.weights[1:]:
        expected = {name: 0.9 * expected[name] + 0.1 * weights[name] for name in weights}
    assert min(history["eval_loss"]) == history["eval_loss"][-1]  # it falls, so the last is best
    assert_close(toys.weights_of(trainer.model), expected)
    assert trainer.evaluate(toys.bucketed(TRAIN))["loss"] == history["eval_loss"][-1]


def test_defaults_depend_on_the_kind():
    """SWA begins late, an EMA at once; a kind alone means its defaults."""
    assert WeightAveraging.of("ema") == WeightAveraging(kind="ema", decay=0.999, start=0.0)
    assert WeightAveraging.of("swa").start == 0.75
    own = WeightAveraging(kind="swa", start=0.5)
    assert WeightAveraging.of(own) is own
    assert own.first_step(10) == 5
    assert WeightAveraging.of("ema").first_step(None) == 0


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"kind": "mean"}, InvalidValueError, "`kind` to be one of 'ema', 'swa', but got 'mean'"),
        ({"decay": 1.0}, InvalidValueError, "`decay` to be a number between 0 and 1"),
        ({"decay": "a"}, InvalidTypeError, "`decay` to be a number between 0 and 1"),
        ({"start": -0.1}, InvalidValueError, "`start` to be a number from 0 to 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, error, message):
    """The error names the setting."""
    with pytest.raises(error, match=message):
        WeightAveraging(**settings)


def test_other_values_than_averagings_are_refused():
    """The message for an unknown kind lists the kinds."""
    with pytest.raises(InvalidValueError, match="`weight_averaging` to be one of 'ema', 'swa'"):
        WeightAveraging.of("mean")
    with pytest.raises(
        InvalidTypeError, match="to be 'ema', 'swa' or a WeightAveraging, but got 3"
    ):
        WeightAveraging.of(3)  # type: ignore[arg-type] # that is the point


def test_a_start_needs_a_number_of_steps():
    """A share of the steps needs a loader with a length."""
    with pytest.raises(InvalidValueError, match="`start` to be 0 for a loader without a length"):
        WeightAveraging.of("swa").first_step(None)
