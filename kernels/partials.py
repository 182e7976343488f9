"""What a step works with, in one piece of memory, and the chunks' partial sums in it.

Each chunk of prompts adds to sums of its own. These are added in order: the same bits on any number of threads.
"""

from .address import apart
from .compile import kernel

__all__ = ["add_losses", "add_partials", "part_of"]


@kernel
def part_of(work, start, rows, columns):
    """A matrix (rows, columns) in work (n,), and where it ends."""
    end = start + rows * columns
    return work[start:end].reshape((rows, columns)), end


@kernel
def add_partials(partials):
    """The chunks' partial sums (n_chunks, rows, columns), added into the first in order; returns the first."""
    for chunk in range(1, partials.shape[0]):
        for i in range(partials.shape[1]):
            for j in range(partials.shape[2]):
                partials[0, i, j] += partials[chunk, i, j]
    return partials[0]


@apart
@kernel
def add_losses(loss, da, das, n):
    """da (m,): the chunks' das (n_chunks, m), added in order; loss (n_chunks,) begins with the mean over n prompts then."""
    for i in range(da.shape[0]):  # loops, for they compile in a fraction of the time that rows take
        da[i] = das[0, i]
    for chunk in range(1, loss.shape[0]):
        loss[0] += loss[chunk]
        for i in range(da.shape[0]):
            da[i] += das[chunk, i]
    loss[0] = loss[0] / n
