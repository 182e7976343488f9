"""The simulator's threads one after another, from barrier to barrier, in a settled order.

As numba's simulator runs them, all threads of a block run side by side and look again and again whether others wait: slow, and
a missing barrier shows by chance. Here each thread runs alone up to its next barrier, the first one first (order 1) or the
last one first (order -1): whoever reads what another has not written yet reads the wrong thing in one of the two orders. A
block's shared memory is NaN before it begins, and a barrier that some of its threads do not reach is an error.
"""

import sys
import threading

import numpy as np
from numba.cuda.simulator import kernel
from numba.cuda.simulator.kernelapi import Dim3

order = 1


class _Thread(kernel.BlockThread):
    """A thread that waits for its turn."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.mine, self.back, self.at = threading.Lock(), threading.Lock(), None
        self.mine.acquire()
        self.back.acquire()

    def turn(self):
        """Let it run to its next barrier, or to its end."""
        self.mine.release()
        self.back.acquire()

    def run(self):
        self.mine.acquire()
        if not self.abort:
            super().run()
        self.at = None
        self.back.release()

    def syncthreads(self):
        self.at, frame = [], sys._getframe(1)
        while frame is not None:
            self.at.append((frame.f_code, frame.f_lineno))
            frame = frame.f_back
        self.back.release()
        self.mine.acquire()
        if self.abort:
            raise RuntimeError("another thread failed")


def run(manager, grid_point, *arguments):
    """In the place of `BlockManager.run`."""
    shared = kernel._get_kernel_context().shared._dynshared
    points = list(np.ndindex(*manager._block_dim))[::order]
    if not shared.size:  # nothing to wait for
        me = threading.current_thread()
        me.blockIdx = Dim3(*grid_point)
        for point in points:
            me.threadIdx = Dim3(*point)
            manager._f(*arguments)
        return
    shared.fill(-1)
    threads = [_Thread(lambda: manager._f(*arguments), manager, grid_point, point, False) for point in points]
    for thread in threads:
        thread.start()
    at_barrier = True
    try:
        while at_barrier:
            for thread in threads:
                thread.turn()
                if thread.exception:
                    raise thread.exception[0].with_traceback(thread.exception[1])
            places = [thread.at for thread in threads]
            assert all(place == places[0] for place in places), "a barrier that some threads of a block do not reach"
            at_barrier = places[0] is not None
    finally:
        for thread in threads:
            thread.abort = True
            if thread.mine.locked():
                thread.mine.release()
            thread.join()
