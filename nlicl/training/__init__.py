"""Training by gradient descent: plan, descent, optimizers, runs and their checkpoints."""

from .checkpoint import load_run
from .loop import train
from .optimizers import SGD, Adam, AdamW
from .runs import Diverged, History, Run
from .schedules import InverseTime

__all__ = ["SGD", "Adam", "AdamW", "Diverged", "History", "InverseTime", "Run", "load_run", "train"]
