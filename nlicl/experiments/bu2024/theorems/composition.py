"""The second theorem (or proposition) of Bu et al. 2024: prompts out of distribution."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.seeds import Bu2024Test, for_test
from ....models.front import forward
from ....papers import bu2024
from ....papers.bu2024 import mechanism
from ...claims import Claim
from ...experiment import Experiment, Found, Measured, Options, Runs, Seeds, Training
from ...settings import of_problem
from ...summary import span, stacked
from ...theorem import Condition, Theorem
from . import setting

__all__ = ["COMPOSITION"]

STATEMENT = (
    "The same holds for prompts of another distribution D*: (i) of any length L*; (ii) with any skewed distribution of "
    "concepts; (iii) with new dictionaries whose a*, b* (and c*, d*) are conic combinations of the trained ones, norms of the "
    "same order, noise not larger [claims paper; conic form: paper for the authors' follow-up, recalled here]."
)
BASE = bu2024.Problem(steps=1000)
LENGTHS = ("L* = 1", "L* = 2", "L* = 8", "L* = 32")
PROMISED = {
    "(i) any length: L* = 1, 2, 8, 32": LENGTHS,
    "(ii) skewed concepts: 0.9/0.1 and 0.99/0.01": ("skewed 0.9/0.1", "skewed 0.99/0.01"),
    "(iii) conic combinations of both concepts": ("conic",),
    "switched semantic features: (a_2; b_1) with c_2, d_1; (a_1; b_2) with c_1, d_1": ("switched", "exchanged b"),
}
BEYOND = {
    "a*, c* do not matter: new orthogonal ones": ("new a", "new c"),
    "b* need not be conic: b_1-b_2 with conic labels": ("b_1-b_2",),
}


def names() -> list[str]:
    return [name for group in (PROMISED | BEYOND).values() for name in group] + [
        "flipped",
        "new b",
        "new d",
        "b_1-b_2, d_1-d_2",
    ]


def runs(options: Options) -> dict[str, Training]:
    return {"main": Training(setting.problem(options, BASE), measure=None)}


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    problem, params = setting.problem(options, BASE), runs["main"].params
    shifts = bu2024.shifts(problem)
    n = 1000 if options["quick"] else 4000

    def answers(number: int, draw: Mapping[str, Any]) -> mechanism.Answers:
        prompts = problem.sample(n, seed=for_test(seed, Bu2024Test.COMPOSITION, number), **draw)
        return mechanism.answers(forward(params, prompts), prompts)

    found = {name: answers(i, shifts[name].draw) for i, name in enumerate(names(), 1)}
    bWb = np.diag(problem.semantics.b.T @ mechanism.word_matrix(params, problem.d_x) @ problem.semantics.b)
    return {
        "home": answers(0, {}).error,
        "bWb": bWb.min(),
        **{name: answers.error for name, answers in found.items()},
        "new b, attention": found["new b"].attention,
        "escape": setting.escape_steps(problem, seed),
    }


def assemble(options: Options, seeds: Seeds, found: Found) -> Theorem:
    problem, eps, of = setting.problem(options, BASE), options["eps"], stacked(found)

    early, promised = setting.early(problem, of["escape"]), setting.promised(problem)

    def errors(group: Iterable[str]) -> NDArray:
        return np.stack([of[name] for name in group], axis=1)

    def claim(
        text: str, values: ArrayLike, low: float = -np.inf, high: float = np.inf, promised: bool = promised
    ) -> Claim:
        return setting.of_seeds(text, values, early, low, high, promised=promised)

    unlearnt = promised and setting.unlearnt_is_low(problem)
    claims = [claim("0-1 error in distribution (bound eps)", of["home"], high=eps)]
    claims += [claim(f"{text}: 0-1 error (bound eps)", errors(group), high=eps) for text, group in PROMISED.items()]
    claims += [
        claim(f"{text} [derived]: 0-1 error (bound eps)", errors(group), high=eps) for text, group in BEYOND.items()
    ]
    claims += [
        claim("labels flipped, d -> -d, not promised: every answer is wrong [derived]", of["flipped"], 1 - eps),
        claim("a new orthogonal b, not promised: near chance [derived]", of["new b"], 0.3, 0.7, unlearnt),
        claim(
            "its correct attention weight stays where training began [derived]",
            of["new b, attention"], 0.45, 0.65, unlearnt,
        ),
        *(
            seldom_small(f"{text} [derived]: 0-1 error", of[name][early])
            for name, text in {
                "new d": "a new orthogonal d, not promised: read by chance",
                "b_1-b_2, d_1-d_2": "b_1-b_2 with d_1-d_2, not conic: the readout's sign is arbitrary",
            }.items()
        ),
    ]  # fmt: skip
    notes = [
        setting.UNKNOWN,
        "Prompts succeed where b*^T W b* is large and positive and the readout along d* has the learnt sign [derived]: so the "
        f"conic combination is needed of d*, not of b*. The smaller b_k^T W b_k after training: {span(of['bWb'])}.",
        "`nlicl reproduce bu2024:ood` has these and more distributions.",
        setting.late_note(problem, seeds, of["escape"]),
        setting.UNDETERMINED,
    ]
    conditions = [
        *setting.conditions(problem),
        setting.late_condition(problem, of["escape"]),
        Condition("norms of the same order, noise not larger than in training [recalled]", "the same", True),
    ]
    return Theorem(
        "Prompts out of distribution",
        STATEMENT,
        of_problem(problem, options),
        seeds,
        conditions,
        claims,
        notes,
    )


def seldom_small(claim: str, errors: NDArray) -> Claim:
    """A claim: the error is small in few seeds only. With fewer than three seeds it is undetermined.

    It fails if the error is small in more seeds than a fair coin would give.
    """
    large, n = int(np.sum(errors > 0.05)), len(errors)
    small = n > 0 and setting.compared(large, n, 0.5)
    holds = True if n >= 3 and 2 * large > n else False if small else None
    return Claim(claim, "above 0.05 in most seeds", f"{span(errors)}", holds, errors.tolist())


def check(options: Options) -> None:
    bu2024.shifts(setting.check(options, BASE))  # raises if the problem has no shifts


COMPOSITION = Experiment(
    "composition", "prompts out of distribution: what succeeds, and what fails",
    runs, measure, assemble, setting.options(BASE, eps=0.01), check,
)  # fmt: skip
