"""What the compared methods have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Fitted", "Method"]


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Args:
        predict: Function from texts to class ids.
        facts: Properties of the model for the result file. Default: none.
    """

    predict: Callable[[Sequence[str]], Sequence[int]]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """A method of text classification."""

    @property
    def name(self) -> str:
        """Name on the command line."""

    @property
    def title(self) -> str:
        """Name in a report."""

    @property
    def baseline(self) -> bool:
        """Whether other methods are compared with it."""

    @property
    def random(self) -> bool:
        """Whether the model depends on the seed."""

    @property
    def unlabelled(self) -> bool:
        """Whether it also uses unlabelled texts."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings for the result file."""

    def prepare(self) -> None:
        """Check the settings and import optional packages."""

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        *,
        seed: int,
        unlabelled: Sequence[str] | None = None,
    ) -> Fitted:
        """Train a model."""
