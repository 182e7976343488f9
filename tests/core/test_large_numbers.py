"""Numbers whose sums and products overflow, or vanish: an error, or the right result, and never a warning alone."""

from dataclasses import replace

import mpmath
import numpy as np
import pytest
from calls import CALLS

import nlicl
from nlicl.core.errors import InvalidInput, InvalidType, InvalidValue, NotFinite
from nlicl.models import front
from nlicl.models import model as models
from nlicl.models.regression import reference as regression
from nlicl.models.transformer import reference as transformer
from nlicl.papers import bu2024, huang2023, li2024
from nlicl.papers.bu2024 import coordinates, theory
from nlicl.papers.huang2023 import population, queries
from nlicl.papers.li2024 import baselines, mechanism, tasks

LI = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, length=5, m=6)
BU = bu2024.Problem(concepts=2, dictionary=6, d_x=8, d_y=6, length=4, m=6, sigma_xi=0.1, p_z=0.2)
S = BU.semantics
HUANG = huang2023.Problem(K=4, length=6, d=5, draws=20)
LARGE = 1.7e308


def scaled(semantics, factor):
    return bu2024.Semantics(**{name: factor * getattr(semantics, name) for name in "abcd"})


def attention(shape):
    return np.full(shape, LARGE)


# ---- Sums and products


@pytest.mark.parametrize("call", [
    lambda: mechanism.same_pattern_attention(attention((6, 5)), replace_pattern(LI.sample(6))),
    lambda: bu2024.mechanism.correct_attention(attention((40, 4)), BU.sample(40)),
    lambda: BU.sample(6, semantics=scaled(S, 8e307 / abs(S.a).max())),
    lambda: theory.sufficient_sigma_0(1.0, 2, 5e-324),
    lambda: huang2023.theory.dominant_bound(1e-100, 1e-100, 1e100) * huang2023.theory.under_represented_bound(
        10**100, 1e-100, 1e-100, 1e100),
    lambda: huang2023.theory.dominant_weight_law(LARGE, 5, 1 - 1e-16),
    lambda: huang2023.Observer(HUANG, n=6)(huang2023.Params(np.full((5, 5), LARGE))),
    lambda: huang2023.reference.transformer(huang2023.Params(np.full((5, 5), LARGE)), HUANG.sample(1).dense()[0]),
])  # fmt: skip
def test_what_overflows_is_said(call):
    with pytest.raises(NotFinite):
        call()


def replace_pattern(prompts):
    """All contexts with the query's pattern."""
    codes = {name: np.array(array) for name, array in prompts.arrays.items()}
    codes["relevant"][:] = 0
    return nlicl.CodedPrompts(**codes)


@pytest.mark.parametrize("power", [-250, -160, 150, 250])
def test_coordinates_do_not_depend_on_the_length_of_a_concept(power):
    params = BU.initialize(seed=0)
    exact, found = coordinates.project(params, S, 0), coordinates.project(params, scaled(S, 10.0**power), 0)
    for x, y in zip(exact, found, strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-12, atol=1e-14)


def test_a_concept_without_a_direction_has_no_coordinates():
    with pytest.raises(InvalidValue, match="column of norm 0"):
        coordinates.project(BU.initialize(), replace(S, b=0 * S.b), 1)


def test_an_escape_time_of_tiny_numbers_is_exact():
    """Squares of R_0 and X_0 vanish, their ratio does not."""
    for R_0, X_0 in ((3e-180, 4e-180), (4e-180, 3e-180), (-1e-200, 2e-200), (2e-170, 2e-170)):
        with mpmath.workdps(60):
            R, X = mpmath.mpf(R_0), mpmath.mpf(X_0)
            c = mpmath.sqrt(abs(X**2 - R**2))
            exact = 1 / R if R == X else mpmath.atan2(c, R) / c if abs(R) < X else mpmath.atanh(c / R) / c
        assert theory.escape_time(R_0, X_0, 1.0) == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize("masked", [True, False])
def test_weights_of_any_size_have_the_exact_population_loss(masked):
    rng = np.random.default_rng(0)
    for _ in range(60):
        counts = rng.integers(0, 4, (2, 3)).astype(float)
        counts[:, 0] += 1
        values = rng.choice([-1.5e308, -1e200, -800.0, -3.0, 0.0, 1.0, 2.0, 700.0, 1e300, 1.7e308], (3, 3))
        source = population.Source(counts * 10.0 ** rng.integers(-140, 140), [0.25, 0.75])
        assert population.loss_k(values, source, masked) == pytest.approx(
            exact_losses(values, source, masked), abs=1e-14
        )


def exact_losses(weights, source, masked):
    found = []
    for k in range(3):
        total = mpmath.mpf(0)
        for c, weight in zip(source.counts, source.weights, strict=True):
            present = [m for m in range(3) if c[m] > 0]
            scores = [mpmath.mpf(weights[m, k]) for m in present]
            top = max([*scores, mpmath.mpf(weights[k, k])] if not masked else scores)
            e = dict(zip(present, (mpmath.mpf(c[m]) * mpmath.exp(s - top) for m, s in zip(present, scores, strict=True)),
                         strict=True))  # fmt: skip
            Z = sum(e.values()) + (0 if masked else mpmath.exp(mpmath.mpf(weights[k, k]) - top))
            total += weight * sum((e.get(m, 0) / Z - (m == k)) ** 2 for m in range(3)) / 2
        found.append(float(total))
    return found


@pytest.mark.parametrize("counts", [[[1e308, 1e308]], [[1e-320, 0.0]]])
def test_counts_that_are_no_numbers_to_divide_by_are_refused(counts):
    with pytest.raises(InvalidValue, match=r"counts has rows of the sums .*Divide each by its sum"):
        population.Source(counts, [1.0])


def test_sums_of_probabilities_may_overflow():
    with pytest.raises(InvalidValue, match="p sums to inf; expected 1"):
        population.infinite([LARGE, LARGE])
    with pytest.raises(InvalidValue, match="with the sum inf"):
        population.Source([[1.0, 2.0], [1.0, 1.0]], [LARGE, LARGE])


@pytest.mark.parametrize("method", baselines.METHODS)
def test_features_whose_products_overflow_have_no_nearest_one(method):
    prompts = LI.sample(6)
    for scale in (1e61, 1e160, 1e300):
        larger = nlicl.CodedPrompts(**{**prompts.arrays, "dictionary": scale * prompts.dictionary})
        with pytest.raises(InvalidValue, match="whose products overflow"):
            baselines.predictions(method, larger, 8)


def test_a_fit_that_does_not_settle_is_refused_input():
    prompts = LI.sample(200, seed=1)
    larger = nlicl.CodedPrompts(**{**prompts.arrays, "dictionary": 1e50 * prompts.dictionary})
    with pytest.raises(ArithmeticError, match="has not settled") as caught:
        baselines.predictions("Logistic", larger, 8)
    assert isinstance(caught.value, InvalidInput)


def test_tokens_that_overflow_are_refused_without_a_warning():
    prompts = LI.sample(6)
    with pytest.raises(InvalidValue, match=r"tokens\[.* is -?inf"):
        nlicl.CodedPrompts(
            **{**prompts.arrays, "kappa": 1e200 * prompts.kappa, "dictionary": 1e200 * prompts.dictionary}
        ).dense()


# ---- Arguments that are of no effect, and sizes


@pytest.mark.parametrize("call", [
    lambda: front.check_loss(front.BUILT_IN[0], nlicl.Prompts, "hinge"),
    lambda: models.find(LI.initialize(), nlicl.Prompts, "transformer"),
    lambda: models.find(LI.initialize(), 5),
    lambda: replace(BU, sigma_xi=0.0, p_z=0.0).population(seed=np.timedelta64(1, "s")),
    lambda: li2024.Observer(LI, n=6, alpha=np.timedelta64(1, "s")),
    lambda: queries.balanced(5, 30).point(0.3, np.timedelta64(1, "s"), -0.1),
    lambda: tasks.checked_tasks([(0, 1)], 2, b"tasks"),
])  # fmt: skip
def test_arguments_of_no_effect_are_looked_at(call):
    with pytest.raises(InvalidType):
        call()


def test_a_weight_of_no_effect_may_be_nan():
    query = queries.balanced(5, 30)
    assert query.point(0.3, np.nan, -0.1).L_k == query.point(0.3, 0.0, -0.1).L_k


def test_all_tasks_of_too_many_patterns_are_refused():
    with pytest.raises(InvalidValue, match="M1 is 1000000000: there are M1"):
        tasks.all_tasks(10**9)


# ---- Definitions


@pytest.mark.parametrize(
    "name", ["nlicl.models.transformer.reference.forward", "nlicl.models.regression.reference.forward"]
)
def test_definitions_give_the_same_bits_for_any_layout(name):
    rng = np.random.default_rng(0)
    if "transformer" in name:
        kind, prompt, forward = nlicl.Params, LI.sample(4).dense()[1], transformer.forward
        shapes = ((9, 11), (9, 11), (10, 11), (13, 10), (13,))
    else:
        kind, prompt, forward = huang2023.Params, HUANG.sample(4).dense()[1], regression.forward
        shapes = ((5, 5),)
    for _ in range(40):
        params = kind(*(rng.standard_normal(shape) for shape in shapes))
        want = forward(params, prompt)
        for layout in (
            np.asfortranarray,
            lambda array: array[::-1].copy()[::-1],
            lambda array: np.repeat(array, 2, 0)[::2],
        ):
            for x, y in zip(want, forward(kind(*map(layout, params)), prompt), strict=True):
                assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def test_a_transformer_takes_lists_as_its_definition_does():
    call = CALLS["nlicl.papers.huang2023.reference.transformer"]
    params = call.arguments["params"]
    assert call.function(**call.arguments) == call.function(
        huang2023.Params(params.Q.tolist()), call.arguments["prompt"]
    )
