"""A classifier's networks: pretrained together, then trained one after the other."""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from textrnn._fitting import Outcome, Witness, fit_network, new_network, seeded
from textrnn._loading import prediction_loader
from textrnn._settings import Settings
from textrnn.data import WordDataset
from textrnn.nn import EnsembleClassifier, RecurrentClassifier
from textrnn.training import ProgressBar, pretrain
from textrnn.training.contexts import CTRL_C
from textrnn.training.distributed import join
from textrnn.training.evaluation import evaluate
from textrnn.training.pretraining import usual_batch_size
from textrnn.training.step import Precision

__all__ = ["fit_networks"]


def fit_networks(
    train_set: WordDataset,
    eval_set: WordDataset | None,
    settings: Settings,
    *,
    before: Sequence[RecurrentClassifier],
    corpus: WordDataset | None,
    num_classes: int,
    class_weights: Any,
    device: torch.device,
    progress: bool,
) -> tuple[RecurrentClassifier | EnsembleClassifier, Outcome]:
    """Train the networks of a classifier.

    The first has the seed of the settings, and is the one that a classifier of one network has;
    each further one has a seed that follows from it. What was pretrained is the same in all of
    them; their heads, the order of the texts and dropout are not. Ctrl-C leaves out new networks
    that come after the one under way.

    Args:
        train_set: The texts to learn from.
        eval_set: The texts that tell which weights are best and when to stop, or None.
        settings: How to train.
        before: Networks to go on with, which stay as they are; as many as `settings` says, or none.
        corpus: The texts to pretrain new networks on, or None.
        num_classes: Number of classes.
        class_weights: As the `Trainer` takes them.
        device: Where to train.
        progress: Whether to show bars on a terminal.

    Returns:
        The network, or several as one, and what became of its training: the measures are those of
        all together (of the last alone, if n-grams will change them), everything else is told of
        the last.

    Raises:
        KeyboardInterrupt: After Ctrl-C while pretraining, when nothing is there yet that predicts.
    """
    pretrained = None
    if corpus is not None:
        with seeded(settings.seed, device):
            pretrained = new_network(
                settings, vocab_size=len(corpus.vocabulary), num_classes=num_classes
            )
        _pretrain(pretrained, corpus, settings, device=device, progress=progress)
    networks: list[RecurrentClassifier] = []
    several = settings.num_networks > 1
    for number in range(settings.num_networks):
        own = replace(settings, seed=_seed_of(settings.seed, number))
        with seeded(own.seed, device):
            if before:
                network = deepcopy(before[number])
            else:
                network = new_network(
                    own, vocab_size=len(train_set.vocabulary), num_classes=num_classes
                )
            if pretrained is not None:
                network.embedding.load_state_dict(pretrained.embedding.state_dict())
                network.encoder.load_state_dict(pretrained.encoder.state_dict())
            outcome = fit_network(
                network,
                train_set,
                eval_set,
                own,
                class_weights=class_weights,
                device=device,
                progress=progress,
                stage=f"network {number + 1} of {settings.num_networks}" * several,
            )
        networks.append(network)
        if outcome.stopped == CTRL_C:
            # Those that were there before have learned already, and stay as they were.
            networks += map(deepcopy, before[number + 1 :])
            break
    if len(networks) == 1:
        return networks[0], outcome
    ensemble = EnsembleClassifier(networks).eval()
    if eval_set is not None and not settings.ngram_order:  # else n-grams change the measures
        metrics = evaluate(
            ensemble,
            prediction_loader(eval_set, shared=True),
            outcome.loss,
            precision=Precision(settings.precision, device),
            processes=join(),
        )
        outcome = replace(outcome, metrics=metrics)
    return ensemble, outcome


def _pretrain(
    network: RecurrentClassifier,
    corpus: WordDataset,
    settings: Settings,
    *,
    device: torch.device,
    progress: bool,
) -> None:
    """Train the embedding and the encoder of a network on texts without labels."""
    stage = "pretraining"
    witness = Witness(stage)
    pretrain(
        network,
        corpus,
        epochs=settings.pretrain_epochs,
        # Several processes share each batch out, so that their number hardly changes anything.
        batch_size=math.ceil(usual_batch_size(corpus) / join().count),
        precision=settings.precision,
        device=device,
        seed=settings.seed,
        callbacks=[ProgressBar(disable=None if progress else True, description=stage), witness],
    )
    if witness.stopped == CTRL_C:
        raise KeyboardInterrupt


def _seed_of(seed: int, number: int) -> int:
    """Return a network's own seed, so that no two seeds of a classifier share a further network."""
    return int(np.random.default_rng([seed, number]).integers(2**32)) if number else seed
