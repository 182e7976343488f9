"""The theorems of Bu et al. 2024 as experiments; of the paper's conditions and constants only the kinds are known."""

from . import composition, convergence

THEOREMS = {experiment.name: experiment for experiment in (convergence.CONVERGENCE, composition.COMPOSITION)}
