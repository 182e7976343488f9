"""Right calls of Zhang et al. 2025, and of the models of linear attention."""

import numpy as np

import nlicl
from nlicl.models.linear_attention import reference as definition
from nlicl.models.linear_attention import steps
from nlicl.models.linear_attention.statistics import Statistics
from nlicl.papers import zhang2025
from nlicl.papers.zhang2025 import dynamics, population, reduced, reference

_TABLE = "steps of a table: they are called by nlicl.forward and nlicl.loss_and_grad"
EXCEPTIONS = {
    "nlicl.models.linear_attention.steps.LinearAttention": _TABLE,
    "nlicl.models.linear_attention.steps.OnCpu": _TABLE,
    "nlicl.models.linear_attention.steps.OnStatistics": _TABLE,
    "nlicl.models.linear_attention.steps.checked_result": "what steps say of their own numbers",
    "nlicl.models.separate_attention.steps.SeparateAttention": _TABLE,
    "nlicl.models.linear_attention.prompts.Prompts.cast": "for the descent, which checks the dtype of a run",
    "nlicl.models.linear_attention.reference.merged": "a check itself",
    "nlicl.models.linear_attention.statistics.Statistics.__getitem__": "refuses every argument",
    "nlicl.models.linear_attention.statistics.Statistics.loss_and_slope": "for the step, which checks",
    "nlicl.papers.zhang2025.law.Law.__getitem__": "refuses every argument",
    "nlicl.papers.zhang2025.law.Law.loss_and_slope": "for the step, which checks",
    "nlicl.papers.zhang2025.population.checked_covariance": "a check itself",
    "nlicl.papers.zhang2025.population.checked_length": "a check itself",
    "nlicl.papers.zhang2025.population.checked_matrix": "a check itself",
    "nlicl.papers.zhang2025.reduced.Descent": "what descend returns",
    "nlicl.papers.zhang2025.reduced.checked_weights": "a check itself",
    "nlicl.papers.zhang2025.seeds.Purpose": "numbers",
    "nlicl.papers.zhang2025.seeds.Statement": "numbers",
    "nlicl.papers.zhang2025.seeds.Test": "numbers",
}


def add(add):
    """The calls."""
    problem = zhang2025.Problem(d=3, length=4, heads=2, init=0.3, P=12, steps=3)
    prompts, params = problem.sample(6, seed=0), problem.initialize(seed=0)
    classes = zhang2025.Classifier(d=3, length=4, tasks=5, test_length=3, test_tasks=6, steps=2)
    Lambda, Mbar = np.diag([0.5, 0.3, 0.2]), np.eye(3)
    merged = reduced.reduced(params)
    tokens, labels = np.array(prompts.tokens), np.array(prompts.labels)

    add(nlicl.forward, params=params, prompts=prompts)
    add(nlicl.loss_and_grad, params=params, prompts=prompts)
    add(zhang2025.Prompts, tokens=tokens, labels=labels, softmax=True, scale=0.5)
    add(prompts.__getitem__, index=1)
    add(zhang2025.Prompt, tokens=tokens[0], z=0.5, query_attends=True, softmax=False, scale=1.0)
    add(definition.forward, params=params, prompt=prompts[0])
    add(definition.loss, params=params, prompt=prompts[0], loss="squared")
    add(steps.check_params, params=params, kind=zhang2025.Params)
    add(Statistics, E=2, S=np.eye(3), b=np.ones(3), c=1.0, prompts=2)
    add(Statistics.of, prompts=prompts)

    settings = {"covariance": "white", "Lambda_seed": 1, "corrected": True, "icl": 0.5, "task_seed": 1, "init": 0.1}
    sizes = {"d": 3, "length": 4, "heads": 2, "rank": 2, "softmax": False, "scale": 0.5, "P": 12, "steps": 3}
    add(zhang2025.Problem, **sizes, **settings, init_version="stacked", learning_rate=0.1, batch=None)
    add(problem.sample, n=6, length=4, seed=0, icl=0.5)
    add(problem.population, seed=0)
    add(problem.initialize, seed=0)
    add(problem.observer, seed=0)
    add(zhang2025.Observer, problem=problem, n=6, seed=0)
    add(problem.observer(seed=0).__call__, params=params)
    add(zhang2025.effective, params=params)
    add(zhang2025.Law, Lambda=Lambda, N=4, scale=0.5)
    add(zhang2025.Classifier, d=3, length=4, tasks=5, radius=2.0, flip=0.1, test_length=3, test_tasks=6, test_radius=1.0,
        test_flip=0.2, learning_rate=0.1, batch=2, steps=2)  # fmt: skip
    add(classes.sample, n=4, length=3, seed=0, radius=1.0, flip=0.1)
    add(classes.initialize, seed=0)
    add(classes.test_prompts, seed=0, exponent=0.6)
    add(classes.observer, seed=0)
    add(zhang2025.Accuracies, problem=classes, seed=0)
    add(zhang2025.accuracies, W=np.eye(3), prompts=classes.sample(4))

    add(reference.embedded, params=reference.Effective(Mbar))
    add(reference.loss, params=params, prompt=prompts[0])
    add(
        reference.population_loss, weights=reference.Effective(np.eye(2)), population=reference.Population(np.eye(2), 1)
    )
    add(reference.every_prompt, Lambda=np.eye(2), N=1)

    add(population.second_moment, Lambda=Lambda, N=4)
    add(population.loss, Mbar=Mbar, Lambda=Lambda, N=4, scale=0.5)
    add(population.gradient, Mbar=Mbar, Lambda=Lambda, N=4, scale=0.5)
    add(population.optimum, Lambda=Lambda, N=4, scale=0.5)
    add(population.least_loss, Lambda=Lambda, N=4)
    add(population.amplitudes, eigenvalues=np.array([0.5, 0.3]), N=4)
    add(population.saddle_losses, Lambda=Lambda, N=4)
    add(population.fixed_points, Lambda=Lambda, N=4)
    add(population.spectrum, Lambda=Lambda)
    add(population.factor, N=4, scale=0.5)

    add(reduced.reduced, params=params)
    add(reduced.effective, weights=merged)
    add(reduced.head_gradients, weights=merged, Lambda=Lambda, N=4, scale=0.5)
    add(reduced.descend, weights=merged, Lambda=Lambda, N=4, learning_rate=0.1, steps=3, scale=0.5, keep=[1])

    add(dynamics.imbalance, weights=merged)
    add(dynamics.white_course, t=np.array([0.0, 1.0]), D=3, N=4, w_0=0.1, eigenvalue=0.5)
    add(dynamics.early_rate, Lambda=Lambda)
    add(dynamics.early_product, weights=merged, Lambda=Lambda)
    add(dynamics.product_at, level=0.7, Lambda=Lambda, N=4)
    add(dynamics.merged_half_steps, weights=reduced.Merged(0.01 * merged.v, 0.01 * merged.U), Lambda=Lambda, N=4, level=0.7,
        learning_rate=0.1, scale=0.5)  # fmt: skip
    add(dynamics.Pi, x=0.5)
    add(dynamics.aligned_time, v=0.5, v_0=0.1, eigenvalue=0.5, amplitude=1.0)
    add(dynamics.aligned_course, t=1.0, v_0=0.1, eigenvalue=0.5, amplitude=1.0)
    add(dynamics.flow_time, kind="merged", steps=3, learning_rate=0.1, N=4, scale=0.5)
    add(dynamics.in_units_of_beta, weights=merged, N=4, scale=0.5)
    add(dynamics.drop_steps, losses=np.array([1.0, 0.5, 0.2]), levels=np.array([1.0, 0.3]))
    add(dynamics.flat_stretches, losses=np.ones(9), length=3, change=0.1)
