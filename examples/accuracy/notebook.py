"""The notebook's GRU, trained as `examples.ag_news` trains it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from examples.accuracy.methods import Fitted
from examples.ag_news.data import Corpus, Texts
from examples.ag_news.experiments import EXPERIMENTS
from examples.ag_news.pipeline import Encoded, make_model, make_trainer, scale_min_freq
from examples.ag_news.results import choose_device

__all__ = ["EXPERIMENT", "NotebookGru"]

EXPERIMENT = EXPERIMENTS["exp1-gru"]


@dataclass(frozen=True)
class NotebookGru:
    """The network of `exp1-gru`; 5 % of the training texts select its checkpoint."""

    name = "notebook-gru"
    title = "the notebook's GRU"
    baseline = False
    random = True
    unlabelled = False
    device: str = "auto"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the experiment."""
        return EXPERIMENT.settings()

    def prepare(self) -> None:
        """Need nothing but the library."""

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        *,
        seed: int,
        unlabelled: Sequence[str] | None = None,
    ) -> Fitted:
        """Train the network."""
        del unlabelled
        device = choose_device(self.device)
        corpus = Corpus.of(Texts(texts, labels), Texts(texts[:1], labels[:1]))
        encoded = Encoded(corpus, scale_min_freq(EXPERIMENT.min_freq, len(texts)))
        loader = encoded.training_loader(seed=seed)
        torch.manual_seed(seed)
        model = make_model(EXPERIMENT, encoded.vocabulary)
        trainer = make_trainer(EXPERIMENT, model, [], device=device, precision="fp32")
        history = trainer.fit(
            loader,
            encoded.evaluation_batches(encoded.validation, device),
            epochs=EXPERIMENT.epochs,
            eval_every=max(1, len(loader) // 2),
        )

        def predict(rows: Sequence[str]) -> Sequence[int]:
            batches = encoded.evaluation_batches(
                encoded.encode(Texts(rows, [0] * len(rows))), device
            )
            return trainer.predict(batches).argmax(1).tolist()

        facts = {
            "validation": max(record.get("eval_accuracy", 0.0) for record in history),
            "weights": sum(weight.numel() for weight in model.parameters()),
            "words": len(encoded.vocabulary),
        }
        return Fitted(predict, facts)
