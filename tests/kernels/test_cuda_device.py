"""The GPU path on a real GPU, at the sizes of the papers' runs, and with the arrays of other libraries.

Small and odd sizes, errors and training settings are test_cuda_path.py's, which runs there as well.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cuda_memory import spoil
from draws import Sizes, params, problem

import nlicl
from nlicl import Params, Prompts, devices, forward, loss_and_grad, to_device, to_host
from nlicl.papers import li2024

pytestmark = pytest.mark.cuda  # else skipped, by conftest.py

SIZE = Sizes(B=2048, l=100, d=60, m_a=60, m_b=60, m=64)
MOST = {np.float64: 1e-12, np.float32: 1e-5}
DTYPES = pytest.mark.parametrize("dtype", list(MOST))


def as_type(dtype, arrays):
    return Params(*(array.astype(dtype) for array in arrays))


def bits(arrays):
    return [array.tobytes() for array in arrays]


def error(got, want):
    """Relative, in the Euclidean norm."""
    assert got.shape == want.shape and np.isfinite(got).all()
    return np.linalg.norm(got.astype(np.float64) - want) / np.linalg.norm(want)


def tokens_and_codes(dtype):
    """(parameters, prompts in a dtype; both in float64), for each of the kernels."""
    psi, given = problem(SIZE, 1)
    low, tokens = as_type(dtype, psi), given.tokens.astype(dtype)
    exact = Prompts(tokens.astype(np.float64), given.labels)
    yield low, Prompts(tokens, given.labels), as_type(np.float64, low), exact
    task = li2024.Problem(length=SIZE.l)
    low = as_type(dtype, params(SIZE._replace(d=task.d), 2))
    coded = task.sample(SIZE.B, seed=1)
    yield low, coded, as_type(np.float64, low), coded


@DTYPES
def test_the_step_and_forward_are_those_of_the_cpu(dtype):
    from nlicl.kernels.cuda import dense

    assert dense.stages(SIZE.l, SIZE.d, SIZE.m, np.dtype(dtype).itemsize) == (dtype == np.float32)
    for low, given, psi, exact in tokens_and_codes(dtype):
        want, got = forward(psi, exact), forward(low, given, backend="cuda")
        for name in want._fields:
            assert error(getattr(got, name), getattr(want, name)) < MOST[dtype], name
        for loss in ("hinge", "logistic", "squared"):
            want, grads = loss_and_grad(psi, exact, loss)
            value, got = loss_and_grad(low, given, loss, backend="cuda")
            assert abs(value - want) < MOST[dtype] * want
            for name in Params._fields:
                assert error(getattr(got, name), getattr(grads, name)) < MOST[dtype], (loss, name)


@DTYPES
def test_the_bits_are_the_same_each_time_and_all_of_them_are_written(dtype, monkeypatch):
    for low, given, _, _ in tokens_and_codes(dtype):
        runs = []
        for spoilt in (False, False, True, True):
            with monkeypatch.context() as patch:
                if spoilt:
                    spoil(patch)
                value, grads = loss_and_grad(low, given, backend="cuda")
                runs.append([value.tobytes(), *bits(grads), *bits(forward(low, given, backend="cuda"))])
        assert runs[0] == runs[1] == runs[2] == runs[3]


def test_threads_of_the_caller_do_not_disturb_each_other():
    (psi, given, _, _), (phi, coded, _, _) = tokens_and_codes(np.float32)
    jobs = [(psi, given), (phi, coded), (psi, given[:700]), (phi, coded[:700])] * 4
    want = [bits(loss_and_grad(*job, backend="cuda")[1]) for job in jobs[:4]] * 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda job: bits(loss_and_grad(*job, backend="cuda")[1]), jobs)) == want


def test_the_reference_run_learns_and_is_that_of_the_cpu():
    task = li2024.Problem()
    cpu, gpu, again = (nlicl.train(task, backend=backend, measure=[400]) for backend in ("cpu", "cuda", "cuda"))
    assert gpu.step == 400 and gpu.history["hinge_train"][-1] < 0.01
    np.testing.assert_allclose(gpu.history.loss, cpu.history.loss, atol=1e-6, rtol=0)
    for got, want in zip(gpu.params, cpu.params, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6 * abs(want).max(), rtol=0)
    assert bits(gpu.params) == bits(again.params)


def test_the_reference_run_learns_in_float32():
    run = nlicl.train(li2024.Problem(), backend="cuda", dtype=np.float32, measure=[400])
    assert run.params.W_O.dtype == np.float32 and run.history["hinge_train"][-1] < 0.01


def test_prompts_drawn_on_a_gpu_are_those_drawn_on_the_cpu():
    task = li2024.Problem(length=SIZE.l)
    for n in (SIZE.B, 1001):
        want, got = task.sample(n, seed=(5, 7)), to_host(task.device_sampler(n)((5, 7)))
        for name in ("relevant", "irrelevant", "sign", "labels"):
            assert (getattr(got, name) == getattr(want, name)).all(), name
        np.testing.assert_allclose(got.kappa, want.kappa, atol=1e-15, rtol=0)


# ---------------------------------------------------------------- arrays of other libraries

FOREIGN = pytest.mark.filterwarnings("ignore")  # what they warn of is theirs


def pointer(array):
    return array.__cuda_array_interface__["data"][0]


def check_foreign(move, back):
    """Prompts and parameters of another library, in float32: used where they lie, and answered in arrays that it takes."""
    psi, given = problem(Sizes(5, 4, 6, 3, 2, 7), 3, np.float32)
    there, tokens, labels = Params(*map(move, psi)), move(given.tokens), move(given.labels)
    assert all(map(devices.on_device, (*there, tokens, labels)))
    prompts = Prompts(tokens, labels)
    assert pointer(prompts.tokens) == pointer(tokens)
    assert [pointer(devices.place(array)) for array in there] == [pointer(array) for array in there]
    want, grads = loss_and_grad(psi, given, backend="cuda")
    value, got = loss_and_grad(there, prompts)
    assert value == want
    for name, array in got._asdict().items():
        assert devices.on_device(array)
        taken = back(array)
        assert pointer(taken) == pointer(array), name  # no copy
        np.testing.assert_array_equal(to_host(array), getattr(grads, name))
    out, here = forward(there, prompts), forward(psi, given, backend="cuda")
    assert bits(to_host(out)) == bits(here)
    assert bits(to_host(there)) == bits(psi)
    np.testing.assert_array_equal(to_host(prompts).tokens, given.tokens)
    run = nlicl.train(TINY, params=Params(*map(move, TINY_START)), steps=2, measure=None, dtype=np.float32)
    same = nlicl.train(TINY, params=TINY_START, steps=2, measure=None, dtype=np.float32, backend="cuda")
    assert run.settings["backend"] == "cuda" and bits(run.params) == bits(same.params)


TINY = li2024.Problem(M1=3, M2=1, d_X=4, d_Y=1, length=2, m=2, batch=3)
TINY_START = as_type(np.float32, TINY.initialize())


@FOREIGN
def test_arrays_of_cupy():
    cupy = pytest.importorskip("cupy")
    check_foreign(cupy.asarray, cupy.asarray)


def torch_on_gpu():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch without CUDA")
    return torch


@FOREIGN
def test_tensors_of_torch():
    torch = torch_on_gpu()
    check_foreign(
        lambda array: torch.as_tensor(np.array(array), device="cuda"),
        lambda array: torch.as_tensor(array, device="cuda"),
    )


@FOREIGN
def test_a_transposed_tensor_and_one_that_records_gradients_are_refused():
    torch = torch_on_gpu()
    tokens = torch.ones((2, 3, 4), dtype=torch.float64, device="cuda")
    with pytest.raises(ValueError, match="lies on the GPU transposed or with gaps; expected it row by row"):
        Prompts(tokens.transpose(1, 2), [1.0, -1.0])
    assert Prompts(tokens.transpose(1, 2).contiguous(), [1.0, -1.0]).length == 3
    with pytest.raises(TypeError, match=r"Give array\.detach\(\)"):
        Prompts(tokens.requires_grad_(), [1.0, -1.0])


@FOREIGN
def test_arrays_of_jax(monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    jax = pytest.importorskip("jax")
    if jax.default_backend() != "gpu":
        pytest.skip("jax without CUDA")
    check_foreign(jax.numpy.asarray, lambda array: array)


def test_where_things_lie_by_their_own_account():
    psi, given = problem(Sizes(3, 2, 3, 2, 2, 4))
    there = to_device(given)
    assert pointer(to_device(there).tokens) == pointer(there.tokens)
    part = there[1:3]
    assert pointer(part.tokens) == pointer(there.tokens) + 3 * 3 * 8  # a slice is no copy
    value, grads = loss_and_grad(psi, part)
    want, same = loss_and_grad(psi, given[1:3], backend="cuda")
    assert value == want and bits(to_host(grads)) == bits(same)
