"""Search for the settings of a `TextClassifier`, on Optuna."""

import logging
import math
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    NonFiniteLossError,
    check_float,
    check_int,
    expected,
    import_extra,
    shorten,
)
from textrnn.estimator.batches import read_examples, read_strings
from textrnn.estimator.classifier import TextClassifier
from textrnn.estimator.scoring import FOLDS, Scoring
from textrnn.training.distributed.processes import join

__all__ = ["Tuning", "tune"]

_LOGGER = logging.getLogger("textrnn")

_RANGES: dict[str, tuple[float, float]] = {
    "dropout": (0.1, 0.6),
    "embedding_dropout": (0.0, 0.6),
    "word_dropout": (0.0, 0.4),
    "label_smoothing": (0.0, 0.2),
    "ngram_order": (1, 3),
    "min_freq": (1, 4),
}
_FACTORS: dict[str, tuple[float, float]] = {
    "hidden_size": (0.5, 4),
    "embedding_size": (0.5, 4),
    "epochs": (0.5, 3),
    "learning_rate": (0.25, 2),
}
_FLAGS = ("spelling", "bidirectional")
"""The settings that are searched: their ranges, those in multiples of the default, and switches."""

_PROMISING = {"min_freq": 1, "ngram_order": 3}
"""The changes of the second trial, which pay where most texts are short."""

_STANDARD_ERRORS = 1.0  # by which a trial must beat the defaults
_HEARTBEAT, _GRACE = 10, 60  # seconds; a process without a sign of life for so long is dead


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The result of `tune`.

    Args:
        classifier: Classifier with the best settings, trained on all texts.
        params: The settings that were found; empty where no trial beat the defaults by more than
            chance.
        trials: A mapping for each trial that was not interrupted: `trial` (its number; the defaults
            come first), `log_loss` and `accuracy` on held-out texts, `pruned`, and its settings.
    """

    classifier: TextClassifier
    params: dict[str, Any]
    trials: list[dict[str, Any]]


def tune(
    texts: Iterable[str],
    labels: Iterable[Any],
    *,
    minutes: float,
    trials: int | None = None,
    storage: str | None = None,
    **params: Any,
) -> Tuning:
    """Search for the settings with the lowest loss on held-out texts, and train with them.

    The first trial has the defaults; Optuna's TPE sampler (Bergstra et al., 2011) suggests the
    others, and each is trained and scored on the same parts of the texts. A trial whose loss is not
    among the best third is pruned after a part. The defaults are kept unless the best trial beats
    them by more than a standard error of the difference.

    With a `storage`, a later call with the same texts and arguments continues the search, also
    after its process was killed, and several processes or machines share it.

    Args:
        texts: The texts, 100 or more.
        labels: The labels, as `TextClassifier.fit` takes them.
        minutes: Time of the search in minutes, the final training included. If it is too short
            for a trial, the defaults are kept.
        trials: Maximum number of trials, those of earlier calls included. Default: None.
        storage: Database of the trials: a URL that Optuna takes, or the path of an SQLite file.
            None keeps them in memory. Default: None.
        **params: Parameters of `TextClassifier`. Those given are not searched.

    Returns:
        The trained classifier, its settings and the trials.

    Raises:
        InvalidTypeError: If an argument has a wrong type.
        InvalidValueError: If an argument is out of range, there are fewer than 100 texts, the
            storage can't be opened, or several processes train together.
        KeyboardInterrupt: After Ctrl-C. The trials in a storage are kept.
        MissingDependencyError: If Optuna is not installed.
        OSError: If the storage fails during the search.

    Example:
        >>> texts = ["oil prices soar", "stocks fall", "striker scores", "keeper saves"] * 30
        >>> labels = ["business", "business", "sports", "sports"] * 30
        >>> tuning = tune(texts, labels, minutes=60, trials=2, hidden_size=8)
        >>> print(*tuning.classifier.predict(["oil stocks", "the keeper scores"]))
        business sports
        >>> [trial["trial"] for trial in tuning.trials]
        [0, 1]
    """
    start = time.monotonic()
    check_float("minutes", minutes, minimum=0.0, exclusive=True)
    if trials is not None:
        check_int("trials", trials, minimum=1)
    if storage is not None and not isinstance(storage, str):
        raise InvalidTypeError(expected("storage", "a URL or a path, as a string", storage))
    optuna = import_extra("optuna", extra="tune")
    if (count := join().count) > 1:
        rule = "1 (several search together with a `storage` that they share)"
        raise InvalidValueError(expected("processes", rule, count))
    classifier = TextClassifier(**params)
    texts = read_strings("texts", texts)
    labels = labels if isinstance(labels, Sized) else list(labels)
    scoring = Scoring(classifier.get_params(), read_examples(texts, labels))
    with _opened(optuna, storage, scoring.fingerprint) as study:
        search = _Search(optuna, study, scoring, fixed=set(params), end=start + 60 * minutes)
        search.run(math.inf if trials is None else trials)
        records, best = search.records(), search.best()
    classifier.set_params(**best).fit(texts, labels)
    return Tuning(classifier=classifier, params=best, trials=records)


class _Search:
    """Trials of one study, run by this process and perhaps by others."""

    def __init__(
        self, optuna: Any, study: Any, scoring: Scoring, *, fixed: AbstractSet[str], end: float
    ) -> None:
        self.optuna, self.study, self.scoring, self.end = optuna, study, scoring, end
        space = _space(scoring.settings)
        left_out = fixed | ({"label_smoothing"} if scoring.labels.multi_label else set())
        self.space = {name: bounds for name, bounds in space.items() if name not in left_out}
        self.states = optuna.trial.TrialState
        self.seconds = 0.0  # that a part of the last trial took

    def run(self, trials: float) -> None:
        """Run trials until time is up, at least one."""
        if found := self._trials("COMPLETE", "PRUNED"):
            _LOGGER.info("The storage has %d trials of an earlier or another search.", len(found))
        while True:
            done = len(self._trials("COMPLETE", "PRUNED"))
            if done >= trials and self._defaults() is not None:
                break
            self._enqueue_defaults(again=done >= trials)
            # A continued search draws other settings than before, as do others at the same time.
            entropy = [self.scoring.settings["seed"], len(self._trials())]
            with _quiet(self.optuna):
                self.study.sampler = self.optuna.samplers.TPESampler(
                    multivariate=True,
                    constant_liar=True,
                    seed=int(np.random.SeedSequence(entropy).generate_state(1)[0]),
                )
                self.study.optimize(self._run_trial, n_trials=1, catch=(_OutOfTimeError,))
            if not self._has_time():
                break

    def _enqueue_defaults(self, *, again: bool) -> None:
        """Enqueue the defaults if no trial has them, or `again` if one only runs."""
        states = ["COMPLETE", "WAITING", *(() if again else ("RUNNING",))]
        if any(map(_is_default, self._trials(*states))):
            return
        is_new = not self._trials()
        defaults = {name: self.scoring.settings[name] for name in self.space}
        self.study.enqueue_trial(defaults, user_attrs={"defaults": True})
        if is_new and self.space.keys() >= _PROMISING.keys():
            self.study.enqueue_trial(defaults | _PROMISING)

    def records(self) -> list[dict[str, Any]]:
        """Return the trials that were not interrupted."""
        return [
            {
                "trial": trial.number,
                "log_loss": trial.user_attrs["log_loss"],
                "accuracy": trial.user_attrs["accuracy"],
                "pruned": trial.state == self.states.PRUNED,
                **trial.params,
            }
            for trial in self._trials("COMPLETE", "PRUNED")
        ]

    def best(self) -> dict[str, Any]:
        """Return the settings to train with, none where the defaults are as good."""
        defaults = self._defaults()
        if defaults is None:
            return {}
        best = min(self._trials("COMPLETE"), key=lambda trial: trial.value)
        gains = np.subtract(defaults.user_attrs["losses"], best.user_attrs["losses"])  # (blocks,)
        noise = gains.std(ddof=1) / math.sqrt(len(gains))
        if (
            gains.mean() <= _STANDARD_ERRORS * noise
            or best.user_attrs["accuracy"] < defaults.user_attrs["accuracy"]
        ):
            _LOGGER.info("No trial beats the defaults by more than chance; they are kept.")
            return {}
        _LOGGER.info(
            "Trial %d is the best: log_loss %.4f instead of %.4f.",
            best.number,
            best.value,
            defaults.value,
        )
        return dict(best.params)

    def _run_trial(self, trial: Any) -> float:
        """Train and score with suggested settings, part by part."""
        params = {name: _suggest(trial, name, bounds) for name, bounds in self.space.items()}
        losses: list[float] = []
        accuracies: list[float] = []
        try:
            for part in range(self.scoring.parts):
                if part:
                    self._check_time()
                start = time.monotonic()
                score = self.scoring.score(params, part)
                self.seconds = time.monotonic() - start
                losses += score.losses
                accuracies.append(score.accuracy)
                trial.report(float(np.mean(losses)), part + 1)
                trial.set_user_attr("losses", [round(loss, 6) for loss in losses])
                trial.set_user_attr("log_loss", float(np.mean(losses)))
                trial.set_user_attr("accuracy", float(np.mean(accuracies)))
                pruned = trial.should_prune() and part + 1 < self.scoring.parts
                if pruned and not _is_default(trial):
                    self._log(trial, "; it is pruned")
                    raise self.optuna.TrialPruned
        except NonFiniteLossError as error:
            if _is_default(trial):
                raise
            trial.set_user_attr("log_loss", math.inf)
            trial.set_user_attr("accuracy", 0.0)
            raise self.optuna.TrialPruned from error
        except (_OutOfTimeError, KeyboardInterrupt):
            _repeat(self.study, trial)  # in a later search
            raise
        self._log(trial, "")
        return float(np.mean(losses))

    def _log(self, trial: Any, end: str) -> None:
        facts = trial.user_attrs
        message = "Trial %d: log_loss %.4f, accuracy %.4f%s."
        _LOGGER.info(message, trial.number, facts["log_loss"], facts["accuracy"], end)

    def _trials(self, *states: str) -> list[Any]:
        """Return the trials, or those in some states."""
        chosen = [self.states[name] for name in states] or None
        found: list[Any] = self.study.get_trials(deepcopy=False, states=chosen)
        return found

    def _defaults(self) -> Any:
        """Return the trial of the defaults, or None if it is not complete."""
        return next(filter(_is_default, self._trials("COMPLETE")), None)

    def _check_time(self) -> None:
        if not self._has_time():
            raise _OutOfTimeError

    def _has_time(self) -> bool:
        """Tell whether there is time for another part and for training with all texts."""
        return time.monotonic() + (2 + 1 / (FOLDS - 1)) * self.seconds < self.end


class _OutOfTimeError(Exception):
    """The time of a search is up while a trial runs."""


def _repeat(study: Any, trial: Any) -> None:
    """Enqueue the settings of a trial that was interrupted; a search sees to the defaults."""
    if trial.params and not _is_default(trial):
        study.enqueue_trial(trial.params)


def _is_default(trial: Any) -> bool:
    return bool(trial.user_attrs.get("defaults"))


def _space(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the range of each setting, which has the default; None stands for a switch."""
    space: dict[str, Any] = dict.fromkeys(_FLAGS)
    if not settings["network"]:
        space["network"] = None
    for name, (low, high) in _RANGES.items():
        space[name] = (min(low, settings[name]), max(high, settings[name]))
    for name, (low, high) in _FACTORS.items():
        default = settings[name]
        bounds = (low * default, high * default)
        space[name] = (max(int(bounds[0]), 1), int(bounds[1])) if default >= 1 else bounds
    return space


def _suggest(trial: Any, name: str, bounds: tuple[Any, Any] | None) -> Any:
    """Let Optuna suggest a value."""
    if bounds is None:
        return trial.suggest_categorical(name, (False, True))
    kind = trial.suggest_int if isinstance(bounds[1], int) else trial.suggest_float
    return kind(name, *bounds, log=name in _FACTORS)


@contextmanager
def _opened(optuna: Any, storage: str | None, name: str) -> Iterator[Any]:
    """Open the study of that name."""
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    if storage is None:
        with _quiet(optuna):
            study = optuna.create_study(study_name=name, pruner=pruner)
        yield study
        return
    alchemy = import_extra("sqlalchemy", extra="tune")
    url = storage
    if "://" not in storage:
        if set(storage) & set("?{}"):
            raise InvalidValueError(expected("storage", "a path without ?, { and }", storage))
        url = alchemy.URL.create("sqlite", database=storage).render_as_string()
    failures = (alchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, ImportError)
    try:
        with _quiet(optuna):
            opened = optuna.storages.RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {},
                heartbeat_interval=_HEARTBEAT,
                grace_period=_GRACE,
                heartbeat_stale_trial_callback=_repeat,
            )
            study = optuna.create_study(
                storage=opened, study_name=f"textrnn-{name}", pruner=pruner, load_if_exists=True
            )
    except failures as error:
        rule = f"a database that Optuna can open ({_reason(error)})"
        raise InvalidValueError(expected("storage", rule, storage)) from error
    try:
        yield study
    except (*failures, UnboundLocalError) as error:
        # Optuna 5.0 raises the latter where the storage fails while a trial runs.
        found = error.__context__ if isinstance(error, UnboundLocalError) else error
        if not isinstance(found, failures):
            raise
        raise OSError(f"The storage of the trials failed: {_reason(found)}.") from found
    finally:
        opened.remove_session()
        opened.engine.dispose()


def _reason(error: Exception) -> str:
    """Return the first line of an error's message."""
    return shorten(str(error).partition("\n")[0]).rstrip(".")


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Log nothing of Optuna's, and don't warn of its experimental parts."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
