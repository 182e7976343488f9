"""The GPU path, on a GPU or, under NUMBA_ENABLE_CUDASIM=1, in numba's simulator, against the CPU in float64.

test_cuda.py runs this file in the simulator. Sizes are those of the kernels' own constants, which are small there: blocks of
four threads.
"""

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace

import cuda_modules
import hypothesis
import numpy as np
import pytest
from cuda_memory import spoil
from cuda_signatures import name_of, signatures, type_of
from draws import (
    LOSSES,
    Sizes,
    assert_close,
    assert_grads_close,
    bounds,
    clear_of_kinks,
    codes,
    params,
    prompts,
    seeds,
)
from draws import problem as drawn
from hypothesis import strategies as st
from numba import float32, float64

import nlicl
from nlicl import CodedPrompts, Params, Prompts, devices, forward, loss_and_grad, to_device, to_host
from nlicl.training import InverseTime, descent

if devices.unavailable() is not None:
    pytest.skip(f"{devices.unavailable()[0]}; or set NUMBA_ENABLE_CUDASIM=1", allow_module_level=True)

from nlicl.kernels import sampling
from nlicl.kernels.cuda import Sampler, block, coded, compile, dense, driver, memory, products
from nlicl.papers import bu2024, huang2023, li2024

DTYPES = (np.float64, np.float32)
T, TILE, RANGE = compile.THREADS, products.TILE, products.RANGE
if compile.SIMULATED:
    import cuda_turns


@pytest.fixture(autouse=True)
def in_turns(monkeypatch):
    """Threads of the simulator in a settled order; memory that is NaN or 85 until it is written; launches looked at."""
    if compile.SIMULATED:
        monkeypatch.setattr(cuda_turns.kernel.BlockManager, "run", cuda_turns.run)
        monkeypatch.setattr(cuda_turns, "order", 1)
    spoil(monkeypatch)
    launch = compile.launch
    known = [signatures(f) for f in (float64, float32)]

    def looked_at(kernel, blocks, *arguments, **more):
        name, types = name_of(kernel), tuple(map(type_of, arguments))
        assert types in [table[name] for table in known], f"{name} is launched with {types}; see cuda_signatures.py"
        launch(kernel, blocks, *arguments, **more)

    cuda_modules.replace(monkeypatch, "launch", looked_at)


def as_type(dtype, arrays):
    return Params(*(array.astype(dtype) for array in arrays))


def bits(arrays):
    return [array.tobytes() for array in arrays]


def in_dtype(given, dtype):
    """Prompts in another dtype, and these in float64 again: what the CPU in float64 is given."""
    if isinstance(given, CodedPrompts):
        arrays = [np.asarray(x, dtype if x.dtype.kind == "f" else x.dtype) for x in given.arrays.values()]
        low = CodedPrompts(*arrays, given.query_attends)
        arrays = [np.asarray(x, np.float64 if x.dtype.kind == "f" else x.dtype) for x in low.arrays.values()]
        return low, CodedPrompts(*arrays, given.query_attends)
    low = Prompts(given.tokens.astype(dtype), given.labels, given.query_attends)
    return low, Prompts(low.tokens.astype(np.float64), given.labels, given.query_attends)


def check(psi, given, loss="hinge", dtype=np.float64, both=True):
    """The GPU's step and forward in a dtype against the CPU in float64, relative to the size of what is summed."""
    low, (given, exact) = as_type(dtype, psi), in_dtype(given, dtype)
    psi = as_type(np.float64, low)
    tokens = exact if isinstance(exact, Prompts) else exact.dense()
    bound = bounds(low, tokens)
    out = forward(psi, exact, backend="cpu")
    assert clear_of_kinks(out, exact.labels, loss), "choose another seed"
    want, grads = loss_and_grad(psi, exact, loss, backend="cpu")
    value, got = loss_and_grad(low, given, loss, backend="cuda")
    assert value.dtype == dtype and isinstance(got, Params) and all(type(g) is np.ndarray for g in got)
    assert all(g.dtype == dtype and g.shape == w.shape for g, w in zip(got, psi, strict=True))
    assert_grads_close(got, grads, bound.grads)
    assert_close(value, want, bound.score * (1 + bound.score) + np.finfo(dtype).eps * want, "loss")
    if both:
        have = forward(low, given, backend="cuda")
        for name, tolerance in zip(out._fields, bound[:4], strict=True):
            assert getattr(have, name).dtype == dtype
            assert_close(getattr(have, name), getattr(out, name), tolerance, name)


SIZES = {
    "all 1": Sizes(1, 1, 1, 1, 1, 1),
    "one context": Sizes(3, 1, 4, 3, 2, 5),
    "width 1": Sizes(2, 6, 1, 2, 3, 1),
    "one neuron": Sizes(2, 3, 3, 4, 2, 1),
    "all different": Sizes(3, 7, 4, 2, 5, 6),
    "half a block wide": Sizes(2, 7, T // 2, 3, 1, T // 2),
    "a block wide": Sizes(2, 3, T, 3, 1, T),
    "wider than a block": Sizes(2, 3, T + 1, 2, 3, 2 * T + 3),
    "more keys than threads": Sizes(2, 2 * T + 1, 3, 2, 2, 3),
    "a tile": Sizes(2, 2, TILE, TILE, TILE, 3),
    "more than a tile": Sizes(1, 2, TILE + 1, TILE + 2, TILE + 3, 2),
    "two ranges": Sizes(2 * RANGE + 1, 2, 3, 2, 3, 4),
}


@pytest.mark.parametrize("number, name", list(enumerate(SIZES)), ids=list(SIZES))
def test_the_step_and_forward_are_those_of_the_cpu(number, name):
    loss, attends = LOSSES[number % 3], number % 2 == 1
    check(*drawn(SIZES[name], number, query_attends=attends), loss)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_loss_in_both_dtypes_with_and_without_the_query_among_the_keys(loss, dtype):
    size = Sizes(2, 3, 3, 2, 4, 5)
    for attends in (False, True):
        check(*drawn(size, 7, query_attends=attends), loss, dtype, both=loss == "hinge")


@pytest.mark.parametrize(
    "number, size, K",
    [
        (0, Sizes(1, 1, 1, 1, 1, 1), 1),
        (1, Sizes(3, 5, 4, 3, 2, 6), 5),
        (2, Sizes(2, 3, 2, 2, 3, 2), T // 2),
        (3, Sizes(2, 4, 2, 2, 3, 2), T),
        (4, Sizes(2, T + 2, 3, 2, 3, 1), 2 * T + 1),
        (5, Sizes(2 * RANGE + 3, 2, 2, 3, 1, 2), 3),
    ],
    ids=["all 1", "all different", "half a block", "a block", "wider than a block", "two ranges"],
)
def test_coded_steps_are_those_of_the_cpu(number, size, K):
    loss, attends = LOSSES[number % 3], number % 2 == 0
    check(params(size, number), codes(size, K, number, attends), loss, DTYPES[number % 2])


@pytest.mark.parametrize("dtype", DTYPES)
def test_codes_in_another_dtype_than_the_parameters_are_converted(dtype):
    size = Sizes(2, 3, 3, 2, 2, 4)
    psi, given = as_type(dtype, params(size, 1)), codes(size, 5, 1)
    low, _ = in_dtype(given, DTYPES[1 - DTYPES.index(dtype)])
    same, _ = in_dtype(low, dtype)
    want, got = (loss_and_grad(psi, x, backend="cuda") for x in (same, low))
    assert got[0] == want[0] and got[0].dtype == dtype and bits(got[1]) == bits(want[1])


@hypothesis.settings(max_examples=6)
@hypothesis.given(
    st.builds(Sizes, *map(st.integers, [1] * 6, [3, 5, 5, 4, 4, 5])), seeds, st.sampled_from(LOSSES), st.booleans()
)
def test_any_sizes(size, seed, loss, attends):
    psi, given = drawn(size, seed, query_attends=attends)
    coded = codes(size, 4, seed, attends)
    for x in (given, coded):
        if clear_of_kinks(forward(psi, x), x.labels, loss):
            check(psi, x, loss, both=False)


@hypothesis.settings(max_examples=5)
@hypothesis.given(seeds, st.floats(0.1, 30))
def test_attention_sums_to_one_and_scores_are_linear_in_a(seed, scale):
    psi, given = drawn(Sizes(2, 5, 3, 2, 2, 3), seed)
    psi = psi._replace(W_Q=psi.W_Q * scale)
    out, double = (forward(psi._replace(a=k * psi.a), given, backend="cuda") for k in (1, -2))
    np.testing.assert_allclose(out.attention.sum(axis=1), 1, rtol=1e-14)
    assert (out.attention >= 0).all()
    np.testing.assert_array_equal(double.score, -2 * out.score)  # a power of two: exact


@pytest.mark.parametrize("kind", ["tokens", "codes"])
def test_one_token_gives_no_gradient_of_attention_to_the_last_bit(kind):
    size = Sizes(3, 1, 4, 3, 2, 5)
    psi = params(size, 2)
    _, grads = loss_and_grad(psi, prompts(size, 2) if kind == "tokens" else codes(size, 5, 2), backend="cuda")
    assert not grads.W_Q.any() and not grads.W_K.any() and grads.W_V.any()


@pytest.mark.parametrize("kind", ["tokens", "codes"])
def test_at_a_kink_the_gradient_is_that_of_the_flat_side(kind):
    size = Sizes(3, 3, 4, 3, 2, 5)
    psi = params(size, 4)
    psi.W_O[1] = 0  # u_1 = 0
    _, grads = loss_and_grad(psi, prompts(size, 4) if kind == "tokens" else codes(size, 5, 4), backend="cuda")
    assert not grads.W_O[1].any() and grads.a[1] == 0 and grads.W_O.any()
    one = Params(*(np.ones(shape) for shape in ((1, 1),) * 4), np.ones(1))
    on_margin = Prompts(np.ones((1, 2, 1)), [1.0])  # F = 1 = z
    value, grads = loss_and_grad(one, on_margin, backend="cuda")
    assert value == 0 and not any(grad.any() for grad in grads)


@pytest.mark.skipif(not compile.SIMULATED, reason="a GPU settles the order of its threads by itself")
@pytest.mark.parametrize("kind", ["tokens", "codes"])
def test_the_order_of_threads_between_barriers_changes_no_bit(kind, monkeypatch):
    size = Sizes(2, T + 1, 3, 2, T + 1, 2)  # both ways to sum rows, a tree of every height, more than one tile deep
    psi, given = params(size, 3), prompts(size, 3) if kind == "tokens" else codes(size, 3, 3)
    results = []
    for order in (1, -1):
        monkeypatch.setattr(cuda_turns, "order", order)
        results.append(bits([*loss_and_grad(psi, given, backend="cuda")[1], *forward(psi, given, backend="cuda")]))
    assert results[0] == results[1]


@pytest.mark.skipif(not compile.SIMULATED, reason="about the simulator")
def test_the_simulator_as_numba_has_it(monkeypatch):
    monkeypatch.undo()
    check(*drawn(Sizes(1, 2, 2, 1, 2, 3), 1), both=False)


def test_tokens_that_do_not_fit_into_shared_memory_are_read_from_where_they_lie(monkeypatch):
    psi, given = drawn(Sizes(2, 5, 3, 2, 2, 4), 4, query_attends=True)
    staged = [*loss_and_grad(psi, given, backend="cuda")[1], *forward(psi, given, backend="cuda")]
    room = memory.shared_bytes(6, 3, 4, 8)
    assert dense.stages(6, 3, 4, 8) and memory.shared_bytes(6, 3, 4, 8, stage=True) == room + 6 * 3 * 8
    monkeypatch.setattr(memory, "SHARED_BYTES", room)
    assert not dense.stages(6, 3, 4, 8)
    assert bits(staged) == bits([*loss_and_grad(psi, given, backend="cuda")[1], *forward(psi, given, backend="cuda")])
    monkeypatch.setattr(memory, "SHARED_BYTES", room - 1)
    with pytest.raises(ValueError, match="of a GPU's shared memory"):
        loss_and_grad(psi, given, backend="cuda")


@pytest.mark.parametrize("call", ["loss_and_grad", "forward", "train"])
@pytest.mark.parametrize("kind", ["tokens", "codes"])
def test_prompts_too_long_for_shared_memory_are_refused(call, kind):
    size = Sizes(1, 3100, 1, 1, 1, 1)
    psi, given = params(size), prompts(size) if kind == "tokens" else codes(size, 2)
    with pytest.raises(ValueError, match=rf"prompts of 3100 keys of width {1 + (kind == 'codes')}.*backend='cpu'"):
        if call == "train":
            problem = dataclasses.replace(TINY, steps=1)
            nlicl.train(problem, params=psi, prompts=given, backend="cuda", measure=None)
        else:
            getattr(nlicl, call)(psi, given, backend="cuda")


def test_extreme_scores_give_no_nan():
    psi, given = drawn(Sizes(3, 5, 4, 3, 2, 3), 5)
    for scale in (1e4, 1e150):
        big = psi._replace(W_Q=psi.W_Q * scale)
        want, got = forward(big, given), forward(big, given, backend="cuda")
        np.testing.assert_allclose(got.attention, want.attention, atol=1e-10)
        value, grads = loss_and_grad(big, given, backend="cuda")
        assert np.isfinite([value, *(abs(g).max() for g in grads)]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["tokens", "codes"])
def test_overflow_is_reported_as_on_the_cpu(dtype, kind):
    size = Sizes(2, 3, 3, 2, 2, 4)
    most = np.finfo(dtype).max
    psi = as_type(dtype, params(size, 6))
    given, _ = in_dtype(prompts(size, 6) if kind == "tokens" else codes(size, 4, 6), dtype)
    many = dtype(np.sqrt(most) * 4)
    for big in (
        psi._replace(W_O=psi.W_O * many, W_V=psi.W_V * many),
        psi._replace(W_K=psi.W_K * (most / 8), W_Q=psi.W_Q * 100),
    ):
        messages = []
        for call in (loss_and_grad, forward):
            for backend in ("cpu", "cuda"):
                with pytest.raises(nlicl.core.errors.NotFinite) as error:
                    call(big, given, backend=backend)
                messages.append(str(error.value))
        assert messages[0] == messages[1] and messages[2] == messages[3]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("what", ["score", "pre-activation"])
def test_a_sum_that_reaches_minus_infinity_first_is_refused_or_right(what, dtype):
    """It is positive. As a score it would be attention 0, as a pre-activation an inactive neuron. Who adds up in another order
    need not overflow, and is then right."""
    sums = np.finfo(dtype).max * np.array([-0.8, -0.8, 0.9, 0.9])
    one, first, second = np.ones(4), np.array([[1.0, 0]]), np.array([[0, 1.0]])
    if what == "score":
        psi = Params(one[:, None] * first, sums[:, None] * first, second, [[1]], [1])
        right = 0.0
    else:
        psi = Params(first, second, one[:, None] * first, [sums, 0 * one], [1, 1])
        right = 0.2 * np.finfo(dtype).max
    psi = as_type(dtype, map(np.asarray, psi))
    ids, none = np.array([[0, what == "score", 0]]), np.zeros((1, 3), int)
    given = CodedPrompts(np.eye(2, 3), ids, none + 2, 0.0 * none, none, [1])
    refused = 0
    for x in (given, given.dense(dtype)):
        for backend in ("cpu", "cuda"):
            try:
                score = np.asarray(forward(psi, x, backend=backend).score)
                loss = loss_and_grad(psi, x, backend=backend)[0]
            except nlicl.core.errors.NotFinite as error:
                assert re.search(r"the loss|a score|the gradient", str(error))
                refused += 1
            else:
                np.testing.assert_allclose(score, [right], rtol=1e-5)
                assert loss == max(0, 1 - right)
    assert refused


def test_a_gradient_that_overflows_where_the_loss_does_not_is_named_as_on_the_cpu():
    psi, given = drawn(Sizes(1, 2, 2, 2, 2, 2), 1)
    psi = psi._replace(W_V=abs(psi.W_V) * 1e150, W_O=abs(psi.W_O) * 1e-250, a=abs(psi.a) * 1e200)
    given = Prompts(abs(given.tokens), [-1.0])  # F = 1e100, and dW_O is a sum of a_i W_V c
    messages = []
    for backend in ("cpu", "cuda"):
        with pytest.raises(nlicl.core.errors.NotFinite) as error:
            loss_and_grad(psi, given, backend=backend)
        messages.append(str(error.value))
    assert messages[0] == messages[1] and messages[0].startswith("the gradient of W_O is not finite")


# ---------------------------------------------------------------- the parts of a step

WIDTH = st.integers(1, TILE + 2)


@hypothesis.settings(max_examples=8)
@hypothesis.given(
    WIDTH, st.integers(1, 3 * products.DEEP), WIDTH, st.integers(1, 3), seeds, st.booleans(), st.booleans()
)
def test_products_are_exact_where_numbers_are(rows, inner, columns, n_ranges, seed, turn_A, turn_B):
    rng = np.random.default_rng(seed)
    A, B = rng.integers(-9, 10, (rows, inner)) * 1.0, rng.integers(-9, 10, (inner, columns)) * 1.0
    there = [
        products.matrix(to_device(X.T.copy())).T if turn else products.matrix(to_device(X))
        for X, turn in ((A, turn_A), (B, turn_B))
    ]
    with memory.scratch:
        made = products.product(*there, n_ranges=n_ranges)
        assert made.shape == (rows, columns)
        np.testing.assert_array_equal(made.array.copy_to_host().reshape(rows, columns), A @ B)
        out = memory.empty(rows * columns + 1, np.float64)
        assert products.product(*there, out[:-1]).array.size == rows * columns
    np.testing.assert_array_equal(out.copy_to_host(), [*(A @ B).ravel(), np.nan])


@pytest.mark.parametrize("rows, columns", [(1, 1), (3, products.WIDE + 1), (products.TALL + 1, 2), (2 * RANGE + 1, 3)])
def test_sums_of_columns_are_exact_where_numbers_are(rows, columns):
    X = np.random.default_rng(rows).integers(-9, 10, (rows, columns)) * 1.0
    out = memory.empty(columns + 1, np.float64)
    with memory.scratch:
        products.column_sums(out[:-1], to_device(X.ravel()), rows, columns)
    np.testing.assert_array_equal(out.copy_to_host(), [*X.sum(axis=0), np.nan])


def test_many_prompts_make_many_ranges_but_not_endlessly_many():
    assert [products.ranges_of(n) for n in (1, RANGE, 2 * RANGE - 1, 2 * RANGE, 10**7)] == [1, 1, 1, 2, 256]
    X = np.arange(66.0 * RANGE)
    out = memory.empty(1, np.float64)
    with memory.scratch:
        products.column_sums(out, to_device(X), X.size, 1)
    assert out.copy_to_host()[0] == X.sum()


def test_a_step_asks_for_no_memory_that_the_last_one_left(monkeypatch):
    size = Sizes(2, 2, 3, 2, 2, 4)
    psi, asked, empty = to_device(params(size)), [], memory.empty
    cuda_modules.replace(monkeypatch, "empty", lambda shape, dtype: asked.append(shape) or empty(shape, dtype))
    for given in (to_device(prompts(size)), to_device(codes(size, 4))):
        counts = []
        for _ in range(3):
            asked.clear()
            loss_and_grad(psi, given)
            counts.append(len(asked))
        assert counts[0] > counts[1] == counts[2] == 1  # the gradients
        arrays = [id(array) for spare in memory.scratch.spare.values() for array in spare]
        assert len(set(arrays)) == len(arrays)


# ---------------------------------------------------------------- where arrays lie


def test_arrays_that_lie_on_a_gpu_are_used_and_answered_there():
    for given in (prompts(Sizes(3, 2, 3, 2, 2, 4), 1), codes(Sizes(3, 2, 3, 2, 2, 4), 4, 1)):
        psi = params(Sizes(3, 2, 3, 2, 2, 4), 1)
        value, grads = loss_and_grad(psi, given, backend="cuda")
        out = forward(psi, given, backend="cuda")
        assert not any(map(devices.on_device, (*grads, *out)))
        for there, on_gpu in ((psi, to_device(given)), (to_device(psi), given), (to_device(psi), to_device(given))):
            again, found = loss_and_grad(there, on_gpu)
            assert again == value and isinstance(again, np.floating) and all(map(devices.on_device, found))
            assert bits(to_host(found)) == bits(grads)
            found = forward(there, on_gpu)
            assert all(map(devices.on_device, found)) and isinstance(found, type(out))
            assert bits(to_host(found)) == bits(out)
            assert bits(forward(there, on_gpu, backend="cuda").score.copy_to_host()[None]) == bits(out.score[None])


def test_to_device_and_to_host_bring_everything_back():
    size = Sizes(3, 2, 3, 2, 2, 4)
    psi, tokens, coded = params(size, dtype=np.float32), prompts(size, query_attends=True), codes(size, 4)
    there = to_device(psi)
    assert isinstance(there, Params) and all(map(devices.on_device, there)) and there.W_Q.dtype == np.float32
    assert to_device(there).W_Q is there.W_Q and bits(to_host(there)) == bits(psi)
    assert to_host(psi).a is psi.a
    for prompts_ in (tokens, coded):
        there = to_device(prompts_)
        back = to_host(there)
        assert type(there) is type(back) is type(prompts_) and len(there) == 3 and there.length == 2
        assert there.query_attends == back.query_attends == prompts_.query_attends
        names = [f.name for f in dataclasses.fields(prompts_) if f.name != "query_attends"]
        assert all(devices.on_device(getattr(there, name)) for name in names)
        for name in names:
            was, now = getattr(prompts_, name), getattr(back, name)
            assert now.dtype == was.dtype and now.tobytes() == was.tobytes()
        assert repr(there) == repr(prompts_)
    array = np.arange(6.0).reshape(2, 3)
    assert (to_host(to_device(array)) == array).all() and to_host(array) is array
    np.testing.assert_array_equal(to_host(to_device(coded).dense()).tokens, coded.dense().tokens)


def test_prompts_of_bu_et_al_go_there_as_tokens():
    given = TINY_BU.sample(2, seed=1)
    there = to_device(given)
    assert isinstance(there, Prompts) and bits([to_host(there).tokens]) == bits([given.dense().tokens])
    psi = TINY_BU.initialize()
    (want, grads), (value, got) = (loss_and_grad(psi, given, backend=backend) for backend in ("cpu", "cuda"))
    np.testing.assert_allclose(value, want, rtol=1e-13)
    assert_grads_close(got, grads, bounds(psi, given.dense()).grads)


def test_parameters_of_lists_are_taken_and_others_named():
    psi, given = drawn(Sizes(2, 2, 3, 2, 2, 4), 1)
    lists = Params(*(array.tolist() for array in psi))
    (value, grads), (want, same) = (loss_and_grad(p, given, backend="cuda") for p in (lists, psi))
    assert value == want and bits(grads) == bits(same)
    with pytest.raises(TypeError, match="W_Q of these Params is a NoneType; expected an array"):
        to_device(psi._replace(W_Q=None))
    assert to_host(to_device(np.array(1.0))) == 1


def test_what_is_copied_has_plain_strides(monkeypatch):
    """An axis of length 1 may have any stride to NumPy; numba would copy it, and then have another type of array."""
    handed, copy = [], memory.cuda.to_device
    monkeypatch.setattr(memory.cuda, "to_device", lambda array: handed.append(array.strides) or copy(array))
    x = np.arange(6.0).reshape(2, 3)
    for array in (x[None], np.broadcast_to(x, (1, 2, 3)), x.T, x[:1], x[:, :1]):
        there = to_device(array)
        assert there.shape == array.shape and np.array_equal(to_host(there), array)
    assert all(strides == (8,) for strides in handed) and len(handed) == 5


@pytest.mark.parametrize("thing", [3.0, [1.0], "array", None, Params], ids=repr)
def test_what_cannot_be_moved_is_refused(thing):
    for move in (to_device, to_host):
        with pytest.raises(TypeError, match="cannot be moved to or from a GPU"):
            move(thing)


def test_prompts_of_a_model_without_kernels_are_refused():
    given = huang2023.Problem(K=3, length=5).sample(2)
    with pytest.raises(TypeError, match=r"cannot be moved to or from a GPU"):
        to_device(given)


def test_arrays_on_a_gpu_are_refused_on_the_cpu():
    psi, given = drawn(Sizes(1, 1, 1, 1, 1, 1))
    for there, what in (((to_device(psi), given), "params.W_Q"), ((psi, to_device(given)), "prompts.tokens")):
        for call in (loss_and_grad, forward):
            with pytest.raises(TypeError, match=rf"^backend is 'cpu', but {what} lies on a GPU.*nlicl\.to_host"):
                call(*there, backend="cpu")
    with pytest.raises(TypeError, match="lies on a GPU"):
        nlicl.train(TINY, params=to_device(TINY.initialize()), backend="cpu")


@pytest.mark.parametrize("kind", ["tokens", "codes"])
def test_parts_of_prompts_on_a_gpu(kind):
    size = Sizes(4, 2, 3, 2, 2, 4)
    psi, given = params(size, 1), prompts(size, 1) if kind == "tokens" else codes(size, 4, 1)
    there = to_device(given)
    for index in (
        slice(1, 3),
        slice(None, 2),
        slice(3, None),
        slice(-1, None),
        slice(None, None, -2),
        [2, 0],
        np.array([3]),
    ):
        part = there[index]
        assert type(part) is type(given) and devices.on_device(part.labels) and len(part) == len(given[index])
        assert (to_host(part).labels == given[index].labels).all()
        (value, got), (want, grads) = loss_and_grad(psi, part), loss_and_grad(psi, given[index])
        np.testing.assert_allclose(value, want, rtol=1e-13)
        assert_grads_close(to_host(got), grads, bounds(psi, prompts(size, 1)).grads)
    assert isinstance(there[-1], nlicl.Prompt) and (there[1].tokens == given[1].tokens).all()
    with pytest.raises(ValueError, match="is an empty batch"):  # as on the host
        there[2:2]


def test_nan_and_infinity_on_a_gpu_are_named_with_their_place():
    psi, given = drawn(Sizes(2, 2, 3, 2, 2, 4), 1)
    for name in Params._fields:
        array = getattr(psi, name).copy()
        array.flat[1] = np.nan
        there = to_device(psi)._replace(**{name: to_device(array)})
        place = [1] if name == "a" else [0, 1]
        for call in (loss_and_grad, forward):
            with pytest.raises(ValueError, match=rf"^params\.{name}\[{', '.join(map(str, place))}\] is nan"):
                call(there, given)
    tokens = given.tokens.copy()
    tokens[1, 2, 0] = -np.inf
    with pytest.raises(ValueError, match=r"^tokens\[1, 2, 0\] is -inf"):
        Prompts(to_device(tokens), given.labels)
    coded = codes(Sizes(2, 2, 3, 2, 2, 4), 4)
    arrays = [to_device(np.array(x)) for x in coded.arrays.values()]
    assert all(map(devices.on_device, CodedPrompts(*arrays).arrays.values()))
    kappa = coded.kappa.copy()
    kappa[0, 1] = np.nan
    with pytest.raises(ValueError, match=r"^kappa\[0, 1\] is nan"):
        CodedPrompts(*arrays[:3], to_device(kappa), *arrays[4:])


def test_tokens_and_labels_on_a_gpu_are_checked_like_others():
    given = prompts(Sizes(2, 2, 3, 2, 2, 4), 1)
    tokens, labels = to_device(given.tokens.copy()), to_device(given.labels.copy())
    made = Prompts(tokens, labels, query_attends=True)
    assert made.tokens is tokens and devices.on_device(made.labels) and made.query_attends
    assert devices.on_device(Prompts(tokens, [1, -1]).labels)
    for wrong in ([1.0, 2.0], [1.0]):
        with pytest.raises(ValueError, match=r"^labels "):
            Prompts(tokens, to_device(np.array(wrong)))
    with pytest.raises(ValueError, match=r"^tokens has shape"):
        Prompts(to_device(given.tokens[0]), labels)
    with pytest.raises(TypeError, match=r"^tokens has dtype int"):
        Prompts(to_device(given.tokens.astype(np.int64)), labels)
    assert type(Prompts(given.tokens, labels).labels) is np.ndarray
    with pytest.raises(TypeError, match=r"^prompts\.tokens has dtype float64, params float32"):
        loss_and_grad(params(Sizes(2, 2, 3, 2, 2, 4), dtype=np.float32), made)


def test_complex_tokens_are_refused_on_a_gpu():
    with pytest.raises(TypeError, match="tokens has dtype complex128"):
        Prompts(to_device(np.ones((1, 2, 3), complex)), [1.0])


def test_an_array_with_gaps_is_refused():
    tokens = prompts(Sizes(2, 2, 3, 2, 2, 4), 1).tokens
    with pytest.raises(ValueError, match="transposed or with gaps; expected it row by row"):
        Prompts(to_device(tokens)[:, :, :2], [1.0, 1.0])


# ---------------------------------------------------------------- sampling

TINY = li2024.Problem(M1=3, M2=1, d_X=4, d_Y=1, length=2, m=2, batch=3)
TINY_BU = bu2024.Problem(
    dictionary=6, d_x=7, d_y=4, p_z=0.3, m=3, sigma_xi=0.2, sigma_1=0.3, weight_decay=0.01, step_offset=400.0, batch=2
)
CODES = ("relevant", "irrelevant", "sign", "labels")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "n, problem",
    [
        (1, TINY),
        (2 * T + 1, TINY),
        (3, li2024.Problem(length=4)),
        (4, li2024.Problem(training_tasks=((1, 0),), length=3, query_attends=True)),
        (5, li2024.Problem(training_tasks=((4, 2),), length=3)),
        (4, li2024.Problem(M1=2, alpha=1.0, length=3)),
        (3, li2024.Problem(M1=2, coefficients=((0.6, 0.8), (0.8, -0.6)), alpha=1.0, length=3)),
    ],
    ids=["one prompt", "odd", "six tasks", "one task, even", "one task, odd", "two patterns", "out of domain"],
)
def test_prompts_drawn_on_a_gpu_are_those_drawn_on_the_cpu(n, problem, dtype):
    draw = problem.device_sampler(n, dtype)
    for seed in (0, (3, 17)):
        want, got = problem.sample(n, seed=seed), to_host(draw(seed))
        assert all((getattr(got, name) == getattr(want, name)).all() for name in CODES)
        assert got.kappa.dtype == got.labels.dtype == got.dictionary.dtype == dtype
        assert got.query_attends == want.query_attends and (got.dictionary == want.dictionary.astype(dtype)).all()
        np.testing.assert_allclose(got.kappa, want.kappa, atol=problem.K * np.finfo(dtype).eps, rtol=0)
        assert got.relevant.dtype == got.irrelevant.dtype == np.int32 and got.sign.dtype == np.int8


def _keys(n, k, thrown, count):
    """Some seeds whose n numbers below k need so many more draws than n."""
    found = []
    threshold = (2**32 - k) % k
    for key in range(100_000):
        bits = np.random.PCG64(np.random.SeedSequence([9, key])).random_raw(n)
        halves = np.stack([bits & 0xFFFFFFFF, bits >> 32], axis=1).ravel()[: n + 2].astype(np.uint64)
        low = (halves * np.uint64(k)) & np.uint64(0xFFFFFFFF)
        if np.count_nonzero(low[:n] < threshold) == thrown and (low[n:] >= threshold).all():
            found.append([9, key])
            if len(found) == count:
                return found
    raise AssertionError("none found")


@pytest.mark.parametrize("n", [5, 6])
def test_numbers_that_are_thrown_away_are_replaced_as_numpy_does(n):
    k = 2**32 // 1431 + 1  # of which 2^32 mod k is nearly k: a number is thrown away with a chance of .0007
    pairs = np.stack([np.arange(k), np.arange(k)[::-1]], axis=1).astype(np.int32)
    rows, alpha, M2, K = 3, 0.8, 4, 0.5
    sampler = Sampler(pairs, n, rows - 1, alpha, k, M2, K, np.float64)
    for key in [*_keys(n, k, 1, 2), [9, 0]]:
        rng = np.random.default_rng(key)
        task = pairs[rng.integers(k, size=n)]
        z = rng.choice([1, -1], size=n)
        want = [np.empty((n, rows), dtype) for dtype in (np.int32, np.int32, float, np.int8)]
        sampling.decode(*want, rng.random((n, rows, 2)), task, z, alpha, k, M2, K)
        got = [array.copy_to_host() for array in sampler.draw(key)]
        assert sampler.again.copy_to_host()[0] == 0  # or all that follow would be drawn one by one
        np.testing.assert_array_equal(got[4], z)
        for i in (0, 1, 3):
            np.testing.assert_array_equal(got[i], want[i])
        np.testing.assert_allclose(got[2], want[2], atol=1e-15)


# ---------------------------------------------------------------- training


def both(steps=5, problem=TINY, rtol=1e-12, **settings):
    """Runs on the CPU and on the GPU, equal but for rounding."""
    settings = {"steps": steps, "measure": None} | settings
    cpu, gpu = (nlicl.train(problem, backend=backend, **settings) for backend in ("cpu", "cuda"))
    assert gpu.step == cpu.step and (gpu.settings["backend"], cpu.settings["backend"]) == ("cuda", "cpu")
    assert all(type(array) is np.ndarray for array in gpu.params)
    assert [array.dtype for array in gpu.params] == [array.dtype for array in cpu.params]
    np.testing.assert_allclose(gpu.history.loss, cpu.history.loss, rtol=rtol)
    np.testing.assert_array_equal(gpu.history.learning_rate, cpu.history.learning_rate)
    np.testing.assert_array_equal(gpu.history.steps, cpu.history.steps)
    for name, got, want in zip(gpu.params._fields, gpu.params, cpu.params, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=rtol * abs(want).max(), err_msg=name)
    return cpu, gpu


@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_is_that_of_the_cpu(loss):
    _, gpu = both(loss=loss, seed=3)
    start = TINY.initialize(seed=3)
    assert bits([gpu.params.a]) == bits([start.a])  # a does not train
    assert all((x != y).any() for x, y in zip(gpu.params[:4], start[:4], strict=True))


def test_a_run_in_float32():
    start = as_type(np.float32, TINY.initialize())
    _, gpu = both(dtype=np.float32, rtol=1e-5, params=start)
    assert gpu.params.W_O.dtype == np.float32


def test_decay_schedule_masks_and_what_trains():
    mask = {"W_Q": np.arange(25).reshape(5, 5) % 3 == 0, "W_V": np.array([True, False, True, True, False])}
    settings = {
        "weight_decay": 0.1,
        "schedule": InverseTime(3.0),
        "mask": mask,
        "trained": ("W_Q", "W_V", "a"),
    }
    _, gpu = both(steps=3, **settings)
    start = TINY.initialize()
    for name in ("W_K", "W_O"):
        assert bits([getattr(gpu.params, name)]) == bits([getattr(start, name)])
    for name, flags in mask.items():
        moved = getattr(gpu.params, name) != getattr(start, name)
        flags = np.broadcast_to(flags, moved.shape)
        assert not moved[~flags].any() and moved[flags].any()


def test_training_sets():
    whole = TINY.sample(4, seed=8)
    for given, batch in ((5, 2), (3, 4), (whole, 3), (whole, 4), (whole.dense(), 2), (whole.dense(), 9)):
        both(steps=2, prompts=given, batch=batch)
    for given, batch in ((whole, 3), (whole.dense(), 9)):
        there = nlicl.train(TINY, steps=2, prompts=to_device(given), batch=batch, measure=None)
        here = nlicl.train(TINY, steps=2, prompts=given, batch=batch, measure=None, backend="cuda")
        assert there.settings == here.settings and bits(there.params) == bits(here.params)


def test_parameters_on_a_gpu_train_there():
    start = TINY.initialize(seed=5)
    there, here = (
        nlicl.train(TINY, steps=2, params=psi, measure=None, backend=backend)
        for psi, backend in ((to_device(start), "auto"), (start, "cuda"))
    )
    assert there.settings["backend"] == "cuda" and bits(there.params) == bits(here.params)


def test_a_problem_without_a_sampler_of_its_own():
    both(steps=2, problem=TINY_BU, rtol=1e-11)


def test_the_same_run_gives_the_same_bits():
    one, two = (nlicl.train(TINY, steps=3, backend="cuda", measure=None) for _ in range(2))
    assert bits(one.params) == bits(two.params) and bits([one.history.loss]) == bits([two.history.loss])


def test_measurements_are_those_of_the_cpu():
    def observe(psi):
        assert all(type(array) is np.ndarray for array in psi)
        return {"norm": float(np.linalg.norm(psi.W_O)), "a": psi.a.copy()}

    cpu, gpu = both(steps=4, measure=[0, 3, 4], observe=observe)
    for name in ("norm", "a"):
        np.testing.assert_allclose(gpu.history[name], cpu.history[name], rtol=1e-12)
    both(steps=1, measure=1)  # the problem's own observer


def test_progress_is_told_when_losses_come_to_the_host(tmp_path):
    seen = []
    settings = {"out": tmp_path, "checkpoint": 2, "progress": lambda *told: seen.append(told)}
    run = nlicl.train(TINY, steps=5, backend="cuda", measure=None, **settings)
    assert [told for told in seen if told[0] < 5] == [(t, 5, run.history.loss[t - 1]) for t in (2, 4)]


def test_a_run_stops_when_it_is_told_to():
    _, gpu = both(steps=6, until=lambda losses: len(losses) == 2)
    assert gpu.step == 2


def test_progress_is_told_whenever_losses_come_to_the_host(monkeypatch):
    monkeypatch.setattr(descent, "_LOOK", 3)
    for backend, told in (("cpu", [1, 2, 3, 4, 5]), ("cuda", [2, 3, 4, 5])):
        steps = []
        settings = {
            "measure": 2,
            "observe": lambda params: {"one": 1},
            "progress": lambda *said, to=steps: to.append(said),
        }
        run = nlicl.train(TINY, steps=5, backend=backend, **settings)
        assert steps == [(t, 5, run.history.loss[t - 1]) for t in told]


def test_a_full_gpu_is_a_memory_error_once_scratch_was_let_go(monkeypatch):
    with memory.scratch:
        memory.scratch(3, np.float64)
    tries = []

    def full(*_):
        tries.append(dict(memory.scratch.spare))
        raise RuntimeError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")

    stub = SimpleNamespace(device_array=full, to_device=full)
    monkeypatch.undo()
    monkeypatch.setattr(memory, "cuda", stub)
    for make in (lambda: memory.empty((5, 2), np.float32), lambda: memory.place(np.zeros(10, np.float32))):
        tries.clear()
        with pytest.raises(MemoryError, match="40 bytes more do not fit into the GPU's memory"):
            make()
        assert len(tries) == 2 and tries[1] == {}
    stub.device_array = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        memory.empty(3, np.float32)


@pytest.mark.parametrize(
    "available, error, context, kernel, said",
    [
        (False, "no driver\nat all", None, None, ("no driver at all", "CUDA_VISIBLE_DEVICES")),
        (False, None, None, None, ("compiler cannot be found", "put it there")),
        (True, None, OSError("taken\n"), None, ("taken", "nvidia-smi")),
        (True, None, None, OSError("PTX is\n too new"), ("does not run on it (PTX is too new)", "put it there")),
        (True, None, None, None, None),
    ],
)
def test_what_is_in_the_way_is_said_before_the_first_step(monkeypatch, available, error, context, kernel, said):
    def raising(what):
        def call(*_):
            if what is not None:
                raise what

        return call

    stub = SimpleNamespace(is_available=lambda: available, cuda_error=lambda: error, current_context=raising(context))
    for name, value in (
        ("SIMULATED", False),
        ("cuda", stub),
        ("empty", lambda *_: None),
        ("all_finite", raising(kernel)),
    ):
        monkeypatch.setattr(driver, name, value)
    found = driver.trouble("put it there")
    assert found is said or all(part in text and "\n" not in text for part, text in zip(said, found, strict=True))


def test_no_step():
    _, gpu = both(steps=0)
    assert gpu.step == 0 and bits(gpu.params) == bits(TINY.initialize())


def test_a_resumed_run_has_the_bits_of_one_that_never_stopped(tmp_path):
    settings = {"backend": "cuda", "measure": [1, 4], "observe": lambda psi: {"x": psi.W_O.copy()}, "seed": 2}
    whole = nlicl.train(TINY, steps=4, **settings, out=tmp_path / "whole", checkpoint=3)
    nlicl.train(TINY, steps=3, **settings, out=tmp_path / "parts", checkpoint=3)
    resumed = nlicl.train(TINY, steps=4, **settings, out=tmp_path / "parts", checkpoint=3, resume=True)
    assert bits(resumed.params) == bits(whole.params) and resumed.step == 4
    assert bits([resumed.history.loss, resumed.history["x"]]) == bits([whole.history.loss, whole.history["x"]])
    assert bits(nlicl.load_run(tmp_path / "whole").params) == bits(whole.params)
    with pytest.raises(ValueError, match="backend is 'cuda' there and 'cpu' here"):
        nlicl.train(TINY, steps=5, **settings | {"backend": "cpu"}, out=tmp_path / "parts", checkpoint=3, resume=True)
    done = nlicl.train(TINY, steps=4, **settings, out=tmp_path / "parts", checkpoint=3, resume=True)
    assert bits(done.params) == bits(whole.params)


@pytest.mark.parametrize("error, kept", [(RuntimeError, 2), (KeyboardInterrupt, 3)])
def test_a_checkpoint_holds_what_was_reached(error, kept, tmp_path):
    def stop(losses):
        if len(losses) == 3:
            raise error
        return False

    with pytest.raises(error):
        nlicl.train(TINY, steps=6, backend="cuda", measure=None, out=tmp_path, checkpoint=2, until=stop)
    left, whole = nlicl.load_run(tmp_path), nlicl.train(TINY, steps=kept, backend="cuda", measure=None)
    assert left.step == kept and bits(left.params) == bits(whole.params)


def _diverges(**settings):
    errors = []
    for backend in ("cpu", "cuda"):
        with pytest.raises(nlicl.Diverged) as error:
            nlicl.train(TINY, backend=backend, measure=None, **settings)
        errors.append(error.value)
    cpu, gpu = (error.run for error in errors)
    assert gpu.step == cpu.step
    np.testing.assert_allclose(gpu.history.loss, cpu.history.loss, rtol=1e-9)
    for got, want in zip(gpu.params, cpu.params, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-9 * abs(want).max())
    return errors


@pytest.mark.parametrize(
    "rate, loss, decay, step",
    [(1e200, "hinge", 0.0, 1), (1e90, "squared", 0.0, 1), (1e307, "hinge", 1e3, 0)],
    ids=["scores", "loss", "update"],
)
def test_a_run_that_overflows_stops_where_the_cpu_stops(rate, loss, decay, step, monkeypatch):
    monkeypatch.setattr(descent, "_EXPLODED", np.inf)
    _, gpu = _diverges(steps=6, learning_rate=rate, loss=loss, weight_decay=decay)
    assert gpu.run.step == step
    assert str(gpu).startswith(f"training diverged at step {gpu.run.step}: the loss, a gradient or a parameter is not")
    assert all(np.isfinite(array).all() for array in gpu.run.params)


@pytest.mark.parametrize("times, rate, seed, step", [(1.2, 5.0, 1, 5), (1e6, 3e3, 0, 2)])
def test_a_run_that_explodes_stops_where_the_cpu_stops(times, rate, seed, step, monkeypatch):
    """In the first the loss doubles before it does, but is below 1.2 then."""
    monkeypatch.setattr(descent, "_EXPLODED", times)
    _, gpu = _diverges(steps=8, learning_rate=rate, loss="squared", seed=seed)
    assert "the loss is" in str(gpu) and "at the start" in str(gpu) and gpu.run.step == step


def test_a_run_whose_loss_is_large_from_the_start_has_not_exploded(monkeypatch):
    monkeypatch.setattr(descent, "_EXPLODED", 1.2)
    start = TINY.initialize()
    _, gpu = both(steps=2, params=start._replace(a=start.a * 1000), learning_rate=1e-6, loss="squared")
    assert gpu.history.loss[0] > 1.5


def test_a_run_that_overflows_is_found_before_its_end(monkeypatch):
    monkeypatch.setattr(descent, "_LOOK", 2)
    steps = []
    problem = dataclasses.replace(TINY)
    object.__setattr__(problem, "schedule", lambda t: steps.append(t) or 1.0)
    with pytest.raises(nlicl.Diverged):
        nlicl.train(problem, steps=9, learning_rate=1e200, backend="cuda", measure=None)
    assert len(steps) <= 4


def test_what_has_no_kernels_does_not_train_there():
    for problem, what in ((huang2023.Problem(), "the model of"), (TINY_BU, "prompts='population'")):
        with pytest.raises(TypeError, match=f"there are no GPU kernels for {what}.*backend='cpu'"):
            nlicl.train(problem, steps=1, backend="cuda", prompts="population", measure=None)


# ---------------------------------------------------------------- the audit and the command line


def test_the_audit_passes_both_kernels():
    from nlicl.audit import audit_paper

    report = audit_paper("li2024", backend="cuda", draws=5, wrt="W_K")
    names = {entry.name: entry.verdict for entry in report.formulas}
    assert report.ok and names["library W_K (GPU, tokens)"] == names["library W_K (GPU, codes)"] == "agree"
    assert "library W_K" not in names


@pytest.mark.parametrize("module, through", [(dense, "tokens"), (coded, "codes")], ids=["tokens", "codes"])
def test_the_audit_catches_a_wrong_gpu_kernel(module, through, monkeypatch):
    from nlicl.audit import audit_paper

    step = module.step

    def wrong(parts, *arguments):
        step(parts, *arguments)
        parts[4].copy_to_device(parts[4].copy_to_host() * (1 + 1e-6))  # of a

    monkeypatch.setattr(module, "step", wrong)
    report = audit_paper("li2024", backend="cuda", draws=2, wrt="a")
    assert not report.ok
    bad = [entry.name for entry in report.formulas if entry.verdict != entry.expected]
    assert bad == [f"library a (GPU, {through})"]


def test_the_commands(run, tmp_path):
    small = ["--steps", 1, "--seed", 1]
    for setting in ("M1=3", "M2=1", "d_X=4", "d_Y=1", "length=2", "m=2", "batch=2", "measure=1"):
        small += ["--set", setting]
    status, _, err = run("train", "li2024", "--backend", "cuda", *small, "--out", tmp_path / "run")
    assert (status, err) == (0, "") and nlicl.load_run(tmp_path / "run").settings["backend"] == "cuda"


def test_doctor_tries_a_kernel():
    from nlicl import doctor

    (found,) = doctor._cuda()
    assert found.state == "ok" and "kernels and definition agree" in found.found


@pytest.mark.skipif(not compile.SIMULATED, reason="a GPU has these sizes anyway")
def test_blocks_of_a_real_size(monkeypatch):
    """The sizes that a GPU's blocks have, which are too large for the rest of this file."""
    texts = [Path(module.__file__).read_text("utf-8") for module in (compile, block, products)]
    sizes = re.findall(r"^(\w+) = \d+ if SIMULATED else (\d+)", "\n".join(texts), re.M)
    real = {name: int(value) for name, value in sizes}
    assert real.keys() == {"THREADS", "LANES", "SIDE", "DEEP", "WIDE", "RANGE"}
    real |= {"TILE": real["SIDE"] * products.EACH, "TALL": real["THREADS"] // real["WIDE"]}
    for name, value in real.items():
        cuda_modules.replace(monkeypatch, name, value)
    launch = memory.launch
    at_size = lambda *a, **more: launch(*a, **{"threads": real["THREADS"]} | more)  # noqa: E731
    cuda_modules.replace(monkeypatch, "launch", at_size)
    monkeypatch.setattr(compile.blocks, "__defaults__", (real["THREADS"],))
    size = Sizes(1, 19, 70, 3, 4, 9)  # a thread has all rows of its column
    check(params(size, 1), prompts(size, 1), both=False)
    size = Sizes(1, 19, 5, 3, 4, 9)  # many share them
    check(params(size, 1), codes(size, 7, 1), both=False)
