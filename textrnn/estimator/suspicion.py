"""Find labels that are probably wrong, with cleanlab."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import check_int, import_extra
from textrnn.estimator.batches import read_examples
from textrnn.estimator.classifier import TextClassifier
from textrnn.runtime.labels import LabelSet

__all__ = ["suspicious_labels"]


def suspicious_labels(
    texts: Iterable[str],
    labels: Iterable[Any],
    *,
    classifier: TextClassifier | None = None,
    folds: int = 5,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sort labelled texts by how probably their labels are wrong.

    Each text is labelled by a classifier that was trained on the other parts of the texts, and
    cleanlab scores the given label by these probabilities (Northcutt et al., "Confident Learning:
    Estimating Uncertainty in Dataset Labels", 2021, https://arxiv.org/abs/1911.00068). It needs the
    extra `labels`.

    Args:
        texts: The texts.
        labels: Their labels, as for `TextClassifier.fit`.
        classifier: Classifier whose parameters are used; it is not fitted. None is
            `TextClassifier(network=False)`, which takes a fraction of the time. Default: None.
        folds: Number of parts. scikit-learn warns of a label with fewer texts. Default: 5.

    Returns:
        Positions of all texts, the most suspicious label first, and the scores in the same order,
        both `(texts,)`. A score is from 0, wrong, to 1.

    Raises:
        InvalidTypeError: As `TextClassifier.fit`, or if `folds` is not an integer.
        InvalidValueError: As `TextClassifier.fit`, or if `folds` is below 2.
        ValueError: If there are fewer texts than parts.
        MissingDependencyError: If cleanlab or scikit-learn is not installed.

    Example:
        >>> texts = ["oil prices soar", "stocks and oil fall", "the striker scores"] * 10
        >>> labels = ["business", "business", "sports"] * 10
        >>> labels[4] = "sports"
        >>> positions, scores = suspicious_labels(texts, labels)
        >>> int(positions[0])
        4
    """
    selection = import_extra("sklearn.model_selection", extra="labels")
    folds = check_int("folds", folds, minimum=2)
    strings, values = read_examples(texts, labels)
    known = LabelSet.of(values)
    targets = known.encode(values).astype(np.int64)  # (texts,) or (texts, labels)
    pattern = TextClassifier(network=False) if classifier is None else classifier
    # Labels are numbers here, and probabilities need no threshold.
    params = pattern.get_params() | {"threshold": 0.5}
    if isinstance(weights := params["class_weight"], Mapping):
        numbers = {known.id_of(name, "`class_weight`"): each for name, each in weights.items()}
        params["class_weight"] = numbers
    kind = selection.KFold if known.multi_label else selection.StratifiedKFold
    probabilities = selection.cross_val_predict(
        type(pattern)(**params),
        np.array(strings, dtype=object),
        targets,
        cv=kind(folds, shuffle=True, random_state=params["seed"]),
        method="predict_proba",
    )  # (texts, labels)
    if known.multi_label:
        module = import_extra("cleanlab.multilabel_classification", extra="labels")
        given: Any = [np.flatnonzero(row).tolist() for row in targets]
    else:
        module, given = import_extra("cleanlab.rank", extra="labels"), targets
    scores = np.asarray(module.get_label_quality_scores(given, probabilities), dtype=np.float64)
    order = np.argsort(scores, kind="stable")
    return order, scores[order]
