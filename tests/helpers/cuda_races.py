"""Races in the simulator: two threads at one place in memory, one of them writing, with no barrier between.

Every access to shared and to global memory is noted with its thread and with how many barriers the thread has passed. Within a
block, accesses between the same two barriers have no order; of different blocks, none have. Two threads that write the same
integer, a flag, are let be. So whether a barrier is missing does not depend on the order in which threads happened to run.
"""

import sys
import threading
from collections import defaultdict
from contextlib import contextmanager
from unittest import mock

import numpy as np
from numba.cuda.simulator import kernel, kernelapi
from numba.cuda.simulator.cudadrv.devicearray import FakeWithinKernelCUDAArray as Global


class Watch:
    """What was accessed since the launch: address -> (thread, barriers passed) -> whether it was written, and what."""

    def __init__(self):
        self.seen, self.shared, self.races = defaultdict(dict), set(), []

    def note(self, array, index, write=None, shared=False):
        thread = threading.current_thread()
        if not isinstance(thread, kernel.BlockThread) or not isinstance(index, (int, np.integer)):
            return  # the host's, or a slice, which touches nothing
        place = _place()
        assert 0 <= index < len(array), f"index {index} of {len(array)}: a GPU does not look"
        address = array.__array_interface__["data"][0] + int(index) * array.strides[0]
        block, me = tuple(thread.blockIdx), tuple(thread.threadIdx)
        flag = write is not None and array.dtype.kind == "i"
        for (other, who, when), (was, there) in self.seen[address].items():
            apart = (other != block and not shared) or (other == block and who != me and when == thread.passed)
            if apart and (write is not None or was is not None) and not (flag and was == write):
                self.races.append(
                    f"{there} by thread {who} of block {other}, and {place} by thread {me} of block {block}"
                )
        mine = (block, me, thread.passed)
        if write is not None or mine not in self.seen[address]:
            self.seen[address][mine] = write, place


def _place():
    """The line of the kernel that is being run."""
    frame = sys._getframe(1)
    while not frame.f_globals["__name__"].startswith("nlicl.kernels.cuda."):
        frame = frame.f_back
    return f"{frame.f_globals['__name__']}.{frame.f_code.co_name}:{frame.f_lineno}"


class Shared:
    """A piece of shared memory that is watched."""

    def __init__(self, array, watch):
        self.array, self.watch = array, watch
        self.dtype, self.shape, self.size = array.dtype, array.shape, array.size

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Shared(self.array[index], self.watch)
        self.watch.note(self.array, index, shared=True)
        return self.array[index]

    def __setitem__(self, index, value):
        self.watch.note(self.array, index, value, shared=True)
        self.array[index] = value


@contextmanager
def watched():
    """Note all accesses of the kernels launched inside; yields the list of races, which fills as they run."""
    watch = Watch()
    call, start, wait = (
        kernel.FakeCUDAKernel.__call__,
        kernel.BlockThread.__init__,
        kernelapi.FakeCUDAModule.syncthreads,
    )
    shared, read, write = kernelapi.FakeCUDAShared.array, Global.__getitem__, Global.__setitem__

    def launched(self, *arguments):
        if not self._device and kernel._get_kernel_context() is None:
            watch.seen.clear()
        return call(self, *arguments)

    def started(self, *arguments):
        start(self, *arguments)
        self.passed = 0

    def waited(self):
        wait(self)
        threading.current_thread().passed += 1

    def looked(self, index):
        watch.note(self._item._ary, index)
        return read(self, index)

    def wrote(self, index, value):
        watch.note(self._item._ary, index, value)
        write(self, index, value)

    with (
        mock.patch.object(kernel.FakeCUDAKernel, "__call__", launched),
        mock.patch.object(kernel.BlockThread, "__init__", started),
        mock.patch.object(kernelapi.FakeCUDAModule, "syncthreads", waited),
        mock.patch.object(kernelapi.FakeCUDAShared, "array", lambda *a: Shared(shared(*a), watch)),
        mock.patch.object(Global, "__getitem__", looked),
        mock.patch.object(Global, "__setitem__", wrote),
    ):
        yield watch.races
