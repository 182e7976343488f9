"""The convergence theorems of Huang et al. 2023 as experiments; their numbers in the paper are not known for sure."""

from . import convergence

THEOREMS = {experiment.name: experiment for experiment in (convergence.BALANCED, convergence.IMBALANCED)}
