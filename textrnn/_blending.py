"""The linear model over n-grams that a classifier has beside its recurrent network."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, cast

from torch import Tensor

from textrnn._loading import Loader, prediction_loader
from textrnn._settings import Settings
from textrnn.data import Batch, WordDataset
from textrnn.ngrams import BlendedClassifier, NgramClassifier, fit_scales, ngram_path
from textrnn.nn import RecurrentClassifier
from textrnn.text import Vocabulary
from textrnn.training.evaluation import evaluate, predict
from textrnn.training.losses import Loss
from textrnn.training.step import Precision

__all__ = ["blend"]

_PRIOR_VARIANCES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_UNTRIED = 10.0  # where there is no validation part to choose by
_MOST_WEIGHTS = 2**23  # of the linear model, whose solver holds some 25 copies: 800 MB


class _Chain:
    """The batches of several loaders, one after the other, any number of times."""

    def __init__(self, *loaders: Iterable[Batch]) -> None:
        self.loaders = loaders

    def __iter__(self) -> Iterator[Batch]:
        return chain.from_iterable(self.loaders)


def blend(
    recurrent: RecurrentClassifier,
    train_set: WordDataset,
    eval_set: WordDataset | None,
    settings: Settings,
    *,
    previous: NgramClassifier | None,
    class_weights: Any,
    loss: Loss,
    held_out: bool,
) -> tuple[BlendedClassifier, dict[str, float]]:
    """Put a linear model over n-grams beside a trained recurrent network.

    The validation part tells how closely that model should fit, and how much each of the two has to
    say.

    Args:
        recurrent: The trained network.
        train_set: The texts to learn from.
        eval_set: The validation part, or None.
        settings: How to train.
        previous: A linear model to go on from, or None.
        class_weights: As the `Trainer` takes them.
        loss: What measures the loss.
        held_out: Whether the validation part was taken from the texts to learn from. The linear
            model, whose fit is chosen by then, learns from it as well in the end.

    Returns:
        Both together, and the measures of the validation part before the linear model saw it.
    """
    device = next(recurrent.parameters()).device
    precision = Precision("fp32", device)
    train_loader: Any = prediction_loader(train_set)
    most = _MOST_WEIGHTS // (recurrent.num_classes * (1 + settings.spelling))
    arguments: dict[str, Any] = {
        "vocab_size": recurrent.vocab_size,
        "num_classes": recurrent.num_classes,
        "max_order": settings.ngram_order,
        "max_ngrams": min(settings.max_ngrams, most),
        "padding_id": recurrent.padding_id,
        "class_weights": class_weights,
        "words": _words(train_set.vocabulary) if settings.spelling else None,
        "previous": previous,
    }
    if eval_set is None:
        path = ngram_path(train_loader, prior_variances=(_UNTRIED,), **arguments)
        return BlendedClassifier(recurrent, path[0]).to(device).eval(), {}
    eval_loader: Loader = prediction_loader(eval_set)
    path = ngram_path(train_loader, prior_variances=_PRIOR_VARIANCES, **arguments)
    read = predict(recurrent, eval_loader, precision=precision)  # (texts, classes)
    labels = cast("Tensor", eval_set.labels)
    trials = []
    for ngrams in path:
        found = predict(ngrams.to(device), eval_loader, precision=precision)  # (texts, classes)
        trials.append(fit_scales((read, found), labels))
    best = min(range(len(trials)), key=lambda index: trials[index][1])
    network = BlendedClassifier(recurrent, path[best])
    network.scales.copy_(trials[best][0])
    network.to(device).eval()
    metrics = evaluate(network, eval_loader, loss, precision=precision)
    if held_out:
        variances = _PRIOR_VARIANCES[best : best + 1]
        both = _Chain(train_loader, eval_loader)
        network.ngrams = ngram_path(both, prior_variances=variances, **arguments)[0].to(device)
    return network, metrics


def _words(vocabulary: Vocabulary) -> list[str]:
    """Return the word of each id; special tokens are none."""
    specials = len(vocabulary.specials)
    return [""] * specials + list(vocabulary.tokens[specials:])
