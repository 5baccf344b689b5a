"""The examples for Ray on a local cluster, where Ray is installed."""

import os
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from examples.ray import measure, predict
from examples.text_classifier.sample import read_sample
from textrnn import TextClassifier

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # Ray's own
]


@pytest.fixture(name="cluster", scope="module")
def _cluster():
    """Start a cluster of two workers on this machine."""
    environment = {"env_vars": {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}}
    ray.init(num_cpus=3, include_dashboard=False, runtime_env=environment)
    yield
    ray.shutdown()


@pytest.fixture(name="shards")
def _shards(tmp_path):
    """Write a model and four files of 500 numbered texts; return the classifier and the table."""
    texts, labels = read_sample("train", 2000)
    classifier = TextClassifier(preset="fast", progress=False).fit(texts[:400], labels[:400])
    classifier.save(tmp_path / "model")
    table = pa.table({"id": range(2000), "text": texts})
    (tmp_path / "texts").mkdir()
    for shard in range(4):
        pq.write_table(table.slice(500 * shard, 500), tmp_path / "texts" / f"{shard}.parquet")
    return classifier, table


@pytest.mark.usefixtures("cluster")
def test_each_row_is_labelled_once_though_a_worker_dies(shards, tmp_path, monkeypatch):
    """The labels are those of the classifier."""
    classifier, table = shards

    class Dying(predict.Labeller):
        def __call__(self, columns) -> predict.Columns:
            if 1200 in columns["id"] and not (tmp_path / "died").exists():
                (tmp_path / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(columns)

    monkeypatch.setattr(predict, "Labeller", Dying)
    monkeypatch.setattr(predict, "BATCH_SIZE", 100)
    arguments = [str(tmp_path / name) for name in ("model", "texts", "labelled")]
    predict.main(arguments)
    assert (tmp_path / "died").exists()
    found = pq.read_table(tmp_path / "labelled").sort_by("id")
    assert found["id"].to_pylist() == list(range(2000))
    texts = table["text"].to_pylist()
    assert found["label"].to_pylist() == classifier.predict(texts).tolist()
    expected = classifier.predict_proba(texts).max(axis=1)
    np.testing.assert_allclose(found["probability"].to_numpy(), expected, atol=1e-5)
    with pytest.raises(FileExistsError, match="name a new folder"):
        predict.main(arguments)


@pytest.mark.usefixtures("cluster")
def test_training_goes_on_to_the_same_bits_after_a_worker_was_killed(tmp_path):
    """The last checkpoint is that of an uninterrupted run."""
    facts = measure.train_twice(tmp_path)
    assert facts["worker_killed_at_step"] is not None
    assert facts["same_weights"]
