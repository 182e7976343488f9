"""Right calls of the public functions of onenn2024 and of its model."""

import numpy as np

from nlicl.models.nearest import prompts as model_prompts
from nlicl.models.nearest import reference as model_reference
from nlicl.models.nearest import steps as model_steps
from nlicl.papers import onenn2024
from nlicl.papers.onenn2024 import family, observer, reference

EXCEPTIONS = {
    "nlicl.papers.onenn2024.gradients": "formulas: plain NumPy, as they stand in the paper",
    "nlicl.papers.onenn2024.sampling": "parts of Problem.sample, which checks",
    "nlicl.papers.onenn2024.descent": "parts of Problem.fresh_descent, which training asks for",
    "nlicl.papers.onenn2024.seeds": "numbers of purposes",
    "nlicl.papers.onenn2024.reference.member": "a part of definitions, of any dtype",
    "nlicl.papers.onenn2024.reference.of_loss": "makes definitions",
    "nlicl.models.nearest.prompts.codes": "a part of Prompts, which checks",
    "nlicl.models.nearest.steps.check_fit": "a part of steps, which check",
    "nlicl.models.nearest.steps.check_loss": "a part of steps, which check",
}


def add(add):
    problem = onenn2024.Problem(d=3, length=4)
    prompts, params = problem.sample(3), problem.initialize()
    add(onenn2024.Problem)
    add(onenn2024.Problem.sample, self=problem, n=3, length=4, seed=0)
    add(onenn2024.Problem.separated, self=problem, n=3, delta=0.1, length=4, seed=0)
    add(onenn2024.Problem.initialize, self=problem, seed=0)
    add(onenn2024.Problem.population, self=onenn2024.Problem(draws=5), seed=0)
    add(onenn2024.Problem.settings, self=problem)
    add(onenn2024.Problem.observer, self=problem, seed=0)
    add(onenn2024.Observer, problem=problem, n=5, seed=0)
    add(observer.errors, params=params, prompts=prompts)
    add(model_prompts.Prompts, inputs=np.ones((2, 3, 2)), classes=np.array([[0, 1], [1, 0]]), K=2, mixture=0.5)
    add(model_steps.check_params, params=params)
    add(model_reference.forward, params=params, prompt=prompts[0])
    add(model_reference.loss, params=params, prompt=prompts[0], loss="squared")
    add(family.member, xi1=1.0, xi2=2.0, d=3, K=3)
    add(family.width, K=3)
    add(family.blocks, params=params, K=3)
    add(family.place, params=params, K=3)
    inputs, cosines = reference.Inputs(np.ones((2, 3)), 2), reference.Cosines(np.array([0.5, -0.5]), 3, 2)
    add(reference.labelled, inputs=inputs)
    add(reference.label_averaged_loss, weights=reference.Averaged(np.eye(5)), inputs=inputs)
    add(reference.embedded, cosines=cosines)
    add(reference.reduced_loss, weights=reference.Xi(np.array([1.0, 2.0])), cosines=cosines)
