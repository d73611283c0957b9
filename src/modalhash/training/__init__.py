"""The only training loop, with its seeds, checkpoints, resume and log."""

from modalhash.training.loop import TrainingPlan, TrainingResult, train_method
from modalhash.training.pairs import TrainingData

__all__ = ["TrainingData", "TrainingPlan", "TrainingResult", "train_method"]
