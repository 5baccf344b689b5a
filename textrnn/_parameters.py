"""scikit-learn's conventions for estimators, without scikit-learn."""

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any, Self

import numpy as np

from textrnn._labels import label_from_json, label_to_json
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    expected,
    import_extra,
    listing,
    show,
)

__all__ = ["Parameters", "params_from_json", "params_to_json"]


class Parameters:
    """A class whose constructor only stores its arguments, each as an attribute of its name.

    That makes `get_params`, `set_params`, a `repr` and `sklearn.base.clone` work.

    Example:
        >>> class Cut(Parameters):
        ...     def __init__(self, *, size=3):
        ...         self.size = size
        >>> Cut().set_params(size=4)
        Cut(size=4)
    """

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        """Return the constructor's parameters with their defaults, in their order."""
        parameters = signature(cls).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is Parameter.KEYWORD_ONLY}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name.

        Args:
            deep: Taken for scikit-learn's sake; there are no estimators within this one.

        Returns:
            A new dictionary.
        """
        del deep
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments; the next `fit` uses them.

        Args:
            **params: New values by name; they are checked by `fit`.

        Returns:
            The estimator itself.

        Raises:
            InvalidValueError: If a name is none of the constructor's; those there are, are listed.
        """
        known = self._defaults()
        for name in params:
            if name not in known:
                raise InvalidValueError(
                    f"Expected a parameter of {type(self).__name__}, but got {show(name)}; "
                    f"there are: {listing(known)}."
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = [
            f"{name}={getattr(self, name)!r}"
            for name, default in self._defaults().items()
            if not _same(getattr(self, name), default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what kind of estimator this is."""
        utils = import_extra("sklearn.utils", extra="sklearn")
        return utils.Tags(
            estimator_type="classifier",
            target_tags=utils.TargetTags(required=True),
            classifier_tags=utils.ClassifierTags(multi_class=True, multi_label=True),
            input_tags=utils.InputTags(one_d_array=True, two_d_array=False, string=True),
        )


def _same(value: object, default: object) -> bool:
    """Tell whether a value is the default; values that can't be compared are not."""
    try:
        return type(value) is type(default) and bool(value == default)
    except (TypeError, ValueError):
        return False


def params_to_json(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as plain data for JSON.

    Args:
        params: Strings, numbers, tuples of these, None, and mappings from labels to numbers.

    Raises:
        InvalidTypeError: If one is anything else.

    Example:
        >>> params_to_json({"pooling": ("max", "mean"), "class_weight": {"spam": 2.0}})
        {'pooling': ['max', 'mean'], 'class_weight': {'by_label': [['spam', 2.0]]}}
    """
    return {name: _plain(name, value) for name, value in params.items()}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {"by_label": [[label_to_json(k), _plain(name, v)] for k, v in value.items()]}
    if isinstance(value, tuple | list):
        return [_plain(name, part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, str | bool | int | float | None):
        raise InvalidTypeError(expected(name, "a value that can be written as JSON", value))
    return value


def params_from_json(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that `params_to_json` described, lists as tuples.

    Args:
        data: What `params_to_json` returned.

    Raises:
        InvalidTypeError: If it is anything else.

    Example:
        >>> params_from_json({"pooling": ["max", "mean"], "class_weight": {"by_label": [[3, 2.0]]}})
        {'pooling': ('max', 'mean'), 'class_weight': {3: 2.0}}
    """
    return {name: _restored(name, value) for name, value in data.items()}


def _restored(name: str, value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(value)
    if isinstance(value, dict) and value.keys() == {"by_label"}:
        pairs = value["by_label"]
        if isinstance(pairs, list) and all(map(_is_weight, pairs)):
            return {label_from_json(label): number for label, number in pairs}
    if not isinstance(value, str | bool | int | float | None):
        raise InvalidTypeError(expected(name, "a plain value", value))
    return value


def _is_weight(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and type(pair[1]) in {int, float}
