"""The settings, parameters and report of a saved classifier, checked, without PyTorch."""

from collections.abc import Set as AbstractSet
from typing import Any

from textrnn._storage import corrupt
from textrnn.errors import check_choice, listing
from textrnn.estimator.fit_report import FitReport
from textrnn.estimator.settings import OPTIONS, Chosen, Data, Option, choose_settings
from textrnn.runtime.folder import SavedModel, sound

__all__ = ["complete_settings", "read_report"]


def complete_settings(saved: SavedModel, params: AbstractSet[str]) -> dict[str, Any]:
    """Check a model's parameters, of these names, and return its settings.

    An option that is missing, as an earlier version did not have it, has its default.
    """
    path = saved.path / "training.json"
    settings = {option.name for option in OPTIONS if option.is_setting}
    for part, known in (("parameters", params), ("settings", settings)):
        if unknown := getattr(saved, part).keys() - known:
            raise corrupt(path, "training", f"`{part}` has unknown entries: {listing(unknown)}")
    defaults = {o.name: None if isinstance(o.default, Chosen) else o.default for o in OPTIONS}
    data = Data(
        texts=max(saved.data["train_texts"], 1),
        unlabelled=saved.data["unlabelled_texts"],
        multi_label=saved.labels.multi_label,
        kept=saved.network is not None,
    )
    with sound(path, "training"):
        complete = choose_settings(defaults | saved.parameters, data) | saved.settings
        for option in OPTIONS:
            if option.is_setting:
                _check_option(option, complete[option.name])
                if (value := saved.parameters.get(option.name)) is not None:
                    _check_option(option, value)
    return complete


def read_report(saved: SavedModel) -> FitReport:
    """Check and return the report of a model's fit."""
    with sound(saved.path / "training.json", "training"):
        return FitReport.from_dict(saved.report)


def _check_option(option: Option, value: Any) -> None:
    """Raise an error if an option can't have a value."""
    option.kind.check(option.name, value)
    if option.kind.several:
        for part in value if isinstance(value, tuple) else (value,):
            check_choice(option.name, part, option.kind.choices)
