"""No kernel of the GPU path has a race: in numba's simulator, with every access to memory noted; see cuda_races.py."""

import inspect
import textwrap
from contextlib import suppress
from types import FunctionType

import pytest
from draws import Sizes, params, prompts

from nlicl import devices, forward, loss_and_grad, train
from nlicl.core.errors import NotFinite
from nlicl.papers import li2024

if devices.unavailable() is not None or not devices.kernels().SIMULATED:
    pytest.skip("set NUMBA_ENABLE_CUDASIM=1", allow_module_level=True)

import cuda_modules
import cuda_races
import cuda_turns
from draws import codes

from nlicl.kernels.cuda import compile, dense, products

TINY = li2024.Problem(M1=3, M2=1, d_X=4, d_Y=1, length=2, m=2, batch=3)
SIZES = [Sizes(2, 2, 3, 2, 2, 4), Sizes(2, 1, 2, 5, 3, 2), Sizes(2 * products.RANGE, 3, 2, 1, 1, 1)]


@pytest.fixture(autouse=True)
def in_turns(monkeypatch):
    monkeypatch.setattr(cuda_turns.kernel.BlockManager, "run", cuda_turns.run)
    monkeypatch.setattr(cuda_turns, "order", 1)


def races(do):
    with cuda_races.watched() as found:
        do()
    return found


def batches(size):
    """Prompts as tokens, and as codes over more columns than a block has threads, and over fewer."""
    return prompts(size, 1), codes(size, compile.THREADS + 1), codes(size, compile.THREADS // 2)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", [0, 1, 2], ids=["tokens", "many codes", "few codes"])
def test_steps(size, kind):
    psi, given = params(size, 1), batches(size)[kind]
    assert races(lambda: loss_and_grad(psi, given, "logistic", backend="cuda")) == []
    assert races(lambda: forward(psi, given, backend="cuda")) == []


def test_tokens_that_stay_in_global_memory(monkeypatch):
    monkeypatch.setattr(dense, "stages", lambda *_: False)
    psi, given = params(SIZES[0], 1), prompts(SIZES[0], 1)
    assert races(lambda: loss_and_grad(psi, given, backend="cuda")) == []


def test_training():
    assert races(lambda: train(TINY, steps=2, measure=None, backend="cuda")) == []


BARRIERS = [
    (name, number)
    for name, function in cuda_modules.own((FunctionType, cuda_turns.kernel.FakeCUDAKernel))
    for number in range(inspect.getsource(function).count("cuda.syncthreads()"))
]


def without(module, name, number):
    """The function, one of its barriers left out."""
    parts = textwrap.dedent(inspect.getsource(getattr(module, name))).split("cuda.syncthreads()")
    source = "cuda.syncthreads()".join(parts[: number + 1]) + "pass" + "cuda.syncthreads()".join(parts[number + 1 :])
    names = vars(module)
    kept = dict(names)
    exec(source, names)
    found = names[name]
    names.update(kept)
    return found


def test_the_barriers_are_found():
    assert {name.partition(".")[0] for name, _ in BARRIERS} == {"block", "coded", "products"} and len(BARRIERS) > 15


@pytest.mark.parametrize("name, number", BARRIERS)
def test_a_barrier_left_out_is_noticed(name, number, monkeypatch):
    """All are needed, and the watch sees it."""
    short, _, function = name.partition(".")
    module = cuda_modules.modules()[short]
    monkeypatch.setattr(module, function, without(module, function, number))

    def everything():
        for size in SIZES[:2]:
            for given in batches(size):
                with suppress(NotFinite):  # what was not there yet may be anything
                    loss_and_grad(params(size, 1), given, backend="cuda")

    assert races(everything)
