"""The steps of `dense` and `coded` on a GPU, training and sampling there, through numba.cuda.

Nothing else of the kernels needs this folder or imports it; of it, `compile` alone imports numba.cuda. A block of threads
takes one prompt: its scores, contexts and, where they fit, its tokens lie in shared memory.

Every sum has a fixed order, settled by sizes alone: by a tree of fixed shape within a block; over prompts, by ranges that are
added in order. There are no atomics, so the bits are the same from run to run.

    compile    how GPU kernels are compiled, cached and launched        block      what the threads of a block do together
    memory     arrays, scratch, shared memory                           products   matrix products, sums over prompts
    dense      forward, step on tokens                                  coded      forward, step on codes
    descent    gradient descent                                         sampling   prompts drawn there
    driver     what GPU there is

Derivation and numbers: docs/cuda.md.
"""

from . import coded, dense
from .compile import SIMULATED
from .descent import Descent
from .driver import device_name, event, runtime_version, synchronize, trouble
from .memory import all_finite, check_room, converted, empty, gradients_of, place, scratch
from .products import column_sums
from .sampling import Sampler

__all__ = [
    "SIMULATED",
    "Descent",
    "Sampler",
    "all_finite",
    "check_room",
    "coded",
    "column_sums",
    "converted",
    "dense",
    "device_name",
    "empty",
    "event",
    "gradients_of",
    "place",
    "runtime_version",
    "scratch",
    "synchronize",
    "trouble",
]
