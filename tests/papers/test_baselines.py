"""Classical methods on one prompt: answers known by hand, symmetries, and scikit-learn's answers prompt by prompt."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from child import python

from nlicl import Prompts
from nlicl.papers import li2024
from nlicl.papers.li2024 import baselines
from nlicl.papers.li2024.baselines import METHODS, predict, predictions

FITTED = ("Logistic", "SVM Gaussian", "SVM linear")
D_X, Q = 2, np.array([0.6, -0.8])


def prompts(X, y, x):
    """One prompt of 2-dimensional x, its labels written as +-q."""
    tokens = np.zeros((1, len(X) + 1, D_X + len(Q)))
    tokens[0, :-1, :D_X], tokens[0, :-1, D_X:], tokens[0, -1, :D_X] = X, np.multiply.outer(y, Q), x
    return Prompts(tokens, [1.0])


def answer(method, X, y, x, **settings):
    return predictions(method, prompts(X, y, x), D_X, Q, **settings).item()


def drawn(n, length, alpha=0.6, seed=0, K=0.5, ood=False):
    """Coded prompts, and the same as (contexts, labels, query) each."""
    problem = li2024.Problem(K=K)
    problem = problem.out_of_domain(S_1=1.3) if ood else problem
    coded = problem.sample(n, length=length, alpha=alpha, seed=(seed, 3, length), tasks="all")
    tokens = coded.dense().tokens[..., : problem.d_X]
    return coded, [(tokens[i, :-1], coded.sign[i, :-1], tokens[i, -1]) for i in range(n)]


# ---------------------------------------------------------------- answers known by hand


# two clouds left and right of x_1 = 0: every method sees them
CLOUDS = np.array([[2.0, 0], [2, 1], [3, 0], [-2, 0], [-2, 1], [-3, 0]])
SIDES = np.array([1, 1, 1, -1, -1, -1])


@pytest.mark.parametrize("method", METHODS)
def test_two_clouds(method):
    for x in ([2.5, 0.5], [1, 0], [-1, 0.2], [-4, 1]):
        assert answer(method, CLOUDS, SIDES, x) == np.sign(x[0])


@pytest.mark.parametrize("method", FITTED)
def test_two_points(method):
    """Of one point each, the boundary is the perpendicular bisector for every method, whatever the penalty."""
    X, y = np.array([[1.0, 3], [2, -1]]), np.array([1, -1])
    for C in (0.01, 1.0, 100.0):
        for x in ([1.0, 1.6], [1.2, 1.0], [-2, 0], [1.9, 0.6], [3, 2.0]):
            nearer = np.sum((X[0] - x) ** 2) < np.sum((X[1] - x) ** 2)
            assert answer(method, X, y, x, C=C) == (1 if nearer else -1)


def test_the_linear_svm_is_the_widest_margin():
    """Support vectors (1, 0) and (-1, 0) alone: the boundary is x_1 = 0 although most +1 are far to the right."""
    X = np.array([[1.0, 0], [9, 3], [9, -3], [8, 0], [-1, 0]])
    y = np.array([1, 1, 1, 1, -1])
    assert answer("SVM linear", X, y, [0.01, 5]) == 1 and answer("SVM linear", X, y, [-0.01, 5]) == -1


def test_the_penalty_pulls_logistic_regression_to_the_majority():
    X, y = np.array([[1.0, 0], [1, 0.1], [1, -0.1], [-1, 0]]), np.array([1, 1, 1, -1])
    assert answer("Logistic", X, y, [-1, 0], C=0.01) == 1 and answer("Logistic", X, y, [-1, 0], C=100.0) == -1


def test_one_nearest_neighbour_by_its_definition():
    coded, each = drawn(200, 9)
    expected = [labels[np.argmin(np.linalg.norm(contexts - query, axis=1))] for contexts, labels, query in each]
    np.testing.assert_array_equal(predictions("1-NN", coded, 30), expected)


def test_three_neighbours_outvote_the_nearest():
    X, y = np.array([[1.0, 0], [2, 0], [3, 0], [9, 0]]), np.array([1, -1, -1, 1])
    assert answer("1-NN", X, y, [0.0, 0]) == 1 and answer("3-NN", X, y, [0.0, 0]) == -1


def test_of_equally_near_contexts_the_earlier_one_counts():
    X = np.array([[1.0, 0], [-1, 0]])
    assert answer("1-NN", X, [1, -1], [0.0, 0]) == 1 and answer("1-NN", X, [-1, 1], [0.0, 0]) == -1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("label", [1, -1])
def test_one_shared_label_is_the_answer(method, label):
    pytest.importorskip("sklearn")
    X, x = CLOUDS[:3], [-5.0, 0]
    assert answer(method, X, np.full(3, label), x) == predict(method, X, np.full(3, label), x) == label


# ---------------------------------------------------------------- symmetries


@pytest.mark.parametrize("method", METHODS)
def test_flipped_labels_flip_the_answer(method):
    coded, _ = drawn(300, 8)
    flipped = predictions(method, replace(coded, sign=-coded.sign), 30)
    np.testing.assert_array_equal(flipped, -predictions(method, coded, 30))


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_contexts_does_not_matter(method):
    coded, _ = drawn(300, 8, K=1.5, ood=True)
    order = [*np.random.default_rng(0).permutation(8), 8]
    rows = {name: getattr(coded, name)[:, order] for name in ("relevant", "irrelevant", "kappa", "sign")}
    shuffled = type(coded)(coded.dictionary, **rows, labels=coded.labels)
    np.testing.assert_array_equal(predictions(method, shuffled, 30), predictions(method, coded, 30))


@pytest.mark.parametrize("method", METHODS)
def test_coded_and_dense_prompts_one_by_one_and_together(method, monkeypatch):
    coded, _ = drawn(40, 7)
    together = predictions(method, coded, 30)
    assert together.dtype == np.int8 and set(together.tolist()) <= {-1, 1}
    np.testing.assert_array_equal(predictions(method, coded.dense(), 30, li2024.Problem().q), together)
    np.testing.assert_array_equal(predictions(method, coded.dense(np.float32), 30, li2024.Problem().q), together)
    monkeypatch.setattr(baselines, "_BLOCK", 7)
    np.testing.assert_array_equal(predictions(method, coded, 30), together)


# ---------------------------------------------------------------- scikit-learn as the witness


@pytest.fixture
def witness():
    """Scikit-learn on one thread: others' work on the machine would make its thousand small products wait."""
    pytest.importorskip("sklearn")
    with pytest.importorskip("threadpoolctl").threadpool_limits(1):
        yield


@pytest.mark.parametrize(("length", "alpha", "K", "ood", "C"), [
    (6, 0.6, 0.5, False, 1.0), (12, 0.8, 0.5, True, 3.0), (20, 0.6, 1.5, True, 1.0),
])  # fmt: skip
@pytest.mark.parametrize("method", METHODS)
def test_scikit_learn_predicts_the_same(method, length, alpha, K, ood, C, witness):
    coded, each = drawn(30, length, alpha, K=K, ood=ood)
    ours = predictions(method, coded, 30, C=C)
    np.testing.assert_array_equal(ours, [predict(method, *one, C=C) for one in each])


@pytest.mark.parametrize("method", FITTED)
@pytest.mark.parametrize("hard", ["one point, two labels", "small features", "large features"])
def test_scores_are_those_of_scikit_learn(method, hard, witness):
    """Also where points coincide, which makes matrices singular, and where the defaults suit the scale badly."""
    if hard == "one point, two labels":
        _, each = drawn(15, 20, 0.2, K=0.0)
    else:
        scale, rng = {"small features": 0.01, "large features": 10.0}[hard], np.random.default_rng(0)
        each = [
            (scale * rng.standard_normal((12, 5)), rng.choice([1, -1], 12), scale * rng.standard_normal(5))
            for _ in range(15)
        ]
    X, y, x = (np.array(part, float) for part in zip(*each, strict=True))
    ours = baselines._scores(method, X, y, x, 1.0)
    for score, contexts, labels, query in zip(ours, X, y, x, strict=True):
        theirs = baselines._estimator(method, 1.0).fit(contexts, labels).decision_function(query[None]).item()
        assert score == pytest.approx(theirs, abs=0.01 * max(1, abs(theirs)))


def test_nothing_else_needs_scikit_learn(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"predict needs scikit-learn: pip install '\.\[baselines\]'"):
        predict("1-NN", CLOUDS, SIDES, [1.0, 0])
    assert [answer(method, CLOUDS, SIDES, [1, 0]) for method in METHODS] == [1] * 5


def test_the_import_is_light():
    code = (
        "import sys, nlicl.papers.li2024.baselines; print([m for m in ('sklearn', 'matplotlib') if m in sys.modules])"
    )
    assert python(code) == "[]"


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("call", [lambda m, X, y, x: predict(m, X, y, x), answer])
def test_three_neighbours_need_three_contexts(call):
    with pytest.raises(ValueError, match=r"3-NN of l = 2 contexts; expected l >= 3"):
        call("3-NN", CLOUDS[2:4], [1, -1], [0.0, 0])


@pytest.mark.parametrize(("change", "message"), [
    ({"method": "2-NN"}, r"method is '2-NN' \(did you mean 3-NN\?\); expected one of 'Logistic', 'SVM Gaussian'"),
    ({"labels": [1, 0, 1, 1, 1, 1]}, "labels holds other values than -1 and"),
    ({"labels": [1, -1]}, r"have shapes \(6, 2\), \(2,\) and \(2,\); expected"),
    ({"query": [1.0]}, "have shapes"),
    ({"query": [np.nan, 0]}, "query\\[0\\] is nan"),
    ({"C": 0}, "C is 0; expected a finite number greater than 0"),
])  # fmt: skip
def test_errors_of_one_prompt(change, message):
    arguments = {"method": "Logistic", "contexts": CLOUDS, "labels": SIDES, "query": [1.0, 0], **change}
    with pytest.raises(ValueError, match=message):
        predict(**arguments)


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"method": "forest"}, ValueError, "method is 'forest'"),
    ({"prompts": CLOUDS}, TypeError, "prompts is of type ndarray; expected CodedPrompts or Prompts"),
    ({"d_X": 4}, ValueError, "d_X is 4; expected the number"),
    ({"d_X": 2.0}, TypeError, "d_X is 2.0; expected an integer"),
    ({"q": None}, ValueError, r"q has shape \(\); expected \(2,\), the label embedding"),
    ({"q": [1, 0]}, ValueError, "q is not what the contexts carry"),
    ({"C": -1.0}, ValueError, "C is -1.0"),
])  # fmt: skip
def test_errors_of_a_batch(change, error, message):
    arguments = {"method": "Logistic", "prompts": prompts(CLOUDS, SIDES, [1, 0]), "d_X": D_X, "q": Q, **change}
    with pytest.raises(error, match=message):
        predictions(**arguments)


@pytest.mark.parametrize("solver", ["_logistic", "_svm"])
def test_what_does_not_settle_is_an_error(solver):
    gram = CLOUDS @ CLOUDS.T
    with pytest.raises(ArithmeticError, match="has not settled on 1 prompts after 1 steps"):
        getattr(baselines, solver)(gram[None], gram[:1], SIDES[None].astype(float), 1.0, limit=1)
