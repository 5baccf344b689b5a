"""`TextClassifier`: raw strings in, labels out."""

from typing import TYPE_CHECKING

__all__ = ["TextClassifier"]

if TYPE_CHECKING:
    from textrnn.estimator.classifier import TextClassifier
else:  # imported on first use, so that the command line reads the options without PyTorch

    def __getattr__(name: str) -> object:
        """Import `TextClassifier` on first use."""
        if name != "TextClassifier":
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message, name=name)
        from textrnn.estimator.classifier import TextClassifier

        return TextClassifier

    def __dir__() -> list[str]:
        """List the names, imported yet or not."""
        return sorted({*globals(), *__all__})
