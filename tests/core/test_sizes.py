"""Every public function that takes a size refuses one that does not fit into memory: at once, and by the argument's name."""

import math

import numpy as np
import pytest

import nlicl
from nlicl.core import memory
from nlicl.core.errors import InvalidValue
from nlicl.papers import bu2024, huang2023, li2024
from nlicl.papers.bu2024 import recursion, theory
from nlicl.papers.huang2023 import population, reduced
from nlicl.papers.li2024 import baselines, pruning

MiB, MANY = 2**20, 10**9
LI, HUANG = li2024.Problem(), huang2023.Problem()
BU = bu2024.Problem(dictionary=20, d_x=24, d_y=8)
CLEAN = bu2024.Problem(dictionary=20, d_x=24, d_y=8, sigma_xi=0.0)
EVEN = np.full(5, 0.2)
SETTING = recursion.Setting(2, 1.0, 1.0, 1.0, 1.0)


@pytest.fixture
def small(monkeypatch):
    """A machine of 64 MiB."""
    monkeypatch.setattr(memory, "_memory", lambda: 64 * MiB)
    monkeypatch.setattr(memory, "_limits", lambda root: iter(()))


def one(**settings):
    """A paper's problem for one step of training without measurements."""
    return {"steps": 1, "measure": None, **settings}


CALLS = {
    "li2024 sample n": (lambda: LI.sample(MANY), "n is 1000000000 with length 20"),
    "li2024 sample length": (lambda: LI.sample(1, length=MANY), "n is 1 with length 1000000000"),
    "li2024 initialize m": (lambda: LI.initialize(m=MANY), "m is 1000000000"),
    "li2024 initialize m_a": (lambda: LI.initialize(m_a=MANY), "m_a 1000000000"),
    "li2024 initialize m_b": (lambda: LI.initialize(m_b=MANY), "m_b 1000000000"),
    "li2024 Problem d_X": (lambda: li2024.Problem(d_X=MANY), "d_X is 1000000000"),
    "li2024 Observer": (lambda: li2024.Observer(LI, n=MANY), "n is 1000000000 with length 20: up to three tests"),
    "li2024 dense": (lambda: LI.sample(20_000).dense(), "the prompts are 20000 of 21 tokens: .* hold 60 numbers each"),
    "li2024 condition": (lambda: li2024.condition_3_2([(0, 1)], MANY), "M1 is 1000000000"),
    "li2024 cyclic tasks": (lambda: li2024.cyclic_tasks(MANY), "M1 is 1000000000 and shifts 1"),
    "li2024 forward": (lambda: nlicl.forward(LI.initialize(m=50_000), LI.sample(100)), "100 prompts .* m = 50000"),
    "li2024 loss_and_grad": (lambda: nlicl.loss_and_grad(LI.initialize(m=50_000), LI.sample(2)), "m = 50000 and d = 60"),
    "li2024 scores": (
        lambda: pruning.scores(LI.initialize(), LI.sample(100), np.arange(64), np.zeros(10**6, int)),
        "m is 64, with 100 prompts and 1000000 counts",
    ),
    "li2024 curve": (
        lambda: pruning.curve(LI.initialize(), LI.sample(100), np.arange(64), np.zeros(30_000, int)),
        "m is 64, with 100 prompts and 30000 counts",
    ),
    "li2024 baselines": (lambda: baselines.predictions("Logistic", LI.sample(2, length=1000), 30), "length is 1000 and d 60"),
    "huang2023 sample n": (lambda: HUANG.sample(MANY), "n is 1000000000 with length 400"),
    "huang2023 sample length": (lambda: HUANG.sample(1, length=MANY), "n is 1 with length 1000000000"),
    "huang2023 K": (lambda: huang2023.Problem(K=10**5).V, "K is 100000, d = 100000: the features"),
    "huang2023 initialize": (lambda: huang2023.Problem(K=10**4).initialize(), "K is 10000"),
    "huang2023 Observer": (lambda: huang2023.Observer(HUANG, n=MANY), "n is 1000000000: 8 arrays of n count vectors"),
    "huang2023 dense": (lambda: HUANG.sample(1000).dense(), "the prompts are 1000 of 401 tokens"),
    "huang2023 forward": (lambda: nlicl.forward(HUANG.initialize(), HUANG.sample(7000)), "7000 prompts of length 400"),
    "huang2023 draws": (lambda: huang2023.Problem(draws=MANY).population(), "draws is 1000000000: so many count vectors"),
    "huang2023 enumerated": (lambda: population.enumerated(np.full(2000, 1 / 2000), 1), "N is 1 and K 2000: all 2000"),
    "huang2023 attention": (
        lambda: population.attention(np.zeros((300, 300)), population.sampled(np.full(300, 1 / 300), 10, 100)),
        r"source has counts \(100, 300\): each has K\^2 scores",
    ),
    "huang2023 descend": (
        lambda: population.descend(0, EVEN, population.sampled(EVEN, 9, 3), eta=0.1, steps=MANY), "steps is 1000000000"
    ),
    "huang2023 reduced": (lambda: reduced.descend(reduced.balanced(5), steps=MANY), "steps is 1000000000"),
    "huang2023 flow": (lambda: reduced.flow(reduced.balanced(5)).at(np.zeros(10**6)), "tau has 1000000 times"),
    "bu2024 sample n": (lambda: BU.sample(MANY), "n is 1000000000 with length 4"),
    "bu2024 sample length": (lambda: CLEAN.sample(1, length=MANY), "n is 1 with length 1000000000"),
    "bu2024 initialize": (lambda: BU.initialize(m=MANY), "m is 1000000000"),
    "bu2024 Observer": (lambda: bu2024.Observer(BU, n=MANY), "n is 1000000000"),
    "bu2024 dense": (lambda: CLEAN.sample(70_000).dense(), "the prompts are 70000 of 5 tokens"),
    "bu2024 population": (
        lambda: bu2024.Problem(dictionary=300, d_x=300, sigma_xi=0.0, p_z=0.0, length=12).population(),
        "length is 12: the population has 16384 prompts",
    ),
    "bu2024 mask": (lambda: bu2024.Problem(d_x=MANY).mask, "d_x is 1000000000 and d_y 60"),
    "bu2024 combined": (lambda: BU.semantics.combined(a=np.zeros((2, 10**6), np.int8)), "a has 1000000 columns"),
    "bu2024 match_law": (lambda: theory.match_law(MANY, "iid"), "length is 1000000000"),
    "bu2024 attention_law": (lambda: theory.attention_law(MANY, "balanced"), "length is 1000000000"),
    "bu2024 initial_attention": (lambda: theory.initial_attention(MANY, "at-least-one", 0.1), "length is 1000000000"),
    "bu2024 early_rate": (lambda: theory.early_rate(1.0, 1.0, 2, MANY, "conditioned"), "length is 1000000000"),
    "bu2024 step_sizes": (lambda: theory.step_sizes(MANY, 0.1, 10.0), "steps is 1000000000"),
    "bu2024 early_flow": (lambda: theory.early_flow(np.ones(10**4), 1.0, np.ones(10**4), 1.0), "etas has 10000 steps"),
    "bu2024 random_start": (lambda: recursion.random_start(MANY, 0.1, 0.1, [0]), "width is 1000000000, of 1 runs"),
    "bu2024 step": (
        lambda: recursion.step(*recursion.random_start(100, 0.1, 0.1, [0]), np.ones(10**4), SETTING), "10000 runs of m = 100"
    ),
    "bu2024 run": (
        lambda: recursion.run(*recursion.random_start(2, 0.1, 0.1, range(2000)), SETTING, np.ones(500), range(300)),
        "record has 300 steps of 2000 runs",
    ),
    "train steps": (lambda: nlicl.train(LI, steps=10**12, measure=None), "steps is 1000000000000"),
    "train batch": (lambda: nlicl.train(LI, **one(batch=MANY)), "batch is 1000000000 with length 20.* Lower batch or length"),
    "train prompts": (lambda: nlicl.train(LI, **one(prompts=MANY)), "prompts is 1000000000 with length 20"),
    "train measure": (lambda: nlicl.train(LI, measure=range(MANY)), "measure has 1000000000 entries"),
    "seeds": (lambda: LI.sample(1, seed=range(2**64)), "seed has 18446744073709551616 entries"),
    "seeds of runs": (lambda: recursion.random_start(2, 0.1, 0.1, range(MANY)), "seeds has 1000000000 entries"),
    "a range as an array": (
        lambda: pruning.scores(LI.initialize(), LI.sample(2), range(MANY), [0]), "neurons has 1000000000 entries"
    ),
    "train m": (lambda: nlicl.train(li2024.Problem(m=50_000), **one()), r"are W_Q \(60, 60\).* by SGD holds some 4"),
    "train Adam": (
        lambda: nlicl.train(li2024.Problem(m=20_000), **one(optimizer=nlicl.training.Adam())), "by Adam holds some 11 arrays"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_what_does_not_fit_is_refused_by_name(name, small):
    call, message = CALLS[name]
    with pytest.raises(InvalidValue, match=message):
        call()


def test_what_was_refused_is_computed_where_it_fits():
    """The same calls with sizes that are usual: no check stands in their way on any machine that runs these tests."""
    assert len(li2024.Observer(LI, n=50).codes["train"]) == 50
    assert pruning.scores(LI.initialize(), LI.sample(9), np.arange(64), [0, 64]).shape == (2, 9)
    assert len(population.enumerated(EVEN, 3).counts) == 35
    assert len(reduced.descend(reduced.balanced(5), steps=10**9, eps=0.5).tau) < 10**4
    assert recursion.run(*recursion.random_start(2, 0.1, 0.1, [0]), SETTING, np.ones(3), [3, 1]).steps.tolist() == [
        1,
        3,
    ]


def test_a_record_that_goes_beyond_the_steps_ends_at_once():
    with pytest.raises(InvalidValue, match="record has 1000000000000000 entries"):
        recursion.run(*recursion.random_start(2, 0.1, 0.1, [0]), SETTING, np.ones(3), range(10**15))


@pytest.mark.parametrize("L", [1, 2, 3, 4, 7, 100, 1023, 1200])
def test_the_law_of_independent_signs_is_rounded_once(L):
    assert theory.match_law(L, "iid").tolist() == [math.comb(L, j) / 2**L for j in range(L + 1)]


def test_the_law_of_very_many_signs():
    law = theory.match_law(20_000, "iid")
    assert law.sum() == pytest.approx(1, abs=1e-12) and (law == law[::-1]).all() and law[0] == 0
    with pytest.raises(InvalidValue, match="length is 1000001; expected at most 1000000 unless match is 'balanced'"):
        theory.match_law(10**6 + 1, "iid")
    assert theory.match_law(10**6 + 2, "balanced").sum() == 1
