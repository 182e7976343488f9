"""Right calls of the public functions of onenn2024 and of its model."""

import numpy as np

from nlicl.models.nearest import prompts as model_prompts
from nlicl.models.nearest import reference as model_reference
from nlicl.models.nearest import steps as model_steps
from nlicl.papers import onenn2024
from nlicl.papers.onenn2024 import family, observer, population, reference, theory

EXCEPTIONS = {
    "nlicl.papers.onenn2024.gradients": "formulas: plain NumPy, as they stand in the paper",
    "nlicl.papers.onenn2024.sampling": "parts of Problem.sample, which checks",
    "nlicl.papers.onenn2024.descent": "parts of Problem.fresh_descent, which training asks for",
    "nlicl.papers.onenn2024.seeds": "numbers of purposes",
    "nlicl.papers.onenn2024.reference.member": "a part of definitions, of any dtype",
    "nlicl.papers.onenn2024.problem.Problem.fresh_descent": "called by train, which checks what it gives",
    "nlicl.papers.onenn2024.law.Law.__getitem__": "refuses every argument",
    "nlicl.models.nearest.prompts.Prompt": "made by Prompts, which check",
    "nlicl.models.nearest.prompts.Prompts.cast": "called by train, which checks the dtype of a run",
    "nlicl.models.nearest.steps.Nearest": "steps of a table: they are called by nlicl.forward and nlicl.loss_and_grad",
    "nlicl.models.nearest.prompts.codes": "a part of Prompts, which checks",
    "nlicl.models.nearest.steps.check_fit": "a part of steps, which check",
    "nlicl.models.nearest.steps.check_loss": "a part of steps, which check",
}


def add(add):
    problem = onenn2024.Problem(d=3, length=4)
    prompts, params = problem.sample(3), problem.initialize()
    add(onenn2024.Problem)
    add(problem.sample, n=3, length=4, seed=0)
    add(problem.separated, n=3, delta=0.1, length=4, seed=0)
    add(problem.initialize, seed=0)
    add(onenn2024.Problem(draws=5).population, seed=0)
    add(problem.observer, seed=0)
    add(onenn2024.Observer, problem=problem, n=5, seed=0)
    add(observer.errors, params=params, prompts=prompts)
    add(model_prompts.Prompts, inputs=np.ones((2, 3, 2)), classes=np.array([[0, 1], [1, 0]]), K=2, mixture=0.5)
    add(prompts.__getitem__, index=1)
    add(model_steps.check_params, params=params)
    add(model_reference.forward, params=params, prompt=prompts[0])
    add(model_reference.loss, params=params, prompt=prompts[0], loss="squared")
    add(family.member, xi1=1.0, xi2=2.0, d=3, K=3)
    add(family.width, K=3)
    add(family.blocks, params=params, K=3)
    add(family.place, params=params, K=3)
    source = population.exact(2, 5, points=4)
    add(onenn2024.Law, source=source, K=3)
    add(population.Source, cosines=np.array([[0.5, -0.5]]), weights=np.ones(1), d=3)
    add(population.exact, N=2, d=5, points=4)
    add(population.sampled, N=2, d=5, M=3, seed=0)
    add(population.moments, xi1=1.0, xi2=2.0, source=source, kappa=0.5)
    add(population.accuracy, xi1=1.0, source=source, K=3, seed=0)
    add(population.descend, source=source, sigma=3.0, eta=1.0, steps=2, kappa=0.5, every=1)
    add(population.flow, source=source, sigma=3.0, tau=np.array([1.0, 2.0]), tolerance=1e-4)
    for function in (theory.density_constant, theory.printed_density_constant):
        add(function, d=5)
    for function in (theory.density, theory.distribution):
        add(function, t=0.5, d=5)
    for function in (theory.gap_density, theory.gap_survival):
        add(function, r=0.5, N=3, d=5)
    for function in (theory.nearest_mean, theory.loss_constant, theory.a, theory.sigma_conditions):
        add(function, N=3, d=5)
    for function in (theory.at_zero, theory.crossing_time):
        add(function, N=3, d=5, sigma=3.0)
    for function in (theory.lemma_9, theory.lemma_11):
        add(function, xi1=1.0, xi2=2.0, N=3, d=5)
    add(theory.lemma_10, xi1=1.0, xi2=2.0)
    add(theory.ratio, xi1=100.0, N=3, d=5)
    add(theory.slow_growth, tau=1000.0, N=3, d=5, rho=0.5)
    add(theory.start_accuracy, N=3, K=3)
    inputs, cosines = reference.Inputs(np.ones((2, 3)), 2), reference.Cosines(np.array([0.5, -0.5]), 3, 2)
    add(reference.labelled, inputs=inputs)
    add(reference.label_averaged_loss, weights=reference.Averaged(np.eye(5)), inputs=inputs)
    add(reference.embedded, cosines=cosines)
    add(reference.reduced_loss, weights=reference.Xi(np.array([1.0, 2.0])), cosines=cosines)
