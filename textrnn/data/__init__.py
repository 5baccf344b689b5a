"""From ids to batches."""

from typing import TYPE_CHECKING

from textrnn._lazy import lazy_names

__all__ = [
    "Batch",
    "BucketBatchSampler",
    "FileRows",
    "HubRows",
    "PaddingCollator",
    "WordDataset",
]

if TYPE_CHECKING:
    from textrnn.data.batching import Batch, PaddingCollator
    from textrnn.data.corpus.rows import FileRows, HubRows
    from textrnn.data.dataset import WordDataset
    from textrnn.data.sampler import BucketBatchSampler
else:  # imported on first use, so that tables are read without PyTorch
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Batch": "batching",
            "BucketBatchSampler": "sampler",
            "FileRows": "corpus.rows",
            "HubRows": "corpus.rows",
            "PaddingCollator": "batching",
            "WordDataset": "dataset",
        },
    )
