"""`nlicl.audit_gradient`: right gradients pass, wrong ones fail with the entry named, kinks are judged by both sides."""

import json
import math

import numpy as np
import pytest

import nlicl
from nlicl.models.transformer import reference
from nlicl.models.transformer.prompts import Params, Prompt

rng = np.random.default_rng(20)
X = rng.standard_normal(6)
W, Y = rng.standard_normal((4, 5)), rng.standard_normal(5)


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def relu_net(W, y):
    return np.maximum(W @ y, 0).sum()


def relu_net_gradient(W, y):
    on = W @ y > 0
    return np.outer(on, y), W.T @ on


def buffered(x):
    """x through floats: no witness but differences gets through."""
    buffer = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        buffer[index] = float(x[index])
    return buffer


def complex_only(x):
    """Complex numbers pass through Python's own, dual numbers do not."""
    total = 0.0
    for t in x.tolist():
        total = total + (complex(t) ** 3 if isinstance(t, complex) else float(t) ** 3)
    return total


RIGHT = {
    "sin^2": (lambda x: np.sum(np.sin(x) ** 2), lambda x: np.sin(2 * x), X),
    "log-sum-exp": (lambda x: np.log(np.exp(x).sum()), softmax, X),
    "scalar": (lambda x: x**2, lambda x: 2 * x, 1.5),
    "linear": (lambda x: 3 * np.sum(x), lambda x: np.full(6, 3.0), X),
    "norm": (lambda x: np.linalg.norm(x), lambda x: x / np.linalg.norm(x), X),
    "abs": (lambda x: abs(x).sum(), np.sign, X),
    "abs on its kink": (lambda x: abs(x).sum(), np.sign, np.array([1.0, 0.0, -2.0])),
    "abs near its kink": (lambda x: abs(x).sum(), np.sign, np.array([1.0, 3e-6, -2.0])),
    "two arguments": (relu_net, relu_net_gradient, (W, Y)),
    "huge": (lambda x: 1e8 * np.sum(x**2), lambda x: 2e8 * x, X),
    "small beside a constant": (lambda x: 1e-9 * np.sum(x**2) + 1, lambda x: 2e-9 * x, X),
    "maximum of two": (lambda x: max(x[0] ** 2, x[1] ** 3), lambda x: np.array([2 * x[0], 0.0]), np.array([2.0, 1.0])),
    "by a plain buffer": (lambda x: np.sum(buffered(x) ** 3), lambda x: 3 * x**2, X),
    "by Python's floats": (lambda x: math.fsum(float(t) ** 3 for t in x), lambda x: 3 * x**2, X),
    "complex numbers only": (lambda x: complex_only(x), lambda x: 3 * x**2, X),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_gradients_agree(name):
    report = nlicl.audit_gradient(*RIGHT[name])
    assert report, report
    assert report.check() is report


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("break_it", [lambda g: -g, lambda g: 1.001 * g, lambda g: g + abs(g).max() + 1.1])
def test_broken_gradients_do_not(name, break_it):
    loss, gradient, x = RIGHT[name]

    def broken(*arrays):
        parts = gradient(*arrays)
        return (break_it(parts[0]), *parts[1:]) if isinstance(parts, tuple) else break_it(parts)

    if name == "abs on its kink" and broken(x)[1] == 0:
        assert nlicl.audit_gradient(loss, broken, x).verdict == "disagree"  # the other entries are wrong
    report = nlicl.audit_gradient(loss, broken, x)
    assert report.verdict == "disagree", report
    with pytest.raises(AssertionError, match="worst entry"):
        report.check()


def test_one_entry_off_by_a_billionth_is_named():
    def off(x):
        g = softmax(x)
        g[2] *= 1 + 1e-9
        return g

    report = nlicl.audit_gradient(RIGHT["log-sum-exp"][0], off, X)
    assert report.verdict == "disagree"
    assert report.arguments[0].worst["index"] == [2]
    assert report.arguments[0].wrong == 1


def test_a_kink_is_judged_by_its_two_sides():
    loss, x = RIGHT["abs on its kink"][0], RIGHT["abs on its kink"][2]
    for value, verdict in ((0.0, "agree"), (-1.0, "agree"), (0.7, "agree"), (1.2, "disagree"), (-1.2, "disagree")):
        report = nlicl.audit_gradient(loss, lambda x, v=value: np.where(x == 0, v, np.sign(x)), x)
        assert report.verdict == verdict, report
        assert report.arguments[0].kinks == [[1]]


def test_near_a_kink_is_not_on_it():
    """Where the complex step applies, the derivative is exact however near the kink is."""
    x = np.array([1.0, 1e-9, -1e-9])
    loss = lambda x: np.maximum(x, 0).sum()  # noqa: E731
    assert nlicl.audit_gradient(loss, lambda x: (x > 0) * 1.0, x)
    wrong = nlicl.audit_gradient(loss, lambda x: np.array([1.0, 0.5, 0.5]), x)
    assert wrong.verdict == "disagree" and not wrong.arguments[0].kinks


def test_the_witness_is_found_not_assumed():
    def witness(name):
        return nlicl.audit_gradient(*RIGHT[name]).arguments[0].witness

    exact = ("log-sum-exp", "norm", "abs", "abs on its kink", "maximum of two", "scalar")
    assert {witness(name) for name in exact} == {"dual numbers"}
    assert {witness(name) for name in ("by a plain buffer", "by Python's floats")} == {"differences"}
    assert witness("complex numbers only") == "complex step"


def test_each_argument_has_its_own_witness():
    loss, gradient = (
        lambda u, v: np.sum(buffered(u) ** 2) * np.sum(v),
        lambda u, v: (2 * u * v.sum(), np.full(6, (u**2).sum())),
    )
    report = nlicl.audit_gradient(loss, gradient, (X, X + 1), names=("u", "v"))
    assert report, report
    assert [argument.witness for argument in report.arguments] == ["differences", "dual numbers"]
    assert "u is held against differences of the loss, since dual numbers do not go through the loss" in str(report)


def test_nothing_active_proves_nothing():
    report = nlicl.audit_gradient(lambda x: np.maximum(x - 100, 0).sum(), lambda x: (x > 100) * 1.0, X)
    assert report.verdict == "undetermined"
    assert not report


def test_differences_too_coarse_to_tell():
    # a plain buffer leaves nothing but differences, and the constant drowns the rest: no honest verdict is possible
    report = nlicl.audit_gradient(
        lambda x: 1e-11 * abs(buffered(x)).sum() + 1e3, lambda x: 1e-11 * np.sign(x), X, points=[]
    )
    assert report.verdict == "undetermined", report
    assert report.arguments[0].verdict == "undetermined"
    exact = nlicl.audit_gradient(
        lambda x: np.sum(abs(x)) + 1e3, lambda x: np.sign(x), X
    )  # of dual numbers none is lost
    assert exact, exact


def test_tiny_beside_a_constant_is_not_wrong():
    loss = lambda x: 1e-12 * np.sum(x**2) + 1  # noqa: E731
    assert nlicl.audit_gradient(loss, lambda x: 2e-12 * x, X).verdict != "disagree"
    assert nlicl.audit_gradient(loss, lambda x: 3e-12 * x, X).verdict == "disagree"


def test_large_arguments_are_checked_by_samples_and_along_a_direction():
    x = np.random.default_rng(1).standard_normal((40, 50))
    assert nlicl.audit_gradient(lambda x: np.sum(np.cos(x)), lambda x: -np.sin(x), x, entries=20)
    wrong = np.where(np.arange(2000).reshape(40, 50) < 1500, 1.0, 0.5)  # entries that a sample of two misses
    found = [
        nlicl.audit_gradient(lambda x: np.sum(np.cos(x)), lambda x: -np.sin(x) * wrong, x, entries=2, seed=s).verdict
        for s in range(5)
    ]
    assert set(found) == {"disagree"}


def test_hessian_vector_products():
    loss, gradient = (lambda x: np.sum(x**4)), (lambda x: 4 * x**3)
    right = nlicl.audit_gradient(loss, gradient, X, hessian_vector=lambda x, v: 12 * x**2 * v)
    assert right and right.hessian_error < 1e-12
    wrong = nlicl.audit_gradient(loss, gradient, X, hessian_vector=lambda x, v: 12 * x * v)
    assert wrong.verdict == "disagree"
    assert "Hessian" in wrong.reason
    two = nlicl.audit_gradient(
        lambda u, v: (u * v**2).sum(),
        lambda u, v: (v**2, 2 * u * v),
        (X, X + 1),
        hessian_vector=lambda u, v, du, dv: (2 * v * dv, 2 * v * du + 2 * u * dv),
    )
    assert two and two.hessian_error < 1e-12


def relu(x):
    return np.maximum(x, 0)


ON_A_KINK = np.array([1.0, 0.0, -2.0])
KINKS = {
    "of the loss": (lambda x: relu(x).sum(), lambda x: (x > 0) * 1.0, lambda x, v: 0 * v),
    "of the gradient": (lambda x: (relu(x) ** 2).sum(), lambda x: 2 * relu(x), lambda x, v: 2 * (x > 0) * v),
}


@pytest.mark.parametrize("name", KINKS)
def test_on_a_kink_no_hessian_is_right_or_wrong(name):
    loss, gradient, product = KINKS[name]
    report = nlicl.audit_gradient(loss, gradient, ON_A_KINK, hessian_vector=product)
    assert (report.verdict, report.hessian_error) == ("undetermined", None)
    assert "no Hessian to judge by" in report.reason and not report
    assert ("not taken on a kink" in str(report)) == (name == "of the loss") and "linear" not in str(report)
    assert nlicl.audit_gradient(loss, gradient, ON_A_KINK)  # the gradient alone is right
    assert (
        nlicl.audit_gradient(loss, gradient, ON_A_KINK + 0.5, hessian_vector=product).hessian_error < 1e-9
    )  # beside it
    wrong = nlicl.audit_gradient(loss, lambda x: 3 + gradient(x), ON_A_KINK, hessian_vector=product)
    assert wrong.verdict == "disagree"


def test_a_product_that_is_no_number_is_wrong():
    report = nlicl.audit_gradient(lambda x: np.sum(x**4), lambda x: 4 * x**3, X, hessian_vector=lambda x, v: np.nan * v)
    assert report.verdict == "disagree" and report.hessian_error == np.inf


def test_a_steep_smooth_gradient_has_no_kink():
    loss, gradient = (lambda x: np.sum(np.sin(300 * x))), (lambda x: 300 * np.cos(300 * x))
    report = nlicl.audit_gradient(loss, gradient, X, hessian_vector=lambda x, v: -90000 * np.sin(300 * x) * v)
    assert report and report.hessian_error < 1e-9, report


def test_a_student_changes_the_model():
    """The model with a temperature, its parameters a named tuple: loss by the definition, gradient by the library."""
    r = np.random.default_rng(3)
    params = Params(*(r.standard_normal(shape) for shape in ((4, 5), (4, 5), (3, 5), (7, 3), (7,))))
    tokens, T = r.standard_normal((6, 5)), 2.0
    prompt = Prompt(tokens, 1.0)
    if reference.loss(params, prompt) == 0:
        prompt = Prompt(tokens, -1.0)

    def cold(params):
        return params._replace(W_Q=params.W_Q / T)

    def loss(params):
        return reference.loss(cold(params), prompt, "logistic")

    def gradient(params):
        g = nlicl.loss_and_grad(cold(params), nlicl.Prompts(tokens[None], [prompt.z]), "logistic")[1]
        return g._replace(W_Q=g.W_Q / T)

    report = nlicl.audit_gradient(loss, gradient, params)
    assert report, report
    assert [argument.name for argument in report.arguments] == list(Params._fields)

    forgot = nlicl.audit_gradient(loss, lambda p: gradient(p)._replace(W_Q=T * gradient(p).W_Q), params)
    assert forgot.verdict == "disagree"
    assert [argument.name for argument in forgot.arguments if argument.wrong] == ["W_Q"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, np.sign, X), TypeError, "loss is a int"),
        ((np.sum, None, X), TypeError, "gradient is a NoneType"),
        ((np.sum, np.sign, np.array(["a", "b"])), TypeError, "x .*; expected"),
        ((np.sum, np.sign, np.array([np.nan])), ValueError, r"x\[0\] is nan; expected finite numbers"),
        ((np.sum, lambda x: x[:2], X), ValueError, r"shape \(2,\) for x; expected \(6,\)"),
        ((lambda u, v: u.sum(), lambda u, v: u, (X, X)), TypeError, r"shape \(6,\); expected 2, one for each of"),
        ((lambda x: x, lambda x: x, X), ValueError, "loss returns 6 numbers, one a sample"),
        ((lambda x: np.inf, lambda x: x, X), ValueError, "one finite real number"),
        ((np.sum, np.sign, ()), ValueError, "x is an empty tuple"),
    ],
)
def test_arguments_of_a_wrong_form(arguments, error, message):
    with pytest.raises(error, match=message):
        nlicl.audit_gradient(*arguments)


# ---- Reports


def wrong_by_two(x):
    return 2 * softmax(x)


def log_sum_exp(x):
    return np.log(np.exp(x).sum())


REPORTS = {
    "right": (log_sum_exp, softmax, X),
    "wrong": (log_sum_exp, wrong_by_two, X),
    "nan": (log_sum_exp, lambda x: x * np.nan, X),
    "infinite": (log_sum_exp, lambda x: x * np.inf, X),
    "on a kink": RIGHT["abs on its kink"],
    "two arguments": (relu_net, relu_net_gradient, (W, Y)),
    "by differences": RIGHT["by a plain buffer"],
    "idle": (lambda x: 0.0 * np.sum(x), lambda x: 0 * x, X),
    "random": (lambda x: np.sum(x) + rng.random(), lambda x: 0 * x + 1, X),
    "large": (lambda x: np.sum(np.cos(x)), lambda x: -np.sin(x), np.ones((60, 60))),
    "float32": (lambda x: np.sum(x**3), lambda x: 3 * x**2, X.astype(np.float32)),
    "scalar": RIGHT["scalar"],
}


@pytest.mark.parametrize("name", REPORTS)
def test_reports_are_data_and_pages_and_contradict_nothing(name, tmp_path):
    report = nlicl.audit_gradient(*REPORTS[name])
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["arguments"] == data["formulas"] and data["verdict"] == report.verdict
    assert {"nlicl", "paper", "seed", "draws", "function", "reason", "remarks", "points", "calls"} <= set(data)
    report.to_json(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == data
    report.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "draw" not in page and "attends" not in page and "keys" not in page
    assert report.verdict in page and f"Gradient audit: {report.paper}" in page

    text = str(report)
    assert text.splitlines()[0].startswith(f"gradient: {report.verdict}. ")
    assert "\n" not in repr(report) and report.verdict in repr(report)
    verdicts = {argument.verdict for argument in report.arguments}
    assert report.verdict in verdicts and ("disagree" in verdicts) == (report.verdict == "disagree")
    assert ("DISAGREE" in text) == (report.verdict == "disagree")
    if report:
        assert report.check() is report
    else:
        with pytest.raises(AssertionError) as caught:
            report.check()
        assert str(caught.value) == text


def test_the_page_shows_source_legend_and_entries(tmp_path):
    nlicl.audit_gradient(log_sum_exp, wrong_by_two, X).to_html(tmp_path / "wrong.html")
    page = (tmp_path / "wrong.html").read_text()
    assert "def wrong_by_two(x):" in page and "wrong_by_two of test_audit_gradient.py" in page
    assert "Dual numbers carry the derivative" in page and "complex step is" not in page
    assert "<rect" in page and "Relative error of each entry of x at x" in page
    assert "Taylor slope: 1.00" in page and "either may be at fault" in page

    nlicl.audit_gradient(relu_net, relu_net_gradient, (W, Y)).to_html(tmp_path / "two.html")
    assert (tmp_path / "two.html").read_text().count("def relu_net_gradient") == 1

    right = nlicl.audit_gradient(lambda x: np.sum(x**4), lambda x: 4 * x**3, X, hessian=lambda x: 12 * x)
    assert right.verdict == "disagree"
    right.to_html(tmp_path / "hessian.html")
    page = (tmp_path / "hessian.html").read_text()
    assert "Hessian: disagree, error" in page and "worst" in page


def test_on_a_kink_both_derivatives_are_shown():
    loss, _, x = RIGHT["abs on its kink"]
    report = nlicl.audit_gradient(loss, lambda x: np.where(x == 0, 1.5, np.sign(x)), x)
    assert (
        "worst entry x[1] at x: given 1.5, expected between -1 and 1, the derivatives to both sides of a kink"
        in str(report)
    )


def test_a_single_number_has_no_index():
    report = nlicl.audit_gradient(lambda x: x**2, lambda x: 3 * x, 1.5)
    assert "worst entry x at x: given 4.5, expected 3, by dual numbers" in str(report)


def test_assert_gradient_fails_with_the_report():
    assert nlicl.assert_gradient(log_sum_exp, softmax, X) is None
    with pytest.raises(
        AssertionError,
        match=r"(?s)disagree.*scale: .*worst entry x\[\d\] at x: given \S+, expected \S+, by dual numbers",
    ):
        nlicl.assert_gradient(log_sum_exp, wrong_by_two, X)
    with pytest.raises(AssertionError, match="undetermined"):
        nlicl.assert_gradient(*REPORTS["idle"])
