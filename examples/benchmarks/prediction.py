"""Benchmarks of prediction: many texts at once, and single texts."""

import time
from collections.abc import Iterator
from functools import partial

import torch

from examples.benchmarks import notebook
from examples.benchmarks.corpus import Corpus
from examples.benchmarks.measuring import Measurement, figure, in_turns, ratio, timed
from textrnn import TextClassifier


def _fitted(corpus: Corpus) -> TextClassifier:
    split = corpus.train.head(2000)
    classifier = TextClassifier(
        cell="gru",
        hidden_size=256,
        num_layers=1,
        bidirectional=False,
        pooling="mean",
        epochs=1,
        seed=0,
        progress=False,
    )
    return classifier.fit(split.texts, split.labels)


def many_strings(corpus: Corpus, repeats: int) -> Iterator[Measurement]:
    """Predict probabilities of all test texts, compared with the notebook's evaluation loop."""
    classifier, test = _fitted(corpus), corpus.test
    ids = notebook.count_words(corpus.train.texts)
    program = notebook.Program(
        test.texts, test.labels, ids, cell="gru", hidden_size=256, num_layers=1
    )
    ours, theirs = in_turns(
        lambda: classifier.predict_proba(test.texts),
        lambda: program.evaluate(test.texts, test.labels, ids),
        repeats=repeats,
    )
    work = (len(test.texts), len(test.texts))
    yield ratio(
        "strings to probabilities, 7,600 texts, GRU 256",
        "the notebook's evaluation loop",
        ours,
        theirs,
        work=work,
        bar=6,
        aim=8,
    )


def reviews(corpus: Corpus, repeats: int) -> Iterator[Measurement]:
    """Predict probabilities of long texts with network and n-grams."""
    train, texts = corpus.imdb.head(2000), corpus.imdb.texts[-2000:]
    classifier = TextClassifier(network=True, progress=False)
    classifier.fit(train.texts, train.labels)
    classifier.predict_proba(texts)
    rates = [len(texts) / timed(partial(classifier.predict_proba, texts)) for _ in range(repeats)]
    name = "reviews of IMDB to probabilities, TextClassifier(network=True)"
    yield figure(name, rates, unit="texts/s", bar=1500, smaller_is_better=False)


def one_string(corpus: Corpus, repeats: int) -> Iterator[Measurement]:
    """Predict probabilities of single texts, with all threads and with one.

    Texts are predicted in succession, as in a busy server, and after a garbage collection, which
    empties the caches of the processor as other work would.
    """
    del repeats
    classifier = _fitted(corpus)
    texts = corpus.test.texts[:300]
    threads = torch.get_num_threads()
    for number in dict.fromkeys((threads, 1)):
        torch.set_num_threads(number)
        try:
            for text in texts[:20]:
                classifier.predict_proba([text])
            warm = []
            for text in texts:
                start = time.perf_counter()
                classifier.predict_proba([text])
                warm.append(1000 * (time.perf_counter() - start))
            cold = [1000 * timed(partial(classifier.predict_proba, [text])) for text in texts]
        finally:
            torch.set_num_threads(threads)
        name = f"one string to probabilities, GRU 256, threads: {number}"
        yield figure(name, warm, unit="ms", bar=1.0, aim=0.7)
        yield figure(f"{name}, empty caches", cold, unit="ms")
