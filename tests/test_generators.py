"""Random generators are restored exactly, and checked before that."""

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from tests import toys
from textrnn.errors import CorruptFileError, InvalidValueError
from textrnn.training.resume.generators import (
    check_generators,
    generator_states,
    restore_generators,
    undisturbed_generators,
)

DATA = toys.make_dataset(6)


def draws() -> list[float]:
    """Draw from all three global generators, normal numbers too, which come in pairs."""
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),  # noqa: NPY002 # the global one
        np.random.randn(),  # noqa: NPY002 # the global one
        float(torch.rand(())),
        float(torch.randn(())),
    ]


@pytest.mark.parametrize("before", range(3))
def test_restored_generators_draw_the_same_again(before):
    """Also in the middle of a pair of normal numbers."""
    for _ in range(before):
        draws()
    states = generator_states(())
    expected = [draws() for _ in range(3)]
    restore_generators(states)
    assert [draws() for _ in range(3)] == expected


def loaders() -> dict[str, tuple[DataLoader[Any], torch.Generator]]:
    """Return loaders that have a generator in different places."""
    made = {}
    for place in ("loader", "sampler", "batch sampler"):
        generator = torch.Generator().manual_seed(1)
        if place == "loader":
            loader = toys.shuffled(DATA, 2, generator=generator)
        elif place == "sampler":
            sampler = RandomSampler(DATA, generator=generator)
            loader = DataLoader(DATA, 2, sampler=sampler, collate_fn=len)
        else:
            batches = BatchSampler(RandomSampler(DATA, generator=generator), 2, drop_last=False)
            loader = DataLoader(DATA, batch_sampler=batches, collate_fn=len)
        made[place] = loader, generator
    return made


@pytest.mark.parametrize("place", loaders())
def test_a_loaders_own_generator_is_restored(place):
    """Wherever it is: in the loader, its sampler, or the sampler of its batches."""
    loader, generator = loaders()[place]
    states = generator_states(loader)
    expected = torch.rand(3, generator=generator)
    check_generators(states, loader)
    restore_generators(states, loader)
    assert torch.equal(torch.rand(3, generator=generator), expected)


def test_generators_are_left_alone_also_after_an_error():
    """Drawing within the block has no effect outside."""
    loader, generator = loaders()["loader"]
    torch.manual_seed(0)
    expected = torch.rand(2)
    own = torch.rand(2, generator=generator)
    torch.manual_seed(0)
    generator.manual_seed(1)

    def draw_and_fail() -> None:
        with undisturbed_generators(loader):
            draws()
            torch.rand(1, generator=generator)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        draw_and_fail()
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(torch.rand(2, generator=generator), own)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("python", [3, torch.zeros(2, dtype=torch.int64), None]),
        ("python", None),
        ("python", [3, [1, 2], None]),
        ("numpy", ["MT19937", torch.zeros(3, dtype=torch.int64), 0, 0, 0.0]),
        ("numpy", ["PCG64", torch.zeros(624, dtype=torch.int64), 0, 0, 0.0]),
        ("numpy", 3),
        ("torch", torch.zeros(3, dtype=torch.uint8)),
        ("torch", "state"),
        ("cuda", [1]),
        ("cuda", None),
        ("loader", {"loader": torch.zeros(3, dtype=torch.uint8)}),
        ("loader", 3),
    ],
)
def test_damaged_states_are_found_before_any_is_set(name, value):
    """The check refuses them and does not change the generators."""
    loader, _ = loaders()["loader"]
    states = copy.deepcopy(generator_states(loader))
    states[name] = value
    torch.manual_seed(5)
    expected = draws()
    torch.manual_seed(5)
    with pytest.raises(CorruptFileError, match="The state of a generator can't be used"):
        check_generators(states, loader)
    assert draws()[4:] == expected[4:]


def test_a_models_own_generator_is_restored():
    """It is kept once, however many modules share it, and belongs to the resumed run."""
    model = toys.make_model(generator=torch.Generator().manual_seed(3))
    states = generator_states((), model)
    assert list(states["model"]) == ["model"]
    expected = torch.rand(3, generator=model.generator)
    restore_generators(states, (), model)
    assert torch.equal(torch.rand(3, generator=model.generator), expected)
    check_generators(states, (), model)
    with pytest.raises(InvalidValueError, match=r"`model` .* generators are \['model'\], but got"):
        check_generators(states, (), toys.make_model())
    states["model"] = {"model": torch.zeros(3, dtype=torch.uint8)}
    with pytest.raises(CorruptFileError, match="The state of a generator can't be used"):
        check_generators(states, (), model)


def test_missing_states_are_found():
    """A missing state is damage, too."""
    with pytest.raises(CorruptFileError, match="can't be used: 'python'"):
        check_generators({}, ())


def test_another_loader_is_found():
    """A loader with other generators than those saved is not the run's own."""
    loader, _ = loaders()["loader"]
    with pytest.raises(InvalidValueError, match=r"`loader` to be the run's own, whose generators"):
        check_generators(generator_states(()), loader)
    with pytest.raises(
        InvalidValueError,
        match=r"are \['batch_sampler.sampler', 'loader', 'sampler'\], but got \[\]",
    ):
        check_generators(generator_states(loader), toys.bucketed(DATA))
