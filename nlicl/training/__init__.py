"""Training by gradient descent: plan, descent, optimizers, runs and their checkpoints."""

from .checkpoint import load_run
from .loop import train
from .many import Runs
from .optimizers import SGD, Adam, AdamW, OptimizerState
from .runs import Diverged, History, Run
from .schedules import InverseTime

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Diverged",
    "History",
    "InverseTime",
    "OptimizerState",
    "Run",
    "Runs",
    "load_run",
    "train",
]
