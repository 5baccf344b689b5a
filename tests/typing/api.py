"""The public API as a user's type checker sees it: checked by mypy, never executed."""

from collections.abc import Iterator
from typing import Any, assert_type

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

import textrnn
from textrnn import (
    Batch,
    BucketBatchSampler,
    CharTokenizer,
    PaddingCollator,
    RecurrentClassifier,
    TextClassifier,
    Trainer,
    Vocabulary,
    WordDataset,
    WordTokenizer,
    runtime,
)
from textrnn.errors import InvalidValueError, TextrnnError
from textrnn.estimator import Tuning, suspicious_labels, tune
from textrnn.estimator.evaluation import Mistakes
from textrnn.estimator.explanation import Explanations
from textrnn.estimator.fit_report import FitReport
from textrnn.nn import Pooling, RecurrentEncoder
from textrnn.plotting import plot_trials
from textrnn.text import Tokenizer
from textrnn.training import (
    Callback,
    Checkpoint,
    ClassificationReport,
    EarlyStopping,
    History,
    MultilabelReport,
    TrainingState,
    schedulers,
)

texts: list[str] = ["Oil prices soar", "Striker scores twice"]
labels: list[int] = [0, 1]


def split_on_spaces(text: str) -> list[str]:
    """Serve in a tokenizer's place."""
    return text.split()


def tokens_and_ids() -> None:
    """Strings to tokens to ids."""
    tokenizer = WordTokenizer(lowercase=True, remove_punctuation=False)
    assert_type(tokenizer("Oil prices"), list[str])
    assert_type(CharTokenizer(lowercase=False)("Oil"), list[str])
    own: Tokenizer = split_on_spaces
    TextClassifier(tokenizer=own), TextClassifier(tokenizer="char")
    vocabulary = Vocabulary.build(map(own, texts), min_freq=2, max_size=None)
    assert_type(vocabulary, Vocabulary)
    assert_type(vocabulary["oil"], int)
    assert_type(len(vocabulary), int)
    assert_type(vocabulary.encode(["oil"]), list[int])
    assert_type(vocabulary.decode([4], skip_specials=True), list[str])
    assert_type(vocabulary.coverage(map(own, texts)), float)
    assert_type(vocabulary.merge(vocabulary), Vocabulary)
    assert_type(vocabulary.tokens, tuple[str, ...])
    vocabulary.save("vocabulary.json")
    assert_type(Vocabulary.load("vocabulary.json"), Vocabulary)
    WordTokenizer(True)  # type: ignore[call-arg]  # keyword-only
    Vocabulary.build(["oil"], min_freq="2")  # type: ignore[arg-type]  # not a number


def batches(vocabulary: Vocabulary, tokenizer: WordTokenizer) -> Iterator[Batch]:
    """Texts to batches, from lists and from arrays."""
    data = WordDataset(texts, labels, vocabulary, tokenizer, max_length=256)
    WordDataset(np.array(texts), torch.tensor(labels), vocabulary, split_on_spaces)
    WordDataset(texts, None, vocabulary, tokenizer, add_bos=False, add_eos=False)
    assert_type(
        WordDataset(texts, None, vocabulary, tokenizer, weights=[1, 2]).weights, Tensor | None
    )
    rest, part = data.split(0.25, seed=0)
    assert_type(rest, WordDataset)
    assert_type(part.select([0]), WordDataset)
    assert_type(data[0], dict[str, Any])
    assert_type(data.lengths, Tensor)
    sampler = BucketBatchSampler(data, batch_size=128, seed=0)
    sampler.set_epoch(1)
    BucketBatchSampler([3, 9, 4], 2, shuffle=False, drop_last=True)
    collate = PaddingCollator(vocabulary.pad_id)
    loader: DataLoader[dict[str, Any]] = DataLoader(data, batch_sampler=sampler, collate_fn=collate)
    batch: Batch
    for batch in loader:  # torch's stubs don't know what a collator makes
        assert_type(batch.input_ids, Tensor)
        yield batch.to("cuda", non_blocking=True).pin_memory()


def logits(batch: Batch) -> Tensor:
    """A batch to logits."""
    model = RecurrentClassifier(
        10_000,
        num_classes=4,
        cell="lstm",
        hidden_size=512,
        num_layers=3,
        bidirectional=False,
        pooling=("max", "last"),
        dropout=0.1,
    )
    assert_type(model.encoder, RecurrentEncoder)
    assert_type(model.pooling, Pooling)
    assert_type(model.num_classes, int)
    assert_type(RecurrentClassifier.from_config(model.config), RecurrentClassifier)
    RecurrentClassifier(10_000, 4)  # type: ignore[call-arg]  # num_classes by name
    model.export("model.onnx")
    result: Tensor = model(batch.input_ids, batch.lengths)
    return result


class StopAtStep(Callback):
    """A callback of a user's own."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_batch_end(self, state: TrainingState) -> None:
        """Stop."""
        if state.step >= self.step:
            state.request_stop("that was enough")


def training(model: RecurrentClassifier, loader: DataLoader[Any], ready: list[Batch]) -> History:
    """Logits to a trained model."""
    trainer = Trainer(
        model,
        optimizer=torch.optim.Adam(model.parameters()),
        scheduler=schedulers.exponential(gamma=0.9),
        max_grad_norm=1.0,
        precision="bf16",
        callbacks=[EarlyStopping(patience=3), Checkpoint("run/", every_steps=500), StopAtStep(9)],
    )
    history = trainer.fit(loader, ready, epochs=15, eval_every=469)
    assert_type(history, History)
    assert_type(history["eval_accuracy"], list[float])
    assert_type(trainer.evaluate(loader)["accuracy"], float)
    assert_type(trainer.predict(ready), Tensor)
    return trainer.fit(loader, epochs=15, resume_from="run/")


def hub() -> None:
    """A classifier to the Hub and back."""
    classifier = TextClassifier.from_pretrained("owner/news", revision="v1", device="cpu")
    assert_type(classifier, TextClassifier)
    assert_type(classifier.push_to_hub("owner/news", license="mit", private=True), str)
    classifier.push_to_hub("owner/news")  # type: ignore[call-arg]  # a license is needed


def predictions(folder: str) -> None:
    """A saved classifier, with PyTorch and without."""
    TextClassifier.load(folder).export("exported", custom_tokenizer=True)
    for classifier in (TextClassifier.load(folder), runtime.load(folder, tokenizer=None)):
        assert_type(classifier.predict_proba(texts), NDArray[np.float64])
        assert_type(classifier.top_k(texts, 2, threshold=0.5), list[list[tuple[Any, float]]])
        assert_type(classifier.unknown_fraction(texts), NDArray[np.float64])
        assert_type(classifier.multi_label_, bool)
        assert_type(classifier.vocabulary_, Vocabulary)
        classifier.predict(texts, threshold={"sports": 0.5})
        runtime.load(folder, backend="onnx").predict(texts)
        classifier.predict(texts, threshold="0.5")  # type: ignore[arg-type]  # not a number


def estimator() -> None:
    """A classifier as scikit-learn uses it."""
    classifier = TextClassifier().fit(texts, labels, sample_weight=[1.0, 0.5])
    classifier.fit(texts, labels, None, texts, np.ones(2))
    assert_type(classifier.score(texts, labels, sample_weight=torch.ones(2)), float)
    assert_type(classifier.decision_function(texts), NDArray[np.float64])
    assert_type(classifier.set_fit_request(sample_weight=True, unlabelled="more"), TextClassifier)
    assert_type(classifier.set_score_request(sample_weight=None), TextClassifier)
    classifier.set_fit_request(True)  # type: ignore[call-arg]  # by name


def contributions() -> None:
    """What the parts of a classifier contribute, its mistakes, and labels that are wrong."""
    classifier = TextClassifier(network=False).fit(texts, labels)
    assert_type(classifier.report_, FitReport)
    assert_type(classifier.report_.gain, float | None)
    assert_type(classifier.report_.conclusion, str)
    report = classifier.evaluate(texts, labels)
    checked: ClassificationReport | MultilabelReport = report
    assert_type(checked.accuracy, float)
    assert_type(report.mistakes(5), Mistakes)
    assert_type(report.mistakes(5)[0].explanation.words, tuple[str, ...])
    positions, scores = suspicious_labels(texts, labels, classifier=classifier, folds=2)
    assert_type(positions, NDArray[np.int64])
    assert_type(scores, NDArray[np.float64])


def tuned() -> None:
    """Texts to a classifier with settings that were searched."""
    tuning = tune(texts, labels, minutes=10, trials=5, storage="trials.db", class_weight="balanced")
    assert_type(tuning, Tuning)
    assert_type(tuning.classifier, TextClassifier)
    assert_type(tuning.params, dict[str, Any])
    plot_trials(tuning.trials).savefig("trials.png")
    tune(texts, labels)  # type: ignore[call-arg]  # without minutes


def explanations(classifier: TextClassifier) -> None:
    """The weights of words."""
    found = classifier.explain(texts, "sports")
    assert_type(found, Explanations)
    assert_type(found[0].weights, tuple[float, ...])
    assert_type(classifier.top_features("sports", 3), list[tuple[str, float]])


def failing() -> None:
    """Errors are also built-ins."""
    error: ValueError = InvalidValueError("x")
    base: TextrnnError = InvalidValueError("x")
    raise error from base


assert_type(textrnn.__version__, str)


def misspelt() -> object:
    """Names come late, and a wrong one is found all the same."""
    return textrnn.TextClasifier  # type: ignore[attr-defined] # that it is found is the point
