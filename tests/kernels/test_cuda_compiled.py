"""The GPU's kernels as they are compiled, without a GPU: needs the package numba-cuda with its compiler.

For two compute capabilities, 9.0 and the oldest that CUDA 13 serves, 7.5.
"""

import functools
import importlib.util
import os
import re
import warnings
from types import SimpleNamespace

import cuda_modules
import pytest
from cuda_signatures import signatures
from numba import float32, float64

if importlib.util.find_spec("numba_cuda") is None:
    pytest.skip("needs the package numba-cuda", allow_module_level=True)
if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0"):
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

from numba import cuda as numba_cuda
from numba.cuda import dispatcher
from numba.cuda.cudadrv import nvvm

from nlicl.kernels.cuda import compile, memory, products

try:
    nvvm.NVVM()
except Exception as error:  # whatever its parts miss
    pytest.skip(f"needs numba-cuda's compiler: {error}", allow_module_level=True)

pytestmark = pytest.mark.compiled
NAMES = sorted(signatures(float32))
STEPS = ("dense.forward_block", "dense.step_block", "coded.forward_block", "coded.step_block")


@functools.cache
def _ptx(name, f, capability):
    before = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        module, _, kernel = name.partition(".")
        compiled = getattr(cuda_modules.modules()[module], kernel)
        return numba_cuda.compile_ptx(compiled.py_func, signatures(f)[name], cc=capability)[0]
    finally:
        dispatcher.get_current_device = before


def count(pattern, text):
    return len(re.findall(pattern, text))


@pytest.mark.parametrize("f", [float32, float64], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_compiles_without_atomics_and_without_local_memory(name, f):
    ptx = _ptx(name, f, (9, 0))
    assert ".target sm_90" in ptx and ".entry" in ptx
    assert not count(r"\b(atom|red)\.", ptx)  # which would add in any order
    assert not count(r"\.local\b", ptx)  # arrays of a thread are in registers
    assert not count(r"\bcall\b", ptx)  # all is inlined, so that nothing is rounded otherwise from one call to the next


@pytest.mark.parametrize("name", [*STEPS, "products.product_tile"])
def test_an_older_gpu_is_served_too(name):
    ptx = _ptx(name, float32, (7, 5))
    assert ".target sm_75" in ptx and not count(r"\b(atom|red)\.|\.local\b", ptx)


@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_float32(name):
    """float64 runs at 1/2 to 1/64 of the speed: only the loss, its judgement, conversion and the sampler have any."""
    most = {
        "dense.step_block": 60,
        "coded.step_block": 60,
        "descent.judge": 20,
        "memory.convert": 5,
        "sampling.draw_tokens": 60,
    }.get(name, 0)
    assert count(r"\.f64\b", _ptx(name, float32, (9, 0))) <= most


@pytest.mark.parametrize("f", [float32, float64], ids=str)
@pytest.mark.parametrize(
    "name", [*STEPS, "products.product_tile", "sampling.draw_tasks_in_order", "sampling.draw_tokens"]
)
def test_nothing_is_spilt_from_registers(name, f):
    linker = pytest.importorskip("cuda.bindings.nvjitlink")
    ptx = _ptx(name, f, (9, 0)).encode()
    handle = linker.create(3, ["-arch=sm_90", "-verbose", "-Xptxas=-v"])
    linker.add_data(handle, linker.InputType.PTX, ptx, len(ptx), name)
    linker.complete(handle)
    log = bytearray(linker.get_info_log_size(handle))
    linker.get_info_log(handle, log)
    linker.destroy(handle)
    stored, loaded = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log.decode()).groups()
    assert (stored, loaded) == ("0", "0")
    registers = int(re.search(r"Used (\d+) registers", log.decode())[1])
    assert (
        registers * max(compile.THREADS, products.SIDE**2) <= 65536 / 2
    )  # of a multiprocessor: two blocks or more at a time


def test_few_blocks_are_launched_without_a_warning():
    class Ready:
        """A kernel that is made ready and not run."""

        def __getitem__(self, configuration):
            memory.find_not_finite[configuration]
            return lambda *arguments: None

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile.launch(Ready(), 3, threads=32)
    with pytest.warns(Warning, match="Grid size 5"):  # numba's own habit
        Ready()[5, 32, 0, 0]
