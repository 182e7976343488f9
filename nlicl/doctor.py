"""What `nlicl doctor` looks at: versions, the compiled kernels' cache, threads, BLAS, CUDA, and one gradient."""

import importlib.metadata
import importlib.util
import os
import platform
import sys
from typing import NamedTuple

__all__ = ["Finding", "examine"]


class Finding(NamedTuple):
    """One line of the report: state "ok", "note" or "PROBLEM", what was looked at, what was found, how to mend it."""

    state: str
    what: str
    found: str
    fix: str = ""


def examine():
    """Look at everything.

    Returns
    -------
    list of Finding
    """
    return [*_versions(), _cache(), *_threads(), _blas(), _cuda(), *_extras(), _gradient()]


def _versions():
    from . import __version__

    yield Finding("ok", "nlicl", f"{__version__}, from {os.path.dirname(__file__)}")
    yield Finding("ok", "python", f"{platform.python_version()} ({sys.executable})")
    for name in ("numpy", "numba", "llvmlite", "scipy"):
        version = _version(name)
        yield (
            Finding("ok", name, version)
            if version
            else Finding("PROBLEM", name, "not installed", "python -m pip install " + name)
        )


def _threads():
    import numba

    from .kernels import compile

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = compile.THREADS
    origin = (
        "set by NUMBA_NUM_THREADS" if "NUMBA_NUM_THREADS" in os.environ else "the default; NUMBA_NUM_THREADS sets it"
    )
    state, fix = (
        ("ok", "")
        if threads <= cores
        else ("note", f"set NUMBA_NUM_THREADS={cores}: more threads than cores only fight")
    )
    yield Finding(state, "threads", f"{threads} on {cores} cores this process may use ({origin})", fix)
    if numba.config.DISABLE_JIT:
        yield Finding("note", "compiler", "off (NUMBA_DISABLE_JIT): everything runs, slowly", "unset NUMBA_DISABLE_JIT")


def _cache():
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        from .kernels import compile

    folder = compile.cache_folder()
    if folder is None:
        reason = str(caught[0].message) if caught else "no writable folder"
        return Finding(
            "PROBLEM", "cache", f"compiled kernels are not kept: {reason}", "set NUMBA_CACHE_DIR to a writable folder"
        )
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    others = [path for path in folder.parent.iterdir() if path.is_dir() and path != folder]
    older = f"; {len(others)} folders of other versions beside it, safe to delete" if others else ""
    return Finding("ok", "cache", f"{folder} ({size / 2**20:.1f} MiB){older}")


def _blas():
    import numpy as np

    blas = np.__config__.CONFIG.get("Build Dependencies", {}).get("blas", {})
    name = " ".join(str(blas.get(key, "")) for key in ("name", "version")).strip() or "unknown"
    return Finding("ok", "BLAS", f"{name}; the kernels do not use it")


def _cuda():
    """The package, the GPU, and one gradient of its kernels; nothing here needs it, so that what is missing is a note."""
    from . import devices

    version = _version("numba-cuda")
    found = devices.unavailable()
    if found is not None:
        why, fix = found
        state = "ok" if version is None else "note"  # who has installed it wants to use it
        return Finding(state, "CUDA", f"{why}; nothing but backend='cuda' needs it", "" if version is None else fix)
    cuda = devices.kernels()
    error = _error("cuda")
    about = f"{cuda.device_name()}, numba-cuda {version or '(that of numba)'}"
    if error < 1e-12:
        return Finding("ok", "CUDA", f"{about}; kernels and definition agree to {error:.1e}")
    return Finding("PROBLEM", "CUDA", f"{about}; kernels and definition differ by {error:.1e}", "report this, please")


def _extras():
    for extra, names in (
        ("plot", ["matplotlib"]),
        ("baselines", ["sklearn"]),
        ("test", ["pytest", "hypothesis", "mpmath"]),
    ):
        missing = [name for name in names if _version(name) is None]
        found = "installed" if not missing else f"without {', '.join(missing)} (optional)"
        yield Finding("ok", f"extra {extra}", found)


def _gradient():
    error = _error("cpu")
    if error < 1e-12:
        return Finding("ok", "gradient", f"kernels and definition agree to {error:.1e}")
    fix = "delete the cache folder above and report this, please"
    return Finding("PROBLEM", "gradient", f"kernels and definition differ by {error:.1e}", fix)


def _error(backend):
    """The relative error of one gradient of the compiled kernels, against the complex step through the definition."""
    import numpy as np

    from .models.front import loss_and_grad
    from .models.transformer import reference
    from .models.transformer.prompts import Params, Prompts

    rng = np.random.default_rng(0)
    params = Params(*(rng.standard_normal(shape) for shape in ((4, 5), (4, 5), (3, 5), (6, 3), (6,))))
    prompts = Prompts(rng.standard_normal((1, 4, 5)), [1.0])
    if 1 - reference.forward(params, prompts[0]).score < 0:
        prompts = Prompts(prompts.tokens, [-1.0])  # an active hinge
    W_K, h = params.W_K.astype(complex), 1e-40
    W_K[2, 3] += 1j * h
    expected = reference.loss(params._replace(W_K=W_K), prompts[0]).imag / h
    given = loss_and_grad(params, prompts, backend=backend)[1].W_K[2, 3]
    return abs(given - expected) / abs(expected)


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
