"""Power laws of sweeps: fits against least squares and the likelihood itself, intervals and verdicts against simulations."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import norm
from scipy.stats import t as student

from nlicl.core.errors import InvalidInput, InvalidType, InvalidValue, NotFinite
from nlicl.core.files import to_json
from nlicl.experiments.claims import interval as t_interval
from nlicl.experiments.style import render
from nlicl.experiments.sweeps.law_data import checked
from nlicl.experiments.sweeps.law_figure import draw
from nlicl.experiments.sweeps.laws import Theory, fit_power
from nlicl.experiments.sweeps.likelihood import determined, fit, refits
from nlicl.experiments.sweeps.resampling import interval, resampled

ALPHAS, BETAS = (0.2, 0.3, 0.5, 0.7, 1.0), (1.0, 2.0, 4.0)
DRAWS = 200  # enough where an interval's third digit is of no matter


def sweep(
    seeds=5, alphas=ALPHAS, betas=BETAS, p=(-1.0, -2.0), c=400.0, noise=0.2, common=0.1, bend=0.0, limit=None, rng=0
):
    """Cells of a grid: (x, y, seeds, limit). `common` is noise that a seed has at all settings; beyond `limit` y is inf."""
    rng = np.random.default_rng(rng)
    alpha, beta, seed = (np.ravel(each) for each in np.meshgrid(alphas, betas, np.arange(seeds), indexing="ij"))
    u = np.log(alpha) - np.log(alpha).mean()
    logs = np.log(c) + p[0] * np.log(alpha) + p[1] * np.log(beta) + bend * u**2
    logs = logs + noise * rng.standard_normal(alpha.shape) + (common * rng.standard_normal(seeds))[seed]
    y = np.exp(logs)
    limits = None if limit is None else np.full(len(y), float(limit))
    x = {"alpha": alpha, "beta": beta} if len(betas) > 1 else {"alpha": alpha}
    return x, y if limit is None else np.where(y > limit, np.inf, y), seed, limits


def design(x):
    logs = np.log(np.array(list(x.values()))).T
    return np.column_stack([np.ones(len(logs)), logs - logs.mean(axis=0)])


def values(law):
    return {name: each.value for name, each in law.exponents.items()}


# ---------------------------------------------------------------- the fit


@given(
    p=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    log_c=st.floats(-200, 200),
    scale=st.sampled_from([1e-12, 1.0, 1e12]),
    seeds=st.integers(1, 4),
)
def test_a_law_without_noise_is_found_exactly(p, log_c, scale, seeds):
    alphas = scale * np.array([0.2, 0.5, 1.0])
    x, y, seed, _ = sweep(seeds, alphas, p=p, c=np.exp(log_c), noise=0, common=0)
    law = fit_power(x, y, seed, draws=100)
    assert values(law) == pytest.approx({"alpha": p[0], "beta": p[1]}, abs=1e-10)
    assert law.log_constant.value == pytest.approx(log_c, abs=1e-8)
    assert law.sigma < 1e-10 and law.adequacy.adequate is True
    assert law.predict(x) == pytest.approx(y, rel=1e-8)


def test_without_censoring_it_is_least_squares():
    x, y, seed, _ = sweep()
    law = fit_power(x, y, seed, draws=DRAWS)
    logs = np.column_stack([np.ones(len(y)), np.log(x["alpha"]), np.log(x["beta"])])
    beta, (squares,), _, _ = np.linalg.lstsq(logs, np.log(y), rcond=None)
    assert [law.log_constant.value, *values(law).values()] == pytest.approx(beta.tolist(), rel=1e-12)
    sigma = np.sqrt(squares / (len(y) - 3))
    assert law.sigma == pytest.approx(sigma, rel=1e-12)
    assert law.covariance == pytest.approx(sigma**2 * np.linalg.inv(logs.T @ logs), rel=1e-9)


def test_a_limit_that_says_nothing_changes_nothing():
    """A censored cell whose limit lies 40 sigma below the law is no news: Newton's method ends at least squares."""
    x, y, *_ = sweep()
    X, z = design(x), np.log(y)
    more, censored = np.vstack([X, X[:1]]), np.arange(len(z) + 1) == len(z)
    found, squares = fit(more, np.append(z, z[0] - 10), censored), fit(X, z, censored[:-1])
    assert found.beta == pytest.approx(squares.beta, rel=1e-9)
    assert found.sigma == pytest.approx(squares.sigma, rel=1e-9)
    assert found.covariance == pytest.approx(squares.covariance, rel=1e-8, abs=1e-12)


def minus_log_likelihood(theta, X, z, censored):
    """From the definition, in (beta, log sigma)."""
    r, sigma = z - X @ theta[:-1], np.exp(theta[-1])
    return -np.where(censored, norm.logsf(r / sigma), norm.logpdf(r / sigma) - theta[-1]).sum()


@pytest.mark.parametrize("limit", [150, 600, 1500])
def test_censored_cells_enter_by_their_likelihood(limit):
    """Against the definition, maximised by a method that needs no derivatives, from a start far off."""
    x, y, seed, limits = sweep(8, limit=limit)
    law = fit_power(x, y, seed, limits, draws=DRAWS)
    assert 0 < law.censored < law.cells
    X, censored = design(x), np.isinf(y)
    z = np.log(np.where(censored, limits, y))
    start, options = [z.mean(), 0, 0, 1], {"maxiter": 10_000, "maxfev": 10_000, "xatol": 1e-9, "fatol": 1e-12}
    found = minimize(minus_log_likelihood, start, (X, z, censored), method="Nelder-Mead", options=options)
    assert list(values(law).values()) == pytest.approx(found.x[1:3].tolist(), abs=1e-6)
    reached = law.cells - law.censored
    assert law.sigma == pytest.approx(np.exp(found.x[3]) * np.sqrt(reached / (reached - 3)), rel=1e-6)
    # the observed information, by differences of the definition
    h, unit = 1e-4, np.eye(4)
    information = np.empty((4, 4))
    for i in range(4):
        for j in range(4):
            at = [found.x + h * (a * unit[i] + b * unit[j]) for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
            information[i, j] = np.dot([1, -1, -1, 1], [minus_log_likelihood(t, X, z, censored) for t in at]) / (
                4 * h * h
            )
    variance = np.diag(np.linalg.inv(information))[1:3] * reached / (reached - 3)
    assert np.diag(law.covariance)[1:] == pytest.approx(variance, rel=1e-3)


def test_censored_cells_that_a_law_without_noise_explains_have_no_weight():
    x, y, seed, limits = sweep(3, noise=0, common=0, limit=900)
    law = fit_power(x, y, seed, limits, draws=DRAWS)
    assert law.censored == 6 and values(law) == pytest.approx({"alpha": -1, "beta": -2}, abs=1e-9)
    assert law.sigma < 1e-9 and law.undetermined == 0


def test_censoring_biases_what_leaves_cells_out_or_takes_limits_for_values():
    """Mean exponents of 60 sweeps: ours is the truth's within its error, those of two shortcuts are far off."""
    ours, without, taken = [], [], []
    for rng in range(60):
        x, y, _, limits = sweep(5, betas=(1.0,), limit=900, common=0, noise=0.4, rng=rng)
        X, censored = design(x), np.isinf(y)
        z = np.log(np.where(censored, limits, y))
        ours.append(fit(X, z, censored).beta[1])
        without.append(fit(X[~censored], z[~censored], censored[~censored]).beta[1])
        taken.append(fit(X, z, np.zeros_like(censored)).beta[1])
    error = np.std(ours, ddof=1) / np.sqrt(60)
    assert abs(np.mean(ours) + 1) < 3 * error
    assert np.mean(without) > -0.85 and np.mean(taken) > -0.85


@pytest.mark.parametrize("limit", [None, 700])
def test_weights_are_repetitions(limit):
    x, y, seed, limits = sweep(4, limit=limit)
    X, censored = design(x), np.isinf(y)
    z = np.log(y if limits is None else np.where(censored, limits, y))
    counts = np.array([[1, 1, 1, 1], [4, 0, 0, 0], [0, 3, 0, 1], [1, 1, 1, 1], [2, 1, 1, 0]], float)
    found = refits(X, z, censored, seed, counts)
    for row, count in zip(found, counts, strict=True):
        rows = np.repeat(np.arange(len(z)), count[seed].astype(int))
        assert row == pytest.approx(fit(X[rows], z[rows], censored[rows]).beta, rel=1e-8, abs=1e-9)


# ---------------------------------------------------------------- invariances


def numbers_of(law):
    """Everything about a law that is a number or a text."""
    return law.to_dict() | {"drawn": law.drawn.tolist()}


@pytest.mark.parametrize("limit", [None, 700])
def test_the_order_of_cells_changes_no_bit(limit):
    x, y, seed, limits = sweep(limit=limit)
    order = np.random.default_rng(1).permutation(len(y))
    moved = {name: column[order] for name, column in x.items()}
    found = fit_power(moved, y[order], seed[order], None if limits is None else limits[order], draws=DRAWS)
    assert numbers_of(found) == numbers_of(fit_power(x, y, seed, limits, draws=DRAWS))


def test_the_bootstrap_is_that_of_its_seed():
    cells = sweep()
    first, second, other = (fit_power(*cells, draws=DRAWS, seed=seed) for seed in (0, 0, 1))
    assert numbers_of(first) == numbers_of(second)
    assert first.exponents["alpha"].low != other.exponents["alpha"].low
    assert first.exponents["alpha"].own_low == other.exponents["alpha"].own_low


@pytest.mark.parametrize("limit", [None, 700])
@given(of_y=st.sampled_from([1e-100, 3.0, 1e250]), of_x=st.sampled_from([1e-9, 1e-3, 7.0, 1e10]))
def test_units_change_the_constant_alone(limit, of_y, of_x):
    x, y, seed, limits = sweep(limit=limit)
    scaled = {**x, "alpha": of_x * x["alpha"]}
    one = fit_power(x, y, seed, limits, draws=100)
    other = fit_power(scaled, of_y * y, seed, None if limits is None else of_y * limits, draws=100)
    for name, each in one.exponents.items():
        found = other.exponents[name]
        for at in ("value", "low", "high", "own_low", "own_high"):
            assert getattr(found, at) == pytest.approx(getattr(each, at), rel=1e-6)
    assert other.sigma == pytest.approx(one.sigma, rel=1e-6)
    moved = one.log_constant.value + np.log(of_y) - one.exponents["alpha"].value * np.log(of_x)
    assert other.log_constant.value == pytest.approx(moved, rel=1e-7, abs=1e-6)
    assert other.adequacy.verdict.split(":")[0] == one.adequacy.verdict.split(":")[0]


def test_a_second_set_of_the_same_seeds_narrows_intervals_alone():
    x, y, seed, _ = sweep(6)
    twice = fit_power({n: np.tile(c, 2) for n, c in x.items()}, np.tile(y, 2), np.append(seed, seed + 6))
    once = fit_power(x, y, seed)
    for name, each in once.exponents.items():
        found = twice.exponents[name]
        assert found.value == pytest.approx(each.value, rel=1e-12)
        assert found.high - found.low < 0.85 * (each.high - each.low)
        assert found.own_high - found.own_low < 0.75 * (each.own_high - each.own_low)


def test_magnitudes_far_apart():
    x, y, seed, _ = sweep(4, np.geomspace(1e-12, 1e12, 5), p=(25.0, -2.0), c=1.0, noise=0.1)
    assert y.max() > 1e299 and y.min() < 1e-299
    law = fit_power(x, y, seed, draws=DRAWS)
    assert abs(law.exponents["alpha"].value - 25) < 0.01
    assert np.isfinite(json.loads(to_json(law.to_dict()))["exponents"]["alpha"]["low"])
    with pytest.raises(NotFinite, match="not finite although its arguments are"):
        law.predict({"alpha": 1e13, "beta": 1.0})
    far = fit_power(x, y * 1e-5, seed, draws=DRAWS)  # a constant of 1e-5 is a constant
    assert far.constant == pytest.approx(law.constant * 1e-5)
    beyond = fit_power(
        {"n": np.array([1e10, 1e11, 1e12, 1e10, 1e11])}, [1e300, 1e260, 1e220, 1e300, 1e260], [0, 0, 0, 1, 1]
    )
    assert beyond.constant == np.inf and "y = 1.00e+700 n^-40.0" in str(beyond)


# ---------------------------------------------------------------- intervals


def test_a_seed_is_drawn_for_all_settings_at_once():
    counts = resampled(6, 500, 0)
    assert counts.shape == (500, 6) and (counts.sum(axis=1) == 6).all()
    assert counts.var(axis=0) == pytest.approx(np.full(6, 5 / 6), rel=0.25)


@pytest.mark.parametrize("seeds", [3, 6, 25])
def test_the_interval_over_seeds_is_near_that_of_the_seeds_own_exponents(seeds):
    """Balanced and uncensored, the estimate is the mean of the seeds' own; their t interval is exact."""
    x, y, seed, _ = sweep(seeds, common=0.3)
    law = fit_power(x, y, seed, draws=5000)
    own = [fit_power({n: c[seed == s] for n, c in x.items()}, y[seed == s], seed[seed == s]) for s in range(seeds)]
    for name, each in law.exponents.items():
        mean, low, high = t_interval([one.exponents[name].value for one in own])
        assert each.value == pytest.approx(mean, rel=1e-12)
        assert each.high - each.low == pytest.approx(high - low, rel=0.25 if seeds < 10 else 0.1)


def test_percentiles_are_taken_as_they_are_of_many_seeds():
    drawn = np.arange(1001.0)
    low, high = interval(500, drawn, 10_000)
    assert (low, high) == pytest.approx((25, 975), abs=0.5)
    assert interval(500, drawn, 1) == (None, None)
    low, high = interval(500, drawn, 5)  # t of 4 degrees of freedom is 2.7764
    assert (500 - low, high - 500) == pytest.approx([475 * 2.7764451 / 1.9599640 * np.sqrt(5 / 4)] * 2)
    wide = interval(500, drawn, 2)
    assert wide[0] < -1000 and wide[1] > 2000


def test_draws_that_determine_nothing_count_on_both_sides():
    drawn = np.append(np.zeros(95), np.full(5, np.nan))
    assert interval(0.0, drawn, 5) == (-np.inf, np.inf)
    assert interval(0.0, np.append(np.zeros(995), np.full(5, np.nan)), 5) == (0, 0)
    # each of three seeds was run at one setting: most draws leave a law open
    x, y, _, _ = sweep(2, (0.2, 0.5, 1.0), (1.0,))
    law = fit_power(x, y, np.repeat([0, 1, 2], 2), draws=DRAWS)
    exponent = law.exponents["alpha"]
    assert (exponent.low, exponent.high) == (-np.inf, np.inf) and 0 < law.undetermined < DRAWS
    assert f"{law.undetermined} of {DRAWS} draws of seeds did not determine a law" in " ".join(str(law).split())
    assert json.loads(to_json(law.to_dict()))["exponents"]["alpha"]["low"] == "-inf"


def test_one_seed_has_no_interval_over_seeds():
    law = fit_power(*sweep(1), theory={"alpha": Theory(-1, "Theorem 1 [ours]"), "beta": Theory(-5, "Theorem 1 [ours]")})
    for each, inside in zip(law.exponents.values(), (True, False), strict=True):
        assert each.low is None and each.high is None and each.own_low < each.value < each.own_high
        assert each.theory_inside is inside
    assert law.draws == 0 and "There is one seed: no interval over seeds." in str(law)
    low, high = law.band({"alpha": [0.2, 1], "beta": 1})
    middle = law.predict({"alpha": [0.2, 1], "beta": 1})
    assert (low < middle).all() and (middle < high).all()


def test_a_theorem_is_held_against_the_interval_over_seeds():
    cells = sweep()
    found = fit_power(*cells).exponents["alpha"]
    for exponent, inside in (
        (found.low, True),
        (found.high, True),
        (found.low - 1e-3, False),
        (found.high + 1e-3, False),
    ):
        law = fit_power(*cells, theory={"alpha": Theory(exponent, "here [ours]")})
        assert law.exponents["alpha"].theory_inside is inside and law.exponents["beta"].theory_inside is None


def coverage(n, **options):
    """How often 95% intervals hold the true exponent in n sweeps: over seeds, and the fit's own."""
    held = np.zeros(2)
    for rng in range(n):
        cells = checked(*sweep(rng=rng, **options))
        found, n_seeds = fit(cells.X, cells.z, cells.censored), len(cells.seeds)
        drawn = refits(cells.X, cells.z, cells.censored, cells.seed, resampled(n_seeds, 400, rng))
        low, high = interval(found.beta[1], drawn[:, 1], n_seeds)
        own = student.isf(0.025, found.freedom) * found.covariance[1, 1] ** 0.5
        held += [low <= -1 <= high, abs(found.beta[1] + 1) <= own]
    return held / n


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"seeds": 3}, {"seeds": 10}, {"seeds": 5, "limit": 1500}], ids=str)
def test_intervals_hold_the_truth_as_often_as_they_say(options):
    """Within three standard errors of 0.95; the fit's own are those of independent cells."""
    over_seeds, _ = coverage(150, **options)
    _, own = coverage(150, **options, common=0)
    assert min(over_seeds, own) >= 0.895


# ---------------------------------------------------------------- adequacy


def verdicts(n, **options):
    """How often a power law is called adequate, inadequate, neither."""
    found = [fit_power(*sweep(rng=rng, **options), draws=100).adequacy.adequate for rng in range(n)]
    return {each: found.count(each) / n for each in (True, False, None)}


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"seeds": 5}, {"seeds": 12, "common": 0.5}, {"seeds": 5, "limit": 1500}], ids=str)
def test_a_true_law_is_rarely_called_inadequate(options):
    assert verdicts(100, **options)[False] <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)


def test_a_bend_is_found_and_said():
    x, y, seed, limits = sweep(8, bend=0.6)
    law = fit_power(x, y, seed, limits, y_name="steps")
    assert law.adequacy.adequate is False
    found = law.adequacy.curvature["alpha"]
    assert found.low < 0.6 < found.high and found.bends
    span = np.log(5)
    assert found.change == pytest.approx(2 * span * found.value) and found.change_low == pytest.approx(
        2 * span * found.low
    )
    local = law.adequacy.local["alpha"]
    assert (
        f"goes from {local[0].value:.2f} between 0.2 and 0.3 to {local[-1].value:.2f} between 0.7 and 1."
        in law.adequacy.verdict
    )
    assert "they depend on the range that was run" in str(law)
    censored = fit_power(*sweep(8, bend=0.6, limit=1500))
    assert censored.censored and censored.adequacy.adequate is False and censored.adequacy.lack_of_fit is None


def test_what_no_curvature_shows_is_found_by_the_means():
    """A zigzag without a slope or a bend: the noise is common to all settings of a seed, and does not hide it."""
    x, y, seed, _ = sweep(6, noise=0.05, common=1.0)
    u, zigzag = np.log(ALPHAS), 0.1 * np.array([1.0, -1, 1, -1, 1])
    zigzag -= np.polyval(np.polyfit(u, zigzag, 2), u)
    law = fit_power(x, y * np.exp(zigzag)[np.searchsorted(ALPHAS, x["alpha"])], seed)
    lack = law.adequacy.lack_of_fit
    assert law.adequacy.adequate is False and not any(each.bends for each in law.adequacy.curvature.values())
    assert lack.of_seeds and lack.p < 1e-4 and np.log(lack.largest) == pytest.approx(np.abs(zigzag).max(), abs=0.06)
    assert "lie off it by more than their scatter" in law.adequacy.verdict
    # and so is a dependence of two settings on one another
    x, y, seed, _ = sweep(6, noise=0.05)
    law = fit_power(x, y * np.exp(0.1 * np.log(x["alpha"]) * np.log(x["beta"])), seed)
    assert law.adequacy.lack_of_fit.p < 1e-4


def test_lack_of_fit_is_the_textbook_s_where_seeds_are_not_shared():
    """Every cell with a seed of its own: pure error against the means of points."""
    x, y, _, _ = sweep(4, betas=(1.0,), common=0)
    law = fit_power(x, y, np.arange(len(y)), draws=DRAWS)
    z, alpha = np.log(y), x["alpha"]
    means = np.array([z[alpha == a].mean() for a in alpha])
    fitted = np.log(law.predict(x))
    F = (np.sum((means - fitted) ** 2) / 3) / (np.sum((z - means) ** 2) / 15)
    lack = law.adequacy.lack_of_fit
    assert not lack.of_seeds and lack.freedom == (3, 15) and np.isclose(lack.F, F, rtol=1e-9)


def test_two_values_tell_no_bend():
    law = fit_power(*sweep(8, alphas=(0.2, 1.0), betas=(1.0, 4.0)))
    assert law.adequacy.adequate is None and law.adequacy.curvature == {}
    assert "cannot be told whether a power law is adequate: only two values of alpha and beta." in law.adequacy.verdict
    assert len(law.adequacy.local["alpha"]) == 1 and "local exponent in" not in str(law)


def test_few_data_prove_nothing_and_many_do():
    few = fit_power(*sweep(2, betas=(1.0,), noise=0.5))
    assert few.adequacy.adequate is None and few.adequacy.verdict.endswith("over its range. Nothing speaks against it.")
    many = fit_power(*sweep(8, betas=(1.0,), noise=0.02, rng=1))
    assert many.adequacy.adequate is True
    change = many.adequacy.curvature["alpha"]
    assert f"in alpha by at most {max(-change.change_low, change.change_high):.2g}" in many.adequacy.verdict
    assert fit_power(*sweep(1, noise=0.0)).adequacy.adequate is True
    one_of_two = fit_power(*sweep(8, betas=(1.0, 4.0), noise=0.02, rng=1))
    assert one_of_two.adequacy.adequate is None
    assert "only two values of beta. Nothing speaks against it, and over its range" in one_of_two.adequacy.verdict
    assert re.search(r"the local exponent changes in alpha by at most 0\.\d+ \(95%\)\.$", one_of_two.adequacy.verdict)


def test_local_exponents_are_slopes_between_means():
    x, y, seed, _ = sweep(4)
    law = fit_power(x, y, seed, draws=DRAWS)
    z = np.log(y)
    for low, high, found in zip(ALPHAS[:-1], ALPHAS[1:], law.adequacy.local["alpha"], strict=True):
        slope = (z[x["alpha"] == high].mean() - z[x["alpha"] == low].mean()) / np.log(high / low)
        assert found.value == pytest.approx(slope, rel=1e-9) and found.settings == 3
        assert (found.x_low, found.x_high) == pytest.approx((low, high)) and found.low < found.value < found.high


def test_local_exponents_are_of_medians_where_cells_are_censored():
    """Of five seeds one or two did not reach; where three did not, the median is not known."""
    alpha, seed = np.repeat([1.0, 2.0, 4.0], 5), np.tile(np.arange(5), 3)
    y = np.array([10, 20, 30, 40, np.inf, 1, 2, 3, np.inf, np.inf, 1, 2, np.inf, np.inf, np.inf])
    law = fit_power({"n": alpha}, y, seed, 50.0, draws=DRAWS)
    (found,) = law.adequacy.local["n"]
    assert found.value == pytest.approx(np.log(3 / 30) / np.log(2)) and (found.x_low, found.x_high) == pytest.approx(
        (1, 2)
    )
    four = seed < 4  # the median of four is between the middle two
    (found,) = fit_power({"n": alpha[four]}, y[four], seed[four], 50.0, draws=DRAWS).adequacy.local["n"]
    assert found.value == pytest.approx((np.log(2 * 3) - np.log(20 * 30)) / 2 / np.log(2))
    limits = np.full(15, 50.0)
    limits[4] = 25  # below the median: the cell may lie on either side of it
    assert fit_power({"n": alpha}, y, seed, limits, draws=DRAWS).adequacy.local["n"] == []


def test_a_grid_with_holes_matches_what_is_there():
    x, y, seed, _ = sweep(4)
    kept = ~((x["alpha"] == 0.3) & (x["beta"] == 4.0)) & ~((x["alpha"] == 0.5) & (seed == 1))
    law = fit_power({n: c[kept] for n, c in x.items()}, y[kept], seed[kept])
    assert [each.settings for each in law.adequacy.local["alpha"]] == [2, 2, 3, 3]
    assert abs(law.exponents["alpha"].value + 1) < 0.2 and law.adequacy.lack_of_fit is not None


# ---------------------------------------------------------------- what is refused


CELLS = {"x": {"a": [1.0, 2, 4, 8]}, "y": [8.0, 4, 2, 1], "seeds": [0, 0, 1, 1]}
REFUSED = [
    ({"x": [1, 2, 4, 8]}, InvalidType, "x is [1, 2, 4, 8]; expected a dict"),
    ({"x": {}}, InvalidValue, "x is empty"),
    ({"x": {3: [1, 2, 4, 8]}}, InvalidType, "a name in x is 3"),
    ({"x": {"a": [1, 2, 0, 8]}}, InvalidValue, "x['a'][2] is 0; expected a finite number greater than 0"),
    ({"x": {"a": [1, 2, np.nan, 8]}}, InvalidValue, "x['a'][2] is nan"),
    ({"x": {"a": [1, np.inf, 2, 8]}}, InvalidValue, "x['a'][1] is inf"),
    ({"x": {"a": [1, 2, 4]}}, InvalidValue, "x['a'] has 3 entries; expected 4"),
    ({"x": {"a": [[1, 2, 4, 8]]}}, InvalidValue, "x['a'] has shape (1, 4)"),
    ({"y": [8, 4, 0, 1]}, InvalidValue, "y[2] is 0; expected a number greater than 0, inf where"),
    ({"y": [8, -np.inf, 2, 1]}, InvalidValue, "y[1] is -inf"),
    ({"y": ["a"] * 4}, InvalidType, "y has dtype"),
    ({"y": [True] * 4}, InvalidType, "y has dtype bool"),
    ({"y": 3.0}, InvalidValue, "y has shape ()"),
    ({"y": [8, 4, np.inf, 1]}, InvalidValue, "y[2] is inf, not reached, and limit is not given"),
    (
        {"y": [8, 4, np.inf, 1], "limit": [9, 9, np.nan, 9]},
        InvalidValue,
        "y[2] is inf, not reached, and limit[2] is nan",
    ),
    ({"y": [8, 4, np.inf, 1], "limit": [9, 9, 0, 9]}, InvalidValue, "and limit[2] is 0; expected the largest value"),
    ({"limit": 5.0}, InvalidValue, "y[0] is 8, and limit[0] is 5; expected no value beyond its limit"),
    ({"limit": [9, 9]}, InvalidValue, "limit has 2 entries"),
    ({"limit": "much"}, InvalidType, "limit has dtype"),
    ({"limit": [[9.0]]}, InvalidValue, "limit has shape (1, 1)"),
    ({"seeds": [0, 0, 1]}, InvalidValue, "seeds has 3 entries"),
    ({"seeds": [0, 0, 1, -1]}, InvalidValue, "seeds holds integers from -1"),
    ({"seeds": [0.0, 0, 1, 1]}, InvalidValue, "expected a list of integers"),
    ({"y": [8, 4, np.nan, np.nan]}, InvalidValue, "there are 2 cells with a value; expected at least 3"),
    ({"y": [np.nan] * 4}, InvalidValue, "there are 0 cells with a value"),
    ({"y": [8, 4, np.inf, np.inf], "limit": 9}, InvalidValue, "2 of 4 cells were reached; expected at least 3"),
    ({"x": {"a": [2, 2, 2, 2]}}, InvalidValue, "x['a'] has one value only, 2; expected at least two"),
    (
        {"x": {"a": [2, 2, 2, 4]}, "y": [8, 4, 3, np.inf], "limit": 9},
        InvalidValue,
        "x['a'], where y was reached, has one value",
    ),
    (
        {"x": {"a": [1, 2, 4, 8], "b": [1, 4, 16, 64]}},
        InvalidValue,
        "log x of a and b are collinear: they vary together",
    ),
    (
        {"x": {"a": [1, 2, 4, 8, 1], "b": [3, 6, 12, 24, 24]}, "y": [8, 4, 2, 1, np.inf], "seeds": [0] * 5, "limit": 9},
        InvalidValue,
        "log x of a and b are collinear where y was reached",
    ),
    ({"theory": [1]}, InvalidType, "theory is [1]; expected a dict"),
    ({"theory": {"b": Theory(1, "")}}, InvalidValue, "theory names 'b'; expected names of x: a"),
    ({"theory": {"a": -1.0}}, InvalidType, "theory['a'] is a float"),
    ({"draws": 10}, InvalidValue, "draws is 10; expected at least 100"),
    ({"seed": -1}, InvalidValue, "seed is -1"),
    ({"y_name": 3}, InvalidType, "y_name is 3"),
]


@pytest.mark.parametrize(("changes", "kind", "message"), REFUSED, ids=[each[2] for each in REFUSED])
def test_what_is_no_sweep_is_refused_and_named(changes, kind, message):
    fit_power(**CELLS)
    with pytest.raises(kind, match=re.escape(message)):
        fit_power(**{**CELLS, **changes})


def test_a_theorem_states_a_number():
    with pytest.raises(InvalidValue, match="exponent is nan"):
        Theory(np.nan, "Theorem 1 [ours]")
    with pytest.raises(InvalidType, match="source is 3"):
        Theory(1.0, 3)


@given(st.data())
def test_small_and_odd_sweeps_are_fitted_or_refused(data):
    """Whatever the cells are: a law with finite numbers of its own, or an error that is meant for the reader."""
    n = data.draw(st.integers(1, 9))
    pick = lambda *options: np.array(data.draw(st.lists(st.sampled_from(options), min_size=n, max_size=n)))  # noqa: E731
    x = {"a": pick(1.0, 2.0, 1e9), **({"b": pick(1.0, 3.0)} if data.draw(st.booleans()) else {})}
    y = pick(1.0, 1.0, 2.0, 5e299, 1e-300, np.inf, np.nan)
    try:
        law = fit_power(x, y, pick(0, 1, 2), 1e300, draws=100)
    except InvalidInput:
        return
    assert (
        np.isfinite([*values(law).values(), law.log_constant.value, law.sigma]).all()
        and np.isfinite(law.covariance).all()
    )
    assert max(map(len, str(law).splitlines())) <= 118
    json.loads(to_json(law.to_dict()))


def test_rows_determine_or_not():
    assert determined(np.eye(3)) and not determined(np.ones((5, 2))) and not determined(np.ones((1, 2)))
    assert determined(np.array([[1, 1e9], [1, 2e9]])) and not determined(np.array([[1, 0.0], [1, 0]]))


# ---------------------------------------------------------------- predictions, text, drawing


def test_predictions_are_the_law():
    law = fit_power(*sweep(), draws=DRAWS)
    a, b = law.exponents["alpha"].value, law.exponents["beta"].value
    found = law.predict({"beta": 2.0, "alpha": np.array([[0.2], [0.9]])})
    assert found == pytest.approx(law.constant * np.array([[0.2], [0.9]]) ** a * 2.0**b) and found.shape == (2, 1)
    low, high = law.band({"alpha": [[0.2], [0.9]], "beta": 2.0})
    assert low.shape == (2, 1) and (low < found).all() and (found < high).all()
    at_one = law.band({"alpha": 1.0, "beta": 1.0})
    assert np.log(at_one) == pytest.approx([law.log_constant.low, law.log_constant.high])
    for x, message in (
        ({"alpha": 1.0}, "x has alpha; expected alpha, beta"),
        ({"alpha": 0.0, "beta": 1.0}, "x['alpha'] is 0"),
        ({"alpha": [1, 2], "beta": [1, 2, 3]}, "do not fit together: alpha (2,), beta (3,)"),
    ):
        with pytest.raises(InvalidValue, match=re.escape(message)):
            law.predict(x)
    with pytest.raises(InvalidType, match="expected a dict"):
        law.predict([1.0])


def test_the_text_says_it_all():
    theory = {"alpha": Theory(-1, "Theorem 3.3 [paper]"), "beta": Theory(-1.5, "a theorem " * 15 + "[ours]")}
    x, y, seed, limits = sweep(4, limit=900)
    y[0] = np.nan
    law = fit_power(x, y, seed, limits, theory=theory, y_name="steps")
    text = str(law)
    lines, flat = text.splitlines(), " ".join(text.split())
    assert max(map(len, lines)) <= 118 and not any(line != line.rstrip() for line in lines)
    assert re.match(r"steps = \d{3} alpha\^-[01]\.\d+ beta\^-[12]\.\d+$", lines[0])
    inside = next(line for line in lines if line.startswith("alpha"))
    assert "-1.00, Theorem 3.3 [paper]" in inside and inside.endswith("yes")
    assert next(line for line in lines if line.startswith("beta")).endswith("NO")
    assert f"{law.censored} of 59 cells were not reached within their limits: treated as censored" in flat
    assert (
        "1 cell without a value was left out." in flat
        and "There are 4 seeds: the interval over seeds is rough." in flat
    )
    assert law.unreached == {"alpha": (0.2,)} or "alpha" not in law.unreached
    plain = json.loads(to_json(law.to_dict()))
    assert plain["law"] == lines[0] and plain["censored"] == law.censored and plain["left_out"] == 1
    assert plain["exponents"]["alpha"]["theory"] == {"exponent": -1.0, "source": "Theorem 3.3 [paper]"}
    assert plain["adequacy"]["local"]["alpha"][0]["x_low"] == pytest.approx(0.2)


def test_a_setting_that_nothing_reached_is_said():
    x, y, seed, limits = sweep(4, betas=(1.0,), limit=1100, noise=0.1)
    law = fit_power(x, y, seed, limits)
    assert law.unreached == {"alpha": (pytest.approx(0.2), pytest.approx(0.3))}
    assert "No cell was reached at alpha = 0.2, 0.3: only a lower bound is known there." in str(law)


def test_a_law_is_drawn():
    cells = sweep(4, limit=900)
    law = fit_power(*cells, theory={"alpha": Theory(-1, "Theorem 3.3 [paper]")}, draws=DRAWS)
    canvas = draw(law, *cells, y_label="steps until it is learned")
    first, second = canvas.axes
    assert first.get_xscale() == first.get_yscale() == "log"
    assert (first.get_xlabel(), second.get_xlabel()) == ("alpha", "beta")
    assert "steps until it is learned" in first.get_ylabel() and "to beta = 2" in first.get_ylabel()
    assert "−1.00" in first.get_title(loc="left") and "Theorem" not in second.get_title(loc="left")
    triangles = [
        line
        for line in first.get_lines()
        if line.get_marker() == "^" and len(line.get_xdata()) and line.get_label()[0] != "_"
    ]
    x, y, _, limits = cells
    lost = np.isinf(y)
    heights = np.sort(np.concatenate([line.get_ydata() for line in triangles if line.get_markerfacecolor() == "none"]))
    expected = limits[lost] * (2 / x["beta"][lost]) ** law.exponents["beta"].value
    assert heights == pytest.approx(np.sort(expected))


@pytest.mark.slow
def test_the_picture_of_a_law_is_the_same_each_time():
    cells = sweep(3, limit=900)
    law = fit_power(*cells, theory={"alpha": Theory(-1, "Theorem 3.3 [paper]")}, draws=DRAWS)
    one, other = (render(lambda of: draw(of, *cells), law, "svg") for _ in range(2))
    assert one == other and one.startswith(b"<?xml")


def test_laws_of_any_number_of_settings_and_seeds_are_drawn():
    one = sweep(1, betas=(1.0,))
    canvas = draw(fit_power(*one, y_name="steps"), *one)
    assert canvas.axes[0].get_ylabel() == "steps" and len(canvas.axes) == 1
    x, y, seed, limits = sweep(3, betas=tuple(np.geomspace(1, 10, 9)), limit=900)
    third = {**x, "gamma": np.where(np.arange(len(y)) % 2, 1.0, 3.0)}
    canvas = draw(fit_power(third, y, seed, limits, draws=DRAWS), third, y, seed, limits)
    assert len(canvas.axes) == 3
    law = fit_power(*one)
    with pytest.raises(InvalidValue, match="x has b; expected the law's own alpha"):
        draw(law, {"b": one[0]["alpha"]}, *one[1:])
    with pytest.raises(InvalidType, match="law is a str"):
        draw("law", *one)
