"""What this machine can do, measured, and the least time in which it can do a step of known costs.

    least time = max( bytes / bandwidth,  multiply-adds / rate + exponentials / rate + look-ups / rate )

Memory is read while the processor computes, so the two are compared; what it computes is added. Costs of one step stand
beside the kernels. Each rate is the best of several ways to do the work and of several tries, on all threads side by side.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import loops
import numpy as np

SECONDS = 0.02  # a try, at least: thousands of times what it takes to start a thread
TRIES = 5
BLOCK = 32  # prompts whose small products are made together


class Roofs(NamedTuple):
    """Most that can be done in a second, in the units of the kernels' costs.

    `bytes` are those of a triad or of a sum, whichever is faster, as the program sees them: what a cache reads before it
    writes is not counted.
    """

    bytes: float
    multiply_adds: float
    exponentials: float
    look_ups: float


def least_seconds(costs, roofs):
    """Less than that a step of these costs cannot take under these roofs."""
    computing = sum(getattr(costs, name) / getattr(roofs, name) for name in Roofs._fields[1:])
    return max(costs.bytes / roofs.bytes, computing)


def measure(dtype, threads):
    """The roofs of this machine for numbers of a dtype: about two seconds."""
    return Roofs(
        bytes=bandwidth(dtype, threads, 4 * last_cache()),
        multiply_adds=product_rate(dtype, threads),
        exponentials=exponential_rate(dtype, threads),
        look_ups=look_up_rate(dtype, threads),
    )


def bandwidth(dtype, threads, size):
    """Bytes a second that come and go where `size` bytes lie: in memory, or in the caches that they fit in."""
    length = max(8, size // (3 * threads * np.dtype(dtype).itemsize))

    def allocate(_):  # each thread its own: memory belongs to the processor that first touches it
        return np.ones((3, length), dtype)

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(allocate, range(threads)))
    amount = sum(part.nbytes for part in parts)
    return max(
        rate([lambda n, part=part: loops.triad(*part, n) for part in parts], amount),
        rate([lambda n, part=part: loops.read(part.reshape(-1), n) for part in parts], amount),
    )


def product_rate(dtype, threads):
    """Multiply-adds a second of small matrix products: by the kernels' own, and by BLAS on as many threads."""
    found = []
    for size in (32, 64, 128):
        jobs = [own_product(size, dtype) for _ in range(threads)]
        found.append(rate(jobs, threads * BLOCK * size * size))
    for size in (64, 256, 512):
        found.append(rate([blas_product(size, dtype)], size**3))
    return max(found)


def own_product(size, dtype):
    A, B, C = np.ones((BLOCK, size), dtype), np.ones((size, size), dtype), np.zeros((BLOCK, size), dtype)
    return lambda n: loops.products(C, A, B, n)


def blas_product(size, dtype):
    A, B, C = np.ones((3, size, size), dtype)

    def job(n):
        for _ in range(n):
            np.matmul(A, B, out=C)

    return job


def exponential_rate(dtype, threads):
    """Exponentials a second, of numbers in a cache: by the kernels' softmax, and by NumPy."""

    def own():
        s = np.linspace(0, -1, 1000).astype(dtype)
        return lambda n: loops.exponentials(s, n)

    def numpys():
        x = np.linspace(0, -1, 16000).astype(dtype)  # enough that threads do not wait for Python's lock
        out = np.empty_like(x)

        def job(n):
            for _ in range(n):
                np.exp(x, out=out)

        return job

    return max(
        rate([own() for _ in range(threads)], 1000 * threads),
        rate([numpys() for _ in range(threads)], 16000 * threads),
    )


def look_up_rate(dtype, threads):
    """Look-ups a second in a table of 32 numbers at random places, half of them reading, half of them adding to it."""
    rng = np.random.default_rng(0)
    tables = [np.zeros(32, dtype) for _ in range(threads)]
    numbers = [np.ones(1000, dtype) for _ in range(threads)]
    places = rng.integers(32, size=1000, dtype=np.int32)

    def jobs(loop, first, second):
        return [lambda n, x=x, y=y: loop(x, y, places, n) for x, y in zip(first, second, strict=True)]

    reading = rate(jobs(loops.gather, numbers, tables), 1000 * threads)
    adding = rate(jobs(loops.scatter, tables, numbers), 1000 * threads)
    return 2 / (1 / reading + 1 / adding)


def rate(jobs, amount):
    """Amounts a second: `job(n)`, for all jobs side by side, does n times what together is `amount`. The best try."""
    jobs[0](0)  # compiles, if need be
    with ThreadPoolExecutor(len(jobs)) as pool:

        def seconds(n):
            start = time.perf_counter()
            for _ in pool.map(lambda job: job(n), jobs):
                pass
            return time.perf_counter() - start

        n = 1
        while seconds(n) < SECONDS:
            n *= 2
        return n * amount / min(seconds(n) for _ in range(TRIES))


def last_cache():
    """Bytes of the largest cache, where Linux tells; else 64 MiB."""
    sizes = [path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max((1024 * int(size[:-1]) for size in sizes if size.endswith("K")), default=64 * 2**20)
