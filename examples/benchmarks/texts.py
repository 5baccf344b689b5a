"""Benchmarks from texts to ids."""

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator

from examples.benchmarks import notebook
from examples.benchmarks.corpus import Corpus
from examples.benchmarks.measuring import Measurement, figure, in_turns, ratio, timed
from textrnn import Vocabulary, WordTokenizer
from textrnn.text import encode_texts


def tokenizing(corpus: Corpus, repeats: int) -> Iterator[Measurement]:
    """Tokenize single texts, compared with NLTK after lower-casing and deleting punctuation."""
    texts = corpus.test.texts
    tokenizer = WordTokenizer()
    different = sum(tokenizer(text) != notebook.tokenize(text) for text in corpus.train.texts)
    different += sum(tokenizer(text) != notebook.tokenize(text) for text in texts)
    ours, theirs = in_turns(
        lambda: [tokenizer(text) for text in texts],
        lambda: [notebook.tokenize(text) for text in texts],
        repeats=repeats,
    )
    yield ratio(
        "tokenizing, text by text",
        "NLTK's word_tokenize",
        ours,
        theirs,
        work=(len(texts), len(texts)),
        bar=20,
        aim=25,
        texts_with_other_tokens=different,
    )


def encoding(corpus: Corpus, repeats: int) -> Iterator[Measurement]:
    """Build the vocabulary and encode AG-33k, compared with the notebook's first epoch."""
    texts = corpus.train.texts

    def ours() -> None:
        vocabulary = Vocabulary.from_texts(texts, WordTokenizer(), min_freq=26)
        encode_texts(texts, WordTokenizer(), vocabulary, max_length=256)

    def theirs() -> None:
        data = notebook.Texts(texts, [0] * len(texts), notebook.count_words(texts))
        for index in range(len(data)):
            data[index]

    mine, other = in_turns(ours, theirs, repeats=max(repeats // 2, 2), warm_up=0)
    work = (len(texts), len(texts))
    yield ratio(
        "vocabulary and encoding of AG-33k",
        "the notebook's counting and one epoch of its tokenizing",
        mine,
        other,
        work=work,
        bar=15,
        aim=40,
    )


def encoded_memory(corpus: Corpus, repeats: int) -> Iterator[Measurement]:
    """Measure the bytes of an encoded token and the temporary memory of encoding."""
    del repeats
    vocabulary, texts = corpus.vocabulary, corpus.train.texts
    tokenizer = WordTokenizer()
    encode_texts(texts[:10], tokenizer, vocabulary)
    tracemalloc.start()
    flat, lengths = encode_texts(texts, tokenizer, vocabulary)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    beside = (peak - flat.nbytes - lengths.nbytes) / 2**20
    yield figure("bytes of an encoded token", [flat.nbytes / len(flat)], unit="bytes", bar=4)
    yield figure("memory while encoding, beyond the result", [beside], unit="MiB", bar=50)


def importing(corpus: Corpus, repeats: int) -> Iterator[Measurement]:
    """Measure the time to import the library beyond `import torch`, in new processes."""
    del corpus

    def start(code: str) -> float:
        command = [sys.executable, "-c", code]
        return timed(lambda: subprocess.run(command, check=True, env=dict(os.environ)))  # noqa: S603 # our own code

    everything = "from textrnn import *"
    start(everything)
    seconds = [start(everything) - start("import torch") for _ in range(max(repeats, 5))]
    yield figure("import of textrnn beyond import torch", seconds, unit="s", bar=0.3, aim=0.1)
    helps = [
        start(
            "import sys; sys.argv = ['textrnn', '--version']; from textrnn.cli import main; main()"
        )
        for _ in range(3)
    ]
    yield figure("textrnn --version", helps, unit="s")
