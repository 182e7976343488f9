"""What gradient flow conserves: on the population, and in the full model on any prompts."""

import numpy as np
from numpy.typing import NDArray

from ....core.checks import integer
from ....core.seeds import uncounted
from ....models.front import loss_and_grad
from ....models.linear_attention.prompts import Params, Prompts, SeparateParams
from ....papers.zhang2025 import dynamics, reduced
from ....papers.zhang2025.reduced import Merged, Separate
from ....papers.zhang2025.seeds import Statement
from ...claims import Claim, every
from ...experiment import Experiment, Found, Measured, Options, Runs, Seeds, no_runs
from ...summary import stacked
from ...theorem import Condition, Theorem
from .common import MARKS, NUMBERS, check_sizes, falling, positive, rotated, settings, small

__all__ = ["CONSERVATION"]

OPTIONS = {"D": 3, "N": 8, "heads": 2, "rank": 2, "learning_rate": 0.05}
STEPS = 200
LAWS = {
    "merged": "v_h v_h' - <U_h, U_h'>",
    "value": "||vt_h||^2 - ||K_h||_F^2",
    "ranks": "K_h K_h^T - Q_h Q_h^T",
}
STATEMENT = (
    "Gradient flow conserves, with merged keys and queries on u = v_x = 0, v_h v_h' - <U_h, U_h'> for all pairs of "
    "heads; with separate ones ||vt_h||^2 - ||K_h||_F^2 and K_h K_h^T - Q_h Q_h^T, also in the full model and on "
    "any prompts; under softmax attention the last alone [derived]. Gradient descent changes them at second order "
    "in its step."
)
NOTES = [
    MARKS,
    NUMBERS,
    "That a quantity is conserved is looked at in two ways: its derivative along the gradient is 0, at dense random "
    "weights and on random prompts; and over one and the same time of descent on the population it drifts in "
    "proportion to the step.",
    "Derivatives are over the sum of the absolute values of their terms.",
]


def check(options: Options) -> None:
    check_sizes(options)
    integer("rank", options["rank"], 1, 100)
    positive(options, "learning_rate", most=0.2)


def _relative(change: NDArray, *terms: NDArray) -> float:
    return float(np.abs(change).max() / max(sum(np.abs(term).max() for term in terms), 1e-300))


def _model(options: Options, seed: int, softmax: bool) -> dict[str, float]:
    """Derivatives of the laws along the gradient of the full model, separate keys and queries, on random prompts."""
    N, H, R = (options[name] for name in ("N", "heads", "rank"))
    rng, E = uncounted(Statement.CONSERVED, seed), options["D"] + 1
    tokens = rng.standard_normal((5, N + 1, E))
    tokens[:, -1, -1] = 0
    params = SeparateParams(*(rng.standard_normal(shape) for shape in ((H, E, E), (H, R, E), (H, R, E))))
    prompts = Prompts(tokens, rng.standard_normal(5), softmax=softmax)
    _, grads = loss_and_grad(params, prompts)
    value, by_value = (2 * np.einsum("hi,hi->h", one[:, -1], other[:, -1]) for one, other in ((params.V, grads.V),) * 2)
    key = 2 * np.einsum("hri,hri->h", params.K, grads.K)
    keys, queries = (
        (one := a @ b.transpose(0, 2, 1)) + one.transpose(0, 2, 1)
        for a, b in ((params.K, grads.K), (params.Q, grads.Q))
    )
    return {"value": _relative(value - key, by_value, key), "ranks": _relative(keys - queries, keys, queries)}


def _merged_model(options: Options, seed: int) -> float:
    """The same with merged ones on u = v_x = 0, prompts of an exact law in that w and -w are both there."""
    D, N, H = (options[name] for name in ("D", "N", "heads"))
    rng, E = uncounted(Statement.CONSERVED_MERGED, seed), options["D"] + 1
    tokens = rng.standard_normal((4, N + 1, E))
    tokens[:, -1, -1] = 0
    labels = rng.standard_normal(4)
    both = np.concatenate([tokens, tokens * np.append(np.ones(D), -1.0)])
    V, W = np.zeros((2, H, E, E))
    V[:, -1, -1], W[:, :D, :D] = rng.standard_normal(H), rng.standard_normal((H, D, D))
    _, grads = loss_and_grad(Params(V, W), Prompts(both, np.concatenate([labels, -labels])))
    v, U, dv, dU = V[:, -1, -1], W[:, :D, :D].reshape(H, -1), grads.V[:, -1, -1], grads.W[:, :D, :D].reshape(H, -1)
    values, inner = np.outer(dv, v), dU @ U.T
    return _relative(values + values.T - inner - inner.T, values, inner)


def _drifts(options: Options, seed: int) -> dict[str, float]:
    """The drift of each law on the population, and that at a tenth of the step over it."""
    D, N, H, R = (options[name] for name in ("D", "N", "heads", "rank"))
    rng, Lambda = uncounted(Statement.DRIFTS, seed), rotated(falling(options["D"]), seed)
    found: dict[str, float] = {}
    for start in (
        Merged(*(0.3 * rng.standard_normal(shape) for shape in ((H,), (H, D, D)))),
        Separate(*(0.5 * rng.standard_normal(shape) for shape in ((H,), (H, R, D), (H, R, D)))),
    ):
        before, drift = dynamics.imbalance(start), {}
        for refine in (1, 10):
            run = reduced.descend(
                start, Lambda, N, learning_rate=options["learning_rate"] / refine, steps=STEPS * refine
            )
            after = dynamics.imbalance(run.weights)
            for name in before:
                drift[name, refine] = float(np.abs(after[name] - before[name]).max())
        moved = max(np.abs(a - b).max() for a, b in zip(run.weights, start, strict=True))
        for name in before:
            law = "merged" if name == "heads" else name
            found |= {
                f"drift {law}": drift[name, 1] / moved,
                f"order {law}": drift[name, 10] / drift[name, 1],
            }
    return found


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    linear, soft = _model(options, seed, False), _model(options, seed, True)
    return {
        "merged": _merged_model(options, seed),
        **linear,
        "softmax value": soft["value"],
        "softmax ranks": soft["ranks"],
        **_drifts(options, seed),
    }


def assemble(options: Options, seeds: Seeds, found: Found) -> Theorem:
    of = stacked(found)
    claims: list[Claim] = [
        small("merged, u = v_x = 0, prompts with w and -w: derivative of " + LAWS["merged"], of["merged"]),
        small("separate, full model, any prompts: derivative of " + LAWS["value"], of["value"]),
        small("separate, full model, any prompts: derivative of " + LAWS["ranks"], of["ranks"]),
        small("softmax, full model, any prompts: derivative of " + LAWS["ranks"], of["softmax ranks"]),
        every("softmax: derivative of " + LAWS["value"] + " (not conserved)", of["softmax value"], 1e-6),
    ]
    for name, law in LAWS.items():
        claims += [
            every(f"population: drift of {law}, over how far weights move", of[f"drift {name}"], high=0.5),
            every(f"population: drift of {law} at a tenth of the step, over it", of[f"order {name}"], 0.07, 0.13),
        ]
    conditions = [
        Condition(
            "gradient flow [summary]", f"descent with eta = {options['learning_rate']:g}, and a tenth of it", None
        ),
        Condition("any prompts and weights, separate [derived]", "random ones", True),
        Condition("the population, or prompts symmetric in w, merged [derived]", "both", True),
    ]
    return Theorem("Conservation laws", STATEMENT, settings(options), seeds, conditions, claims, NOTES)


CONSERVATION = Experiment(
    "conservation", "what gradient flow conserves, merged and separate", no_runs, measure, assemble, OPTIONS, check
)
