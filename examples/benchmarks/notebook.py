"""The baseline: a plain PyTorch program that does what the notebook does.

It tokenizes a text each time it is read, shuffles without regard to length, pads to the longest
text of the batch and pools over padding. It does not use textrnn.
"""

import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from nltk.tokenize import word_tokenize
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
MAX_LENGTH = 256


def tokenize(text: str) -> list[str]:
    """Lower-case, delete punctuation, split with NLTK."""
    words: list[str] = word_tokenize(text.lower().translate(_NO_PUNCTUATION), preserve_line=True)
    return words


def count_words(texts: Sequence[str], *, more_than: int = 25) -> dict[str, int]:
    """Count the words of all texts and number the frequent ones."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(tokenize(text))
    kept = ["<unk>", "<bos>", "<eos>", "<pad>"]
    kept += [word for word, count in counts.items() if count > more_than]
    return {word: number for number, word in enumerate(kept)}


class Texts(Dataset[dict[str, Any]]):
    """A data set that tokenizes a text each time it is read."""

    def __init__(self, texts: Sequence[str], labels: Sequence[int], ids: dict[str, int]) -> None:
        self.texts, self.labels, self.ids = texts, labels, ids

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        unknown = self.ids["<unk>"]
        words = [self.ids.get(word, unknown) for word in tokenize(self.texts[index])]
        return {"ids": [self.ids["<bos>"], *words, self.ids["<eos>"]], "label": self.labels[index]}


def collate(ids: dict[str, int]) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
    """Return a function that pads a batch to its longest text."""

    def pad(items: list[dict[str, Any]]) -> dict[str, Tensor]:
        longest = min(max(len(item["ids"]) for item in items), MAX_LENGTH)
        rows = [
            item["ids"][:longest] + [ids["<pad>"]] * (longest - len(item["ids"])) for item in items
        ]
        return {
            "input_ids": torch.LongTensor(rows),
            "labels": torch.LongTensor([item["label"] for item in items]),
        }

    return pad


class Network(nn.Module):
    """Embedding, recurrent layers, mean pooling over time with padding, two linear layers."""

    def __init__(
        self, vocab_size: int, *, cell: str, hidden_size: int, num_layers: int, padding: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, hidden_size, padding_idx=padding)
        kind: Any = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.rnn = kind(hidden_size, hidden_size, num_layers=num_layers, batch_first=True)
        self.linear = nn.Linear(hidden_size, hidden_size)
        self.projection = nn.Linear(hidden_size, 4)
        self.tanh = nn.Tanh()
        self.dropout = nn.Dropout(p=0.1)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return logits `(batch, 4)` for ids `(batch, time)`."""
        output, _ = self.rnn(self.embedding(input_ids))  # (batch, time, hidden)
        output = output.mean(dim=1)  # (batch, hidden)
        output = self.dropout(self.linear(self.tanh(output)))  # (batch, hidden)
        logits: Tensor = self.projection(self.tanh(output))  # (batch, 4)
        return logits


class Program:
    """The notebook's program with one of its models."""

    def __init__(
        self, texts: Sequence[str], labels: Sequence[int], ids: dict[str, int], **model: Any
    ) -> None:
        self.loader = DataLoader(
            Texts(texts, labels, ids), batch_size=128, shuffle=True, collate_fn=collate(ids)
        )
        self.network = Network(len(ids), padding=ids["<pad>"], **model)
        self.optimizer = torch.optim.Adam(self.network.parameters())
        self.loss = nn.CrossEntropyLoss()

    def train(self) -> None:
        """Train for one epoch."""
        self.network.train()
        for batch in self.loader:
            self.optimizer.zero_grad()
            loss = self.loss(self.network(batch["input_ids"]), batch["labels"])
            loss.backward()
            self.optimizer.step()

    def evaluate(self, texts: Sequence[str], labels: Sequence[int], ids: dict[str, int]) -> float:
        """Return the accuracy on texts."""
        loader = DataLoader(
            Texts(texts, labels, ids), batch_size=128, shuffle=False, collate_fn=collate(ids)
        )
        self.network.eval()
        right = 0
        with torch.no_grad():
            for batch in loader:
                predicted = self.network(batch["input_ids"]).argmax(dim=1)
                right += int((predicted == batch["labels"]).sum())
        return right / len(texts)
