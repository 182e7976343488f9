"""Time courses in closed form: merged heads on white inputs, and an aligned head with separate key and query."""

import math

import numpy as np

from ....core.checks import real
from ....core.errors import InvalidValue
from ....core.seeds import uncounted
from ....papers.zhang2025 import dynamics, population, reduced
from ....papers.zhang2025.reduced import Merged, Separate
from ....papers.zhang2025.seeds import Statement
from ...claims import Claim, every
from ...experiment import Experiment, Found, Measured, Options, Runs, Seeds, no_runs
from ...summary import stacked
from ...theorem import Condition, Theorem
from .common import DATA, MARKS, NUMBERS, check_sizes, falling, positive, rotated, settings, small

__all__ = ["COURSES"]

OPTIONS = {"D": 4, "N": 31, "heads": 4, "w_0": 0.05, "v_0": 0.2, "step": 0.004}
MOST_STEPS = 400_000
STATEMENT = (
    "tau dW/dt = -(1/2) dL/dW with tau = 1. Merged, Lambda = I, U_h(0) = v_h(0) I/sqrt(D), ||v(0)|| = w_0: Mbar = "
    "sigma(t) I, sigma = e^(2 sqrt(D) t) / (b (e^(2 sqrt(D) t) - 1) + sqrt(D)/w_0^2), b = 1 + (1 + D)/N [summary, "
    "checked]. Separate, one head on the eigenvector of lambda, v = k.e = q.e: dv/dt = lambda^2 v^2 (1 - v^3/a) "
    "[summary, checked], which comes to lambda^2 a^(1/3) t = Pi(v/a^(1/3)) - Pi(v_0/a^(1/3)) [derived]; its time to "
    "half is 1/(lambda^2 v_0) in leading order [derived]."
)
NOTES = [
    MARKS,
    NUMBERS,
    "Gradient descent is on the exact population with steps of `step` in the flow's time, over 2 sqrt(D) or over "
    "the largest lambda^2, and again with half the step: it is off by an amount in proportion to its step.",
    "The aligned head is on the largest eigenvalue of the authors' spectrum, with random axes; the axes of heads "
    "are the seed's.",
]


def check(options: Options) -> None:
    check_sizes(options)
    positive(options, "w_0", "v_0", "step")
    real("step", options["step"], "of at most 0.02: that of a flow", lambda x: x <= 0.02)
    limit = _largest(options)[1] ** (1 / 3)
    if not options["v_0"] < 0.75 * limit:
        raise InvalidValue(f"v_0 is {options['v_0']:g}; expected below {0.75 * limit:.3g}, which is to be grown to.")
    top = 1 / (1 + (1 + options["D"]) / options["N"])
    if options["w_0"] ** 2 / math.sqrt(options["D"]) >= top / 2:
        raise InvalidValue(f"w_0 is {options['w_0']:g}: sigma starts above half of its limit {top:.3g}. Lower it.")
    steps = max(_ends(options)) / options["step"]
    if steps > MOST_STEPS:
        raise InvalidValue(
            f"step is {options['step']:g}: a run takes {steps:.2g} steps; expected at most {MOST_STEPS}. Raise step, "
            "w_0 or v_0."
        )


def _largest(options: Options) -> tuple[float, float]:
    values = falling(options["D"])
    return float(values[0]), float(population.amplitudes(values, options["N"])[0])


def _ends(options: Options) -> tuple[float, float]:
    """Where the runs end, in units of 1/(2 sqrt(D)), and of 1/lambda^2."""
    D, N = options["D"], options["N"]
    b = 1 + (1 + D) / N
    merged = math.log(max(2.0, math.sqrt(D) / (options["w_0"] ** 2 * b))) + 5
    lam, a = _largest(options)
    limit = a ** (1 / 3)
    aligned = float(dynamics.aligned_time(0.97 * limit, options["v_0"], lam, a)) * lam**2
    return merged, aligned


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    found: dict[str, float] = {}
    for share in (1.0, 0.5):
        for kind, of in (("merged", _merged), ("separate", _separate)):
            found |= {
                f"{kind} {name} {share:g}": value for name, value in of(options, seed, share * options["step"]).items()
            }
    return found


def _merged(options: Options, seed: int, step: float) -> dict[str, float]:
    D, N, w_0 = (options[name] for name in ("D", "N", "w_0"))
    v = uncounted(Statement.BALANCED, seed).standard_normal(options["heads"])
    v *= w_0 / np.linalg.norm(v)
    eta = step / (2 * math.sqrt(D)) / 2
    steps = math.ceil(_ends(options)[0] / step)
    at = np.unique(np.linspace(0, steps, 40).astype(int))
    start = Merged(v, v[:, None, None] * np.eye(D) / math.sqrt(D))
    run = reduced.descend(start, np.eye(D), N, learning_rate=eta, steps=steps, keep=at)
    Mbar = np.array([reduced.effective(weights) for weights in run.kept])
    sigma = np.trace(Mbar, axis1=1, axis2=2) / D
    closed = dynamics.white_course(dynamics.flow_time("merged", at, eta, N), D, N, w_0)
    return {
        "off": np.abs(sigma - closed).max() * (1 + (1 + D) / N),
        "shape": np.abs(Mbar - sigma[:, None, None] * np.eye(D)).max(),
        "end": sigma[-1] * (1 + (1 + D) / N),
    }


def _separate(options: Options, seed: int, step: float) -> dict[str, float]:
    D, N, v_0 = (options[name] for name in ("D", "N", "v_0"))
    Lambda = rotated(falling(D), seed)
    lam, a = _largest(options)
    _, axes = population.spectrum(Lambda)
    k = v_0 * axes[None, None, :, 0]
    eta = step / lam**2 / 2
    steps = math.ceil(_ends(options)[1] / step)
    at = np.unique(np.linspace(0, steps, 40).astype(int))
    run = reduced.descend(Separate(np.array([v_0]), k, k.copy()), Lambda, N, learning_rate=eta, steps=steps, keep=at)
    v, limit = np.array([weights.v[0] for weights in run.kept]), a ** (1 / 3)
    closed = dynamics.aligned_course(dynamics.flow_time("separate", at, eta, N), v_0, lam, a)
    ends = run.weights
    half = dynamics.aligned_time((a / 2) ** (1 / 3), 1e-3 * limit, lam, a) * lam**2 * 1e-3 * limit
    return {
        "off": np.abs(v - closed).max() / limit,
        "shape": max(np.abs(part[0, 0] - ends.v[0] * axes[:, 0]).max() for part in ends[1:]),
        "end": v[-1] / limit,
        "half": float(half),
    }


def assemble(options: Options, seeds: Seeds, found: Found) -> Theorem:
    of, step = stacked(found), options["step"]
    claims: list[Claim] = []
    for kind, what in (("merged", "sigma over its limit"), ("separate", "v over its limit")):
        off = of[f"{kind} off 1"]
        claims += [
            every(f"{kind}: {what}, against the closed form, at any time", off, high=2 * step),
            every(f"{kind}: distance at half the step, over it", of[f"{kind} off 0.5"] / off, 0.45, 0.55),
            small(f"{kind}: Mbar off its direction", of[f"{kind} shape 1"], 1e-10),
            every(f"{kind}: {what}, at the end", of[f"{kind} end 1"], 0.9, 1),
        ]
    claims.append(
        every(
            "separate: time to half, over 1/(lambda^2 v_0), for v_0 a thousandth of the limit",
            of["separate half 1"],
            0.99,
            1.01,
        )
    )
    conditions = [
        DATA,
        Condition("merged: white inputs, balanced weights [summary]", f"Lambda = I, w_0 = {options['w_0']:g}", True),
        Condition("separate: rank one, v = k.e = q.e [summary]", f"v_0 = {options['v_0']:g}", True),
        Condition("a flow: steps small [summary]", f"step = {step:g}", None),
    ]
    return Theorem("Time courses in closed form", STATEMENT, settings(options), seeds, conditions, claims, NOTES)


COURSES = Experiment(
    "time-courses", "time courses in closed form, merged and separate", no_runs, measure, assemble, OPTIONS, check
)
