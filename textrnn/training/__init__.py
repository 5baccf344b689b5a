"""From logits to a trained model: the trainer, its callbacks, schedulers and metrics."""

from textrnn.training import schedulers
from textrnn.training.averaging import WeightAveraging
from textrnn.training.callbacks import (
    Callback,
    EarlyStopping,
    FreezeEmbeddings,
    LambdaCallback,
    LearningRateMonitor,
)
from textrnn.training.history import History
from textrnn.training.loggers import CSVLogger, JSONLogger, TensorBoardLogger
from textrnn.training.lr_finder import LearningRateCurve, find_learning_rate
from textrnn.training.metrics import ClassificationMetrics, MultilabelMetrics
from textrnn.training.pretraining import parameter_groups, pretrain
from textrnn.training.progress import ProgressBar
from textrnn.training.reports import ClassificationReport, MultilabelReport
from textrnn.training.resume.checkpoint import Checkpoint
from textrnn.training.state import TrainingState
from textrnn.training.trainer import Trainer

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "ClassificationMetrics",
    "ClassificationReport",
    "EarlyStopping",
    "FreezeEmbeddings",
    "History",
    "JSONLogger",
    "LambdaCallback",
    "LearningRateCurve",
    "LearningRateMonitor",
    "MultilabelMetrics",
    "MultilabelReport",
    "ProgressBar",
    "TensorBoardLogger",
    "Trainer",
    "TrainingState",
    "WeightAveraging",
    "find_learning_rate",
    "parameter_groups",
    "pretrain",
    "schedulers",
]
