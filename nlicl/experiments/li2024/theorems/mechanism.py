"""How the trained model of Li et al. 2024 works: Proposition 4.1, Corollary 4.3, the second proposition (4.4)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.errors import InvalidValue
from ....core.seeds import Li2024Test, for_test
from ....models.front import forward
from ....papers import li2024
from ....papers.li2024 import mechanism, pruning
from ....training.runs import Run
from ...claims import Claim, every, fact
from ...experiment import Experiment, Found, Measured, Options, Runs, Seeds, Training
from ...settings import of_problem
from ...summary import greatest, least, mean, span, stacked
from ...theorem import Theorem
from . import setting
from .setting import reached

__all__ = ["ALIGNMENT", "CONCENTRATION", "PROJECTION"]

S_1 = 1.2  # of the out-of-domain tests, with alpha' = 0.8: as in Figure 2B
CONDITIONS = "The conditions are those of Theorem 3.3 [recalled]; see there for the sizes."


def runs(options: Options) -> dict[str, Training]:
    """Trained on M1 cyclic tasks and on three times as many, as for Figure 2."""
    few = setting.problem(options)
    return {
        "few": setting.watched(options, few),
        "many": setting.watched(options, setting.problem(options, shifts=setting.more_shifts(few.M1))),
    }


def few_runs(options: Options) -> dict[str, Training]:
    return {"few": setting.watched(options, setting.problem(options))}


def problems(options: Options) -> dict[str, li2024.Problem]:
    few = setting.problem(options)
    return {"few": few, "many": setting.problem(options, shifts=setting.more_shifts(few.M1))}


def outside(problem: li2024.Problem) -> li2024.Problem:
    """The out-of-domain problem of the tests: up to three ODR patterns, and alpha' = 1 if there are only two."""
    found = problem.out_of_domain(S_1=S_1, M1=min(3, problem.M1 // 2))
    return replace(found, alpha=1.0 if found.M1 == 2 else 0.8)


def steps(options: Options, run: Run, problem: li2024.Problem) -> dict[str, Any]:
    return {"steps": reached(run, setting.level(problem, options["eps"]))}


def theorem(
    name: str,
    statement: str,
    options: Options,
    seeds: Seeds,
    of: Mapping[str, NDArray],
    claims: list[Claim],
    notes: list[str],
) -> Theorem:
    few = setting.problem(options)
    rows = setting.conditions(options, few, of["steps"])
    rows = [rows[0], rows[1], rows[-1]]  # tasks, data, T
    return Theorem(
        name, statement, of_problem(few, options), seeds, rows, claims, [setting.CONSTANTS, CONDITIONS, *notes]
    )


def check(options: Options) -> None:
    found = setting.check(options, theorem="the analysis of the mechanism")
    if found.M1 < 4:
        raise InvalidValue(
            f"M1 is {found.M1}; the tests out of domain need two ODR patterns, made of four IDR ones. Expected at least 4."
        )


# ---- 4.1 What W_Q and W_K project on

STATEMENT_4_1 = (
    "W_Q^(T) and W_K^(T) mainly project inputs onto their IDR or ODR pattern [paper]: the component along it is at least "
    "Omega(sqrt(log M1)), the rest O(1) or small [recalled]."
)


def measure_4_1(options: Options, seed: int, runs: Runs) -> Measured:
    few = setting.problem(options)
    n = 200 if options["quick"] else 400
    found = steps(options, runs["few"], few)
    for name, problem in problems(options).items():
        ood = outside(problem)
        tests = {"in": (problem, problem.sample(n, seed=for_test(seed, Li2024Test.PROPOSITION_4_1), tasks="unseen")),
                 "ood": (ood, ood.sample(n, seed=for_test(seed, Li2024Test.PROPOSITION_4_1_OOD)))}  # fmt: skip
        start = problem.initialize(seed=seed)
        for domain, (drawn, prompts) in tests.items():
            tokens, mu = prompts.dense().tokens, drawn.mu[prompts.relevant]
            for W, which in (("W_Q", np.s_[:, -1]), ("W_K", np.s_[:, :-1])):
                parts = parts_of(getattr(runs[name].params, W), tokens[which], mu[which], problem)
                before = parts_of(getattr(start, W), tokens[which], mu[which], problem)
                found |= {f"{W} {part}, {domain}, {name}": value for part, value in parts.items()}
                found |= {f"{W} {part}, {domain}, {name}, start": value for part, value in before.items()}
    return found


def parts_of(W: NDArray, tokens: NDArray, mu: NDArray, problem: li2024.Problem) -> dict[str, Any]:
    """Means over tokens: norm of W p, its parts along its own pattern, other relevant, irrelevant patterns and labels."""
    image = tokens @ W.T
    norm, own = mechanism.projection(W, tokens, mu)
    assert own is not None  # mu is given
    M1 = len(problem.mu)
    patterns = np.vstack([problem.mu, problem.nu]) / problem.beta
    along = image[..., : problem.d_X] @ patterns.T
    relevant = np.sum(along[..., :M1] ** 2, axis=-1)
    return {
        "share": np.mean(own / norm),
        "own": np.mean(own),
        "other": np.mean(np.sqrt(np.maximum(relevant - own**2, 0))),
        "irrelevant": np.mean(np.linalg.norm(along[..., M1:], axis=-1)),
        "label": np.mean(np.linalg.norm(image[..., problem.d_X :], axis=-1)),
    }


def assemble_4_1(options: Options, seeds: Seeds, found: Found) -> Theorem:
    of, few = stacked(found), setting.problem(options)
    claims = []
    for domain, where in (("in", "unseen tasks"), ("ood", f"out of domain, S_1 = {S_1:g}")):
        for name, problem in problems(options).items():
            both = np.concatenate([of[f"{W} share, {domain}, {name}"] for W in ("W_Q", "W_K")])
            claims.append(
                every(f"component along the pattern / norm, {where}, {len(problem.training_tasks)} tasks", both, 0.8)
            )
    growth = np.concatenate([of[f"{W} own, in, few"] / of[f"{W} own, in, few, start"] for W in ("W_Q", "W_K")])
    still = np.concatenate(
        [of[f"{W} irrelevant, in, few"] / of[f"{W} irrelevant, in, few, start"] for W in ("W_Q", "W_K")]
    )
    claims += [
        every("growth of the component along the pattern, a factor", growth, 3),
        every("growth of what lies on irrelevant patterns, a factor", still, 0.9, 1.1),
        every("part of W_Q p_query on label coordinates", of["W_Q label, in, few"], high=0),
    ]
    own = np.concatenate([of["W_Q own, in, few"], of["W_K own, in, few"]])
    other = {
        name: np.concatenate([of["W_Q other, in, " + name], of["W_K other, in, " + name]]) for name in ("few", "many")
    }
    notes = [
        f"The component along the pattern is {span(own)}; sqrt(log M1) = {math.sqrt(math.log(few.M1)):.3g}. One M1 says "
        "nothing on the growth with M1.",
        f"The rest lies on other relevant patterns: {span(other['few'])} with {len(few.training_tasks)} tasks, "
        f"{span(other['many'])} with {len(problems(options)['many'].training_tasks)}: a pattern is told apart from those it "
        "shares a task with [measured].",
        "The component is a dot product of R^{m_a} with R^d and needs m_a = d; at the start W_Q and W_K are multiples of the "
        "identity, so that the coordinates agree.",
    ]
    return theorem("Proposition 4.1, attention projects on patterns", STATEMENT_4_1, options, seeds, of, claims, notes)


# ---- 4.3 Where attention goes

STATEMENT_4_3 = (
    "The attention weights on contexts that share the query's IDR or ODR pattern sum to a number that tends to 1 in "
    "training [paper], as 1 - eta^C with C > 0 [recalled]: an 'induction head' [paper]."
)
TIMES = (0.5, 1.0)  # shares of T


def measure_4_3(options: Options, seed: int, runs: Runs) -> Measured:
    found = steps(options, runs["few"], setting.problem(options))
    for name, run in runs.items():
        history = run.history
        at = [0, *(int(np.searchsorted(history.steps, share * run.step)) for share in TIMES)]
        for test in ("train", "unseen", "ood"):
            found[f"{test}, {name}"] = history[f"attention_{test}"][at]
    return found


def assemble_4_3(options: Options, seeds: Seeds, found: Found) -> Theorem:
    of, few = stacked(found), setting.problem(options)
    many = len(problems(options)["many"].training_tasks)
    tasks = len(few.training_tasks)
    claims = [
        every(f"trained tasks, {tasks} of them, at T", of["train, few"][:, -1], 0.95),
        every("unseen tasks, the same model", of["unseen, few"][:, -1], 0.92),
        every(f"unseen tasks, {many} training tasks", of["unseen, many"][:, -1], 0.96),
        every(f"out of domain, {many} training tasks", of["ood, many"][:, -1], 0.957),
    ]
    for key, where in {
        "train, few": f"trained tasks, {tasks} of them",
        "unseen, few": f"unseen tasks, {tasks} trained",
        "unseen, many": f"unseen tasks, {many} trained",
        "ood, many": f"out of domain, {many} trained",
    }.items():
        falling = np.all(np.diff(1 - of[key], axis=1) < 0, axis=1)
        claims.append(
            fact(
                f"1 - attention falls, steps 0, T/2, T: {where}",
                falling.all(),
                f"in {falling.sum()} of {len(seeds)} seeds: "
                + ", ".join(f"{value:.3g}" for value in np.mean(1 - of[key], axis=0)),
                "in every seed",
                1 - of[key][:, -1],
            )
        )
    notes = [
        "Tests out of domain: S_1 = 1.2, alpha' = 0.8, independent contexts.",
        f"Out of domain with {tasks} training tasks the attention ends at {span(of['ood, few'][:, -1])} [measured]: the "
        "number of training tasks decides. Figure 2B ends at 0.997 [digitised].",
        "That the limit is 1 is not tested: the hinge vanishes, training slows down, and 1 - attention falls ever more "
        "slowly. 1 - eta^C cannot be tested at eta = 1, where it is 0.",
    ]
    return theorem("Corollary 4.3, attention concentrates", STATEMENT_4_3, options, seeds, of, claims, notes)


# ---- 4.4 What neurons hold, and what follows

STATEMENT_4_4 = (
    "Rows of W_O^(T) W_V^(T): the feature part is ~ mu-bar, the label part ~ q for a_i > 0 and ~ -q for a_i < 0; the MLP "
    "decides by the label embedding, which varies, not by mu-bar, which is common to all [paper; the number 4.4 recalled]. "
    "Lucky neurons, whose indicator I_i is active at the start, become so; unlucky ones stay small [paper]. Consequence "
    "(4.5 [recalled]): the weighted sum of contexts is ~ (XDR(p_query); f(x_query) q), positive neurons fire for +q, negative "
    "ones for -q, the prediction is right [paper]."
)


def measure_4_4(options: Options, seed: int, runs: Runs) -> Measured:
    problem, run = setting.problem(options), runs["few"]
    n = 1000 if options["quick"] else 2000
    params = run.params
    known = problem.sample(n, seed=for_test(seed, Li2024Test.PROPOSITION_4_4_LUCKY))
    W, U = mechanism.lucky_neurons(params, forward(params, known).preactivation, known.labels)
    lucky = W | U
    neurons = mechanism.neurons(params, problem.mu_bar, problem.q)
    start = mechanism.neurons(problem.initialize(seed=seed), problem.mu_bar, problem.q)
    history = run.history
    half = int(np.searchsorted(history.steps, run.step / 2))
    found = steps(options, run, problem) | {
        "lucky": lucky.mean(),
        "lucky and large": np.mean(lucky == ~pruning.small_neurons(params)),
        "lucky at T/2": (history["lucky_positive"][half] + history["lucky_negative"][half]) / len(lucky),
        "lucky at T": (history["lucky_positive"][-1] + history["lucky_negative"][-1]) / len(lucky),
        "feature angle": mean(neurons.feature_angle[lucky]),
        "feature angle, worst": greatest(neurons.feature_angle[lucky]),
        "label angle, W": greatest(neurons.label_angle[W]),
        "label angle, U": greatest(np.pi - neurons.label_angle[U]),
        "label over feature": least(neurons.label[lucky] / neurons.feature[lucky]),
        "unlucky": greatest(neurons.norm[~lucky] / start.norm[~lucky]),
        "unlucky norm": greatest(neurons.norm[~lucky]),
        "lucky norm": least(neurons.norm[lucky]),
    }
    ood = outside(problem)
    for name, prompts in {
        "in": problem.sample(n, seed=for_test(seed, Li2024Test.PROPOSITION_4_4), tasks="unseen"),
        "ood": ood.sample(n, seed=for_test(seed, Li2024Test.PROPOSITION_4_4_OOD)),
    }.items():  # fmt: skip
        out, z = forward(params, prompts), prompts.labels
        on = out.preactivation > 0
        plus, minus = on[z > 0], on[z < 0]
        label = z * (out.context[:, problem.d_X :] @ problem.q)
        matched = np.any(prompts.relevant[:, :-1] == prompts.relevant[:, -1:], axis=1)
        found |= {
            f"fires, {name}": min(mean(plus[:, W]), mean(minus[:, U])),
            f"fires for the other label, {name}": max(mean(minus[:, W]), mean(plus[:, U])),
            f"label of the sum, {name}": mean((label > 0)[matched]),
            f"q of the sum, {name}": mean(label),
            f"error, {name}": mean(li2024.wrong(z * out.score)[matched]),
        }
    return found


def assemble_4_4(options: Options, seeds: Seeds, found: Found) -> Theorem:
    of = stacked(found)
    claims = [
        every("share of lucky neurons, W(T) and U(T) of all m", of["lucky"], 0.7, 0.97),
        every("lucky and 'row above half the median norm' are the same, share of neurons", of["lucky and large"], 0.95),
        every("the sets are as large at T/2 as at T: change of the share", of["lucky at T"] - of["lucky at T/2"], -0.02, 0.02),
        every("angle of the feature part to mu-bar, mean over lucky neurons, rad", of["feature angle"], high=0.15),
        every("angle of the label part to +q, worst neuron of W(T), a_i > 0, rad", of["label angle, W"], high=0.1),
        every("angle of the label part to -q, worst neuron of U(T), a_i < 0, rad", of["label angle, U"], high=0.1),
        every("the label part is the larger one: label over feature, least lucky neuron", of["label over feature"], 1.2),
        every("unlucky neurons are as at the start: norm over initial norm", of["unlucky"], high=1.4),
        every("4.5: lucky neurons fire on this share of prompts of their label, unseen tasks", of["fires, in"], 0.99),
        every("4.5: the same out of domain", of["fires, ood"], 0.99),
        every("4.5: and on this share of the others, unseen tasks", of["fires for the other label, in"], high=0.05),
        every("4.5: the label part of the weighted sum has the sign of z, unseen tasks", of["label of the sum, in"], 0.998),
        every("4.5: the prediction is wrong, given a match, unseen tasks", of["error, in"], high=0.002),
        every("4.5: the same out of domain", of["error, ood"], high=0.005),
    ]  # fmt: skip
    notes = [
        "W(t): a_i > 0 and u_i > 0 on at least 99% of prompts with z = +1; U(t): the same with a_i < 0, z = -1 [derived]: the "
        "paper's lucky neurons are those active at the start [paper].",
        f"Norms: lucky rows of W_O from {span(of['lucky norm'])} up, others up to {span(of['unlucky norm'])}. The worst lucky "
        f"neuron of a seed is {span(of['feature angle, worst'])} rad from mu-bar; over 40 seeds, up to 0.53 [measured].",
        f"q^T (weighted sum) z is {span(of['q of the sum, in'])} on average on unseen tasks, {span(of['q of the sum, ood'])} "
        "out of domain; it is 1 if all attention is on the query's pattern.",
        f"Out of domain lucky neurons fire on a share {span(of['fires for the other label, ood'])} of prompts of the other "
        "label. No claim: at li2024.sibling (beta = 3) it is up to 0.96, and still no prediction is wrong. It matters "
        "that a neuron fires for its own label; it need not be silent for the other [measured].",
        "Angles of the published figures 2C and 2D are larger (0.38 and 0.52 rad [digitised]); SGD from the identity "
        "start does not reproduce them [measured].",
    ]
    return theorem(
        "Second proposition (4.4 [recalled]), neurons align", STATEMENT_4_4, options, seeds, of, claims, notes
    )


def _experiment(
    number: str,
    title: str,
    runs: Callable[[Options], dict[str, Training]],
    measure: Callable[[Options, int, Runs], Measured],
    assemble: Callable[[Options, Seeds, Found], Theorem],
) -> Experiment:
    return Experiment(number, title, runs, measure, assemble, setting.options(), check)


PROJECTION = _experiment("4.1", "W_Q and W_K project tokens on their pattern", runs, measure_4_1, assemble_4_1)
CONCENTRATION = _experiment(
    "4.3", "attention concentrates on contexts with the query's pattern", runs, measure_4_3, assemble_4_3
)
ALIGNMENT = _experiment(
    "4.4",
    "neurons align with (mu-bar; q) and (mu-bar; -q), and decide by the label part",
    few_runs,
    measure_4_4,
    assemble_4_4,
)
