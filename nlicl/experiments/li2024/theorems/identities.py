"""What training of Li et al. 2024 conserves exactly, measured along a run: none of it is the paper's statement."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ....core.seeds import Li2024Test, for_test
from ....models.front import forward, loss_and_grad
from ....models.transformer.prompts import CodedPrompts, Params
from ....papers import li2024
from ....papers.li2024 import mechanism
from ...claims import every
from ...experiment import Experiment, Found, Measured, Options, Runs, Seeds, Training
from ...settings import of_problem
from ...summary import span, stacked
from ...theorem import Condition, Theorem
from . import setting

__all__ = ["IDENTITIES"]

STATEMENT = (
    "1. Every in-domain token has one IDR pattern, so W_K [mu-bar; 0] never changes [derived]. 2. With m_a = d, the columns "
    "of W_Q and the rows of W_Q and W_K on label coordinates stay 0 [derived]. 3. By 1, rows of the change of mu^T W_K mu "
    "sum to 0: on average off-diagonal = -diagonal / (M1 - 1); for W_Q approximately, while t is small [derived]. 4. On every "
    "batch W_O^T dW_O = dW_V W_V^T, W_Q dW_Q^T = dW_K W_K^T, <W_Q, dW_Q> = <W_K, dW_K>, <W_O, dW_O> = <W_V, dW_V> = <a, da> = "
    "mean of g F, g = -z 1[1 - zF > 0] [derived]. None of them is the paper's statement."
)
EARLY = (20, 100)


def watch(problem: li2024.Problem, seed: int) -> Callable[[Params], Measured]:
    """An `observe` for training: the parameters themselves."""
    return lambda params: params._asdict()


def runs(options: Options) -> dict[str, Training]:
    few = setting.problem(options)
    early = Training(replace(few, steps=max(EARLY)), measure=EARLY, observe=watch)
    return {"few": setting.watched(options, few), "early": early}


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    problem, run = setting.problem(options), runs["few"]
    start, end = problem.initialize(seed=seed), run.params
    d_X = problem.d_X
    common = np.r_[problem.mu_bar, np.zeros(problem.d_Y)]
    found = {
        "W_K mu-bar": np.max(np.abs((end.W_K - start.W_K) @ common)) / np.linalg.norm(start.W_K @ common),
        "mu-bar W_Q": np.linalg.norm(common @ (end.W_Q - start.W_Q)) / np.linalg.norm(common @ start.W_Q),
        "zero block": max(np.abs(block).max() for block in (end.W_Q[:, d_X:], end.W_Q[d_X:], end.W_K[d_X:])),
        "label columns of W_K": np.abs(end.W_K[:, d_X:]).max(),
    }
    history = runs["early"].history
    for W in ("W_Q", "W_K"):
        for t in EARLY:
            moved = mechanism.pattern_block(history.at(t, W) - getattr(start, W), problem.mu)
            off = moved.sum() - np.trace(moved)
            found[f"{W} at {t}"] = np.trace(moved) / -off - 1  # ratio of the means over -(M1 - 1), less 1
        moved = mechanism.pattern_block(history.at(t, W) - getattr(start, W), np.vstack([problem.mu, problem.nu]))
        relevant = np.diag(moved)[: problem.M1]
        found[f"{W} irrelevant"] = np.abs(np.diag(moved)[problem.M1 :]).max() / relevant.mean()
    prompts = problem.sample(problem.batch, seed=for_test(seed, Li2024Test.IDENTITIES))
    at = {t: Params(*(history.at(t, name) for name in Params._fields)) for t in EARLY}
    found["balance"] = max(balance(params, prompts) for params in at.values())
    return found


def balance(params: Params, prompts: CodedPrompts) -> float:
    """The largest relative violation of identity 4 on a batch."""
    _, d = loss_and_grad(params, prompts, "hinge")
    score = forward(params, prompts).score
    gF = np.mean(np.where(1 - prompts.labels * score > 0, -prompts.labels * score, 0))
    pairs = [
        (params.W_O.T @ d.W_O, d.W_V @ params.W_V.T),
        (params.W_Q @ d.W_Q.T, d.W_K @ params.W_K.T),
        (np.vdot(params.W_Q, d.W_Q), np.vdot(params.W_K, d.W_K)),
        *((np.vdot(W, dW), gF) for W, dW in ((params.W_O, d.W_O), (params.W_V, d.W_V), (params.a, d.a))),
    ]
    return float(max(np.linalg.norm(one - other) / np.linalg.norm(other) for one, other in pairs))


def assemble(options: Options, seeds: Seeds, found: Found) -> Theorem:
    of = stacked(found)
    claims = [
        every("1. drift of W_K [mu-bar; 0] over the whole run, relative", of["W_K mu-bar"], high=1e-12),
        every("2. label columns of W_Q, label rows of W_Q and W_K, largest entry", of["zero block"], high=0),
        *(
            every(
                f"3. {W} at step {t}: deviation of diagonal / off-diagonal from -(M1 - 1), relative",
                np.abs(of[f"{W} at {t}"]), high=bound,
            )
            for W, bound in (("W_K", 1e-9), ("W_Q", 0.05)) for t in EARLY
        ),
        every("4. balance of gradients on a batch, worst of six, relative", of["balance"], high=1e-12),
        every("not conserved: drift of mu-bar^T W_Q, relative", of["mu-bar W_Q"], 1e-6),
        every("not conserved: label columns of W_K, largest entry", of["label columns of W_K"], 1e-6, 0.1),
    ]  # fmt: skip
    notes = [
        "Identity 1 needs in-domain prompts, identity 2 the exact start: delta on the first d_X diagonal entries of W_Q, W_K.",
        f"At step {max(EARLY)} entries of the change on irrelevant patterns are at most {span(of['W_K irrelevant'])} (W_K) "
        f"and {span(of['W_Q irrelevant'])} (W_Q) of the mean diagonal one [measured].",
    ]
    few = setting.problem(options)
    conditions = [
        Condition("1, 3: prompts in domain, patterns orthogonal [derived]", "so drawn", True),
        Condition(
            "2: W_Q, W_K start with delta on the first d_X diagonal entries, 0 elsewhere; m_a = d [quoted]",
            f"delta = {few.delta:g}, m_a = d = {few.d}", few.m_a in (None, few.d),
        ),
    ]  # fmt: skip
    name = "Identities of training [derived]"
    return Theorem(name, STATEMENT, of_problem(few, options), seeds, conditions, claims, notes)


IDENTITIES = Experiment(
    "identities", "what training conserves exactly", runs, measure, assemble, setting.options(), setting.check
)
