"""The only training loop, with its seeds, checkpoints, resume and log."""

from modalhash.training.devices import choose_device
from modalhash.training.loop import TrainingPlan, TrainingResult, train_method
from modalhash.training.pairs import TrainingData

__all__ = ["TrainingData", "TrainingPlan", "TrainingResult", "choose_device", "train_method"]
