"""The theorems of Li et al. 2024 as experiments."""

from . import generalization, identities, mechanism, pruning

THEOREMS = {
    experiment.name: experiment
    for experiment in (
        generalization.IN_DOMAIN,
        generalization.OUT_OF_DOMAIN,
        pruning.PRUNING,
        mechanism.PROJECTION,
        mechanism.CONCENTRATION,
        mechanism.ALIGNMENT,
        identities.IDENTITIES,
    )
}
