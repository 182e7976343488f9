"""What `nlicl doctor` looks at: versions, the compiled kernels' cache, threads, BLAS, CUDA, and one gradient."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

__all__ = ["EXTRAS", "Finding", "clear_cache", "examine"]

EXTRAS = {
    "plot": ("matplotlib",),
    "baselines": ("scikit-learn",),
    "dask": ("distributed",),
    "completion": ("shtab",),
    "notebook": ("matplotlib", "pandas", "ipykernel", "nbclient", "nbformat"),
    "test": ("pytest", "hypothesis", "mpmath", "coverage", "matplotlib", "scikit-learn", "distributed", "shtab"),
    "docs": (
        "sphinx",
        "myst-nb",
        "numpydoc",
        "pydata-sphinx-theme",
        "sphinx-copybutton",
        "sphinx-design",
        "latex2mathml",
    ),
}
"""Extras and the distributions that they install, as pyproject.toml has them."""
_LARGE = 2**28  # bytes of old caches that are worth a word


class Finding(NamedTuple):
    """One line of the report: state "ok", "note" or "PROBLEM", what was looked at, what was found, how to mend it."""

    state: str
    what: str
    found: str
    fix: str = ""


def examine() -> list[Finding]:
    """Look at everything. What cannot be looked at, since a library is missing or broken, is a finding as well."""
    looks: dict[str, Callable[[], Iterable[Finding]]] = {
        "versions": _versions,
        "cache": _cache,
        "threads": _threads,
        "BLAS": _blas,
        "CUDA": _cuda,
        "extras": _extras,
        "gradient": _gradient,
    }
    found: list[Finding] = []
    for what, look in looks.items():
        try:
            found.extend(look())
        except (
            ImportError,
            OSError,
        ) as error:  # OSError: of a shared library, or of a folder that may not be looked into
            reason = f"cannot be looked at: {type(error).__name__}: {error}"
            found.append(
                Finding("PROBLEM", what, reason, "mend what it names; a missing library: python -m pip install it")
            )
    return found


def _versions() -> Iterator[Finding]:
    from . import __version__

    yield Finding("ok", "nlicl", f"{__version__}, from {os.path.dirname(__file__)}")
    yield Finding("ok", "python", f"{platform.python_version()} ({sys.executable})")
    for name in ("numpy", "numba", "llvmlite", "scipy", "latex2mathml"):
        version = _version(name)
        yield (
            Finding("ok", name, version)
            if version
            else Finding("PROBLEM", name, "not installed", "python -m pip install " + name)
        )


def _threads() -> Iterator[Finding]:
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


def _cache() -> Iterator[Finding]:
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        from .kernels import compile, files

    folder = compile.cache_folder()
    if folder is None:
        reason = str(caught[0].message) if caught else "no writable folder"
        yield Finding(
            "PROBLEM", "cache", f"compiled kernels are not kept: {reason}", "set NUMBA_CACHE_DIR to a writable folder"
        )
        return
    kept = files.kept(folder)
    about = f"{_shown(folder)} ({_count(len(kept), 'file')}, {files.total(folder) / 2**20:.1f} MiB)"
    try:
        files.try_writing(folder)
        yield Finding("ok", "cache", about)
    except OSError as error:
        fix = "make room there, or set NUMBA_CACHE_DIR to a writable folder"
        yield Finding("PROBLEM", "cache", f"{about} cannot be written: {error.strerror}", fix)
    if damaged := [f"{path.name}: {trouble}" for path in kept if (trouble := files.trouble(path, folder.parent))]:
        yield Finding(
            "PROBLEM",
            "cached files",
            f"{len(damaged)} of {len(kept)} damaged: {'; '.join(damaged[:3])}{'; ...' * (len(damaged) > 3)}",
            "each is compiled anew when it is needed; nlicl doctor --clear-cache deletes all",
        )
    # nlicl's folders are named by a hash; NUMBA_CACHE_DIR may hold other folders, which are none of its business
    if older := [path for path in files.folders(folder.parent) if path != folder]:
        size = sum(map(files.total, older))
        found = f"{_count(len(older), 'folder')} of other versions beside it, {size / 2**20:.1f} MiB, safe to delete"
        large = size > _LARGE
        yield Finding("note" if large else "ok", "older caches", found, "nlicl doctor --clear-cache" if large else "")


def clear_cache() -> tuple[str, bool]:
    """Delete the compiled kernels that nlicl keeps, of any version, damaged or not, and nothing else.

    Returns
    -------
    text : str
        What was deleted, and what could not be.
    done : bool
        Whether nothing of nlicl's is left.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that there is no writable folder
        from .kernels import compile, files

    try:
        base = compile.cache_base()
        cleared = files.clear(base)
    except (OSError, RuntimeError) as error:
        return f"The cache cannot be looked at: {getattr(error, 'strerror', None) or error}", False
    lines = [
        f"{_count(cleared.files, 'file')} ({cleared.bytes / 2**20:.1f} MiB) of compiled kernels deleted below {_shown(base)}."
    ]
    if cleared.foreign:
        lines.append(f"{_count(cleared.foreign, 'file')} with names that nlicl does not give left as they are.")
    for path, reason in cleared.failed[:10]:
        lines.append(f"Not deleted: {_shown(path)}: {reason}")
    if len(cleared.failed) > 10:
        lines.append(f"Not deleted: {len(cleared.failed) - 10} more.")
    return "\n".join(lines), not cleared.failed


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _shown(path: object) -> str:
    """A path as it is, if a terminal can show it; otherwise as Python writes it."""
    return text if (text := str(path)).isprintable() else ascii(text)


def _blas() -> Iterator[Finding]:
    import numpy as np

    config = np.show_config(mode="dicts") or {}
    blas = config.get("Build Dependencies", {}).get("blas", {})
    name = " ".join(str(blas.get(key, "")) for key in ("name", "version")).strip() or "unknown"
    yield Finding("ok", "BLAS", f"{name}; the kernels do not use it")


def _cuda() -> Iterator[Finding]:
    """The package, the GPU, and one gradient of its kernels; nothing here needs it, so that what is missing is a note."""
    from . import devices

    version = _version("numba-cuda")
    found = devices.unavailable()
    if found is not None:
        why, fix = found
        state = "ok" if version is None else "note"  # who has installed it wants to use it
        yield Finding(state, "CUDA", f"{why}; nothing but backend='cuda' needs it", "" if version is None else fix)
        return
    cuda = devices.kernels()
    about = f"{cuda.device_name()}, numba-cuda {version or '(that of numba)'}; "
    yield _agreement("CUDA", "cuda", about, "report this, please")


def _extras() -> Iterator[Finding]:
    for extra, names in EXTRAS.items():
        missing = [name for name in names if _version(name) is None]
        found = "installed" if not missing else f"without {', '.join(missing)} (optional)"
        yield Finding("ok", f"extra {extra}", found)


def _gradient() -> Iterator[Finding]:
    yield _agreement("gradient", "cpu", "", "nlicl doctor --clear-cache, and report this, please")


def _agreement(what: str, backend: str, about: str, fix: str) -> Finding:
    """Whether a gradient of the compiled kernels is that of the definition."""
    error = _error(backend)
    if error < 1e-12:
        return Finding("ok", what, f"{about}kernels and definition agree to {error:.1e}")
    return Finding("PROBLEM", what, f"{about}kernels and definition differ by {error:.1e}", fix)


def _error(backend: str) -> float:
    """The relative error of one gradient of the compiled kernels, against the complex step through the definition."""
    import numpy as np

    from .models.front import loss_and_grad
    from .models.transformer import reference
    from .models.transformer.prompts import Params, Prompts

    rng = np.random.default_rng(0)
    params = Params(*(rng.standard_normal(shape) for shape in ((4, 5), (4, 5), (3, 5), (6, 3), (6,))))
    prompts = Prompts(rng.standard_normal((1, 4, 5)), np.ones(1))
    if np.real(reference.forward(params, prompts[0]).score) > 1:
        prompts = Prompts(prompts.tokens, -np.ones(1))  # an active hinge
    W_K, h = params.W_K.astype(complex), 1e-40
    W_K[2, 3] += 1j * h
    expected = reference.loss(params._replace(W_K=W_K), prompts[0]).imag / h
    given = loss_and_grad(params, prompts, backend=backend)[1].W_K[2, 3]
    return float(abs(given - expected) / abs(expected))


def _version(name: str) -> str | None:
    """The installed version of a distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
