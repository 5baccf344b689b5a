"""From ids to batches."""

from textrnn.data.batching import Batch, PaddingCollator
from textrnn.data.corpus.rows import FileRows, HubRows
from textrnn.data.dataset import WordDataset
from textrnn.data.sampler import BucketBatchSampler

__all__ = [
    "Batch",
    "BucketBatchSampler",
    "FileRows",
    "HubRows",
    "PaddingCollator",
    "WordDataset",
]
