"""Right calls of the theory of onenn2024: the closed two-parameter system, laws and bounds."""

import numpy as np

from nlicl.papers.onenn2024 import population, theory

EXCEPTIONS: dict[str, str] = {}


def add(add):
    source = population.Source(np.array([[0.9, 0.2, -0.5], [0.1, 0.3, 0.2]]), np.array([0.25, 0.75]), 4)
    add(population.Source, cosines=np.array([[0.9, 0.2], [0.1, 0.3]]), weights=np.array([0.25, 0.75]), d=4)
    add(population.exact, N=2, d=5, points=6)
    add(population.sampled, N=3, d=4, M=10, seed=0)
    add(population.moments, xi1=1.0, xi2=2.0, source=source, kappa=0.5)
    add(population.accuracy, xi1=1.0, source=source, K=3, seed=0)
    add(population.descend, source=source, sigma=3.0, eta=0.5, steps=4, kappa=0.5, every=2)
    add(population.flow, source=source, sigma=3.0, tau=[1.0, 2.0], tolerance=1e-6)
    sizes = {"N": 3, "d": 5}
    add(theory.density_constant, d=5)
    add(theory.printed_density_constant, d=5)
    add(theory.density, t=0.3, d=5)
    add(theory.distribution, t=0.3, d=5)
    add(theory.nearest_mean, **sizes)
    add(theory.gap_density, r=0.3, **sizes)
    add(theory.gap_survival, r=0.3, **sizes)
    add(theory.loss_constant, **sizes)
    add(theory.at_zero, **sizes, sigma=3.0)
    add(theory.start_accuracy, N=4, K=3)
    add(theory.ratio, xi1=50.0, **sizes)
    add(theory.slow_growth, tau=10.0, **sizes, rho=0.5)
    add(theory.crossing_time, **sizes, sigma=28.0)
    add(theory.a, **sizes)
    add(theory.sigma_conditions, **sizes)
    add(theory.lemma_9, xi1=1.0, xi2=2.0, **sizes)
    add(theory.lemma_10, xi1=1.0, xi2=2.0)
    add(theory.lemma_11, xi1=1.0, xi2=2.0, **sizes)
