"""The definition, which everything else is judged by: against the slow twins, and in every dtype it promises."""

import mpmath
import naive
import numpy as np
import pytest
from draws import LOSSES, Sizes, assert_close, bounds, losses, problem, seeds, sizes
from hypothesis import given
from hypothesis import strategies as st

import nlicl
from nlicl import Params, Prompt
from nlicl.models.transformer import reference


def as_dtype(p, prompt, dtype):
    return Params(*(x.astype(dtype) for x in p)), Prompt(prompt.tokens.astype(dtype), prompt.z, prompt.query_attends)


@given(sizes, losses, st.booleans(), seeds)
def test_reference_is_the_twin(size, loss, query_attends, seed):
    p, x = problem(size, seed, query_attends=query_attends)
    tol, prompt = bounds(p, x), x[0]
    out = reference.forward(p, prompt)
    want = naive.forward(*map(naive.numbers, [*p, prompt.tokens]), query_attends)
    assert_close(out.score, want[0], tol.score)
    assert_close(out.attention, want[1], tol.attention)
    assert_close(out.context, want[2], tol.context)
    assert_close(out.preactivation, want[3], tol.preactivation)
    want_loss = naive.loss(loss, want[0], prompt.z)
    assert_close(reference.loss(p, prompt, loss), want_loss, tol.score * (1 + abs(want_loss)))


@given(sizes, losses, st.booleans(), seeds)
def test_kernels_are_the_reference(size, loss, query_attends, seed):
    p, x = problem(size, seed, query_attends=query_attends)
    out, tol = nlicl.forward(p, x), bounds(p, x)
    each = [reference.forward(p, prompt) for prompt in x]
    for name, atol in zip(out._fields, tol, strict=False):
        assert_close(getattr(out, name), [getattr(one, name) for one in each], atol, name)
    want = np.mean([reference.loss(p, prompt, loss) for prompt in x])
    assert_close(nlicl.loss_and_grad(p, x, loss)[0], want, tol.score * (1 + want))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble, np.complex64, np.complex128, np.clongdouble])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_dtype_is_kept(loss, dtype):
    p, x = problem(Sizes(), seed=4)
    q, prompt = as_dtype(p, x[0], dtype)
    for result in [*reference.forward(q, prompt), reference.loss(q, prompt, loss)]:
        assert np.asarray(result).dtype == dtype
    want = reference.loss(p, x[0], loss)
    assert abs(reference.loss(q, prompt, loss) - want) < 100 * max(np.finfo(dtype).eps, 2.3e-16)


@pytest.mark.parametrize("loss", LOSSES)
def test_complex_step_through_the_reference(loss):
    """The imaginary part is the derivative: nothing on the way takes a modulus or compares imaginary parts."""
    p, x = problem(Sizes(l=5, d=4, m_a=2, m_b=3, m=6), seed=5)
    prompt = x[1]
    _, *want = naive.gradients(*map(naive.numbers, [*p, prompt.tokens]), prompt.z, loss)
    for name, grad in zip(Params._fields, want, strict=True):
        for index in np.ndindex(np.shape(grad)):
            q, complex_prompt = as_dtype(p, prompt, complex)
            getattr(q, name)[index] += 1e-100j
            witness = np.imag(reference.loss(q, complex_prompt, loss)) / 1e-100
            assert abs(witness - np.asarray(grad)[index]) < 1e-13


@pytest.mark.parametrize("loss", LOSSES)
def test_extended_precision_of_the_reference(loss):
    eps = np.finfo(np.longdouble).eps
    if eps > 1e-18:
        pytest.skip("numpy.longdouble is no longer than float64 here")
    p, x = problem(Sizes(l=5, d=4, m_a=2, m_b=3, m=6), seed=6)
    q, prompt = as_dtype(p, x[0], np.longdouble)
    got = reference.loss(q, prompt, loss)
    with mpmath.workdps(50):
        exact = lambda array: naive.numbers(array, lambda v: mpmath.mpf(float(v)))  # noqa: E731
        want = naive.loss(loss, naive.forward(*map(exact, [*p, x[0].tokens]))[0], mpmath.mpf(x[0].z))
        high = float(got)
        assert abs(mpmath.mpf(high) + mpmath.mpf(float(got - np.longdouble(high))) - want) < 40 * float(eps)


@given(sizes, seeds)
def test_margins_are_what_the_kinks_are_measured_by(size, seed):
    p, x = problem(size, seed)
    prompt = x[0]
    out = reference.forward(p, prompt)
    hinge = reference.margins(p, prompt, "hinge")
    np.testing.assert_array_equal(hinge[:-1], out.preactivation)
    assert hinge[-1] == 1 - prompt.z * out.score
    for loss in ("logistic", "squared"):
        np.testing.assert_array_equal(reference.margins(p, prompt, loss), out.preactivation)


def test_relu_of_the_reference():
    u = np.array([-1.0, -0.0, 0.0, 2.0, np.nan])
    np.testing.assert_array_equal(reference.relu(u), [0, 0, 0, 2, np.nan])
    np.testing.assert_array_equal(reference.relu(np.array([-1 + 5j, 1 - 5j, 5j])), [0, 1 - 5j, 0])


def test_large_scores_do_not_overflow():
    p, x = problem(Sizes(), seed=1)
    out = reference.forward(p._replace(W_Q=p.W_Q * 1e300), x[0])
    assert np.isfinite(out.score) and out.attention.sum() == 1


def test_logistic_loss_does_not_overflow():
    p, x = problem(Sizes(), seed=1)
    score = reference.forward(p, x[0]).score
    for sign in (-1, 1):
        q = p._replace(a=p.a * (sign * x[0].z * 1e5 / score))
        assert np.isclose(reference.loss(q, x[0], "logistic"), 1e5 if sign < 0 else 0, rtol=1e-12)


def test_unknown_losses_are_refused():
    p, x = problem(Sizes())
    with pytest.raises(
        ValueError, match=r"loss is 'hinje' \(did you mean hinge\?\); expected one of 'hinge', 'logistic', 'squared'"
    ):
        reference.loss(p, x[0], "hinje")
