"""Count, encode and train on generated texts, and print the peak memory, for the memory tests.

``python -m tests.corpus_script FOLDER TEXTS "stream"|"memory"``
"""

import json
import random
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from textrnn import (
    BucketBatchSampler,
    PaddingCollator,
    RecurrentClassifier,
    Trainer,
    Vocabulary,
    WordDataset,
    WordTokenizer,
)
from textrnn.data.corpus import stored
from textrnn.text import WordCounter


def rows(count):
    """Yield texts of 300 words with labels, with a hundred texts in memory."""
    generator = random.Random(0)
    words = [f"word{i}" for i in range(3000)]
    texts = [" ".join(generator.choices(words, k=300)) for _ in range(100)]
    for index in range(count):
        # New strings, as from a file, so that a list of them needs memory for each.
        yield f"{texts[index % 100]} end{index % 7}", index % 2


def peak():
    """Return the peak memory of this process in MiB."""
    # Not `getrusage`, which includes the peak of the parent process.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main(folder, count, kind):
    """Print the peak after each step as JSON; train only on a data set in a folder."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # Smaller, as these texts are fewer than a real corpus.
    stored.MAPPED_BYTES = 2 * 2**20
    tokenizer = WordTokenizer()
    if kind == "stream":
        counter = WordCounter(tokenizer)
        counter.update(text for text, _ in rows(count))
        vocabulary = counter.vocabulary(min_freq=2)
        counted = peak()
        dataset = WordDataset.build(folder, rows(count), vocabulary, tokenizer)
    else:
        texts, labels = zip(*rows(count), strict=True)
        vocabulary = Vocabulary.from_texts(texts, tokenizer, min_freq=2)
        counted = peak()
        dataset = WordDataset(texts, labels, vocabulary, tokenizer)
    figures = {"ids": len(dataset.input_ids), "counted": counted, "built": peak()}
    if kind == "stream":
        figures["trained"] = train(dataset)
    sys.stdout.write(json.dumps(figures))


def train(dataset):
    """Train for one epoch, and return the peak."""
    sampler = BucketBatchSampler(dataset, 32, seed=0)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=PaddingCollator(max_length=32))
    model = RecurrentClassifier(len(dataset.vocabulary), num_classes=2, cell="rnn", hidden_size=4)
    Trainer(model, progress=False).fit(loader, epochs=1)
    return peak()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
