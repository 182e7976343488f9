"""Kernels of other packages, in any folder: compiled, launched, kept and given back as plain Python like nlicl's own."""

import functools
import importlib
import os
import sys
import types

import numba
import numpy as np
import pytest
from child import ROOT, python

from nlicl.core.errors import InvalidInput, InvalidType, InvalidValue
from nlicl.kernels import cache, compile, reach
from nlicl.kernels.compile import kernel, launch, source
from nlicl.kernels.layers import attention

MODEL = """
import numpy as np
import nlicl.kernels.compile as policy
from nlicl.kernels.layers import attention
from nlicl.kernels.products import add_product
from {package}helpers import scaled
from {package}deeper import constants


@policy.kernel
def forward_chunks(first, last, C, U, tokens, probes, W_T, n_chunks):
    B, l, d = tokens.shape
    attn = np.empty(l, tokens.dtype)
    for n in range(first * B // n_chunks, last * B // n_chunks):
        attention.forward(attn, C[n], tokens[n], scaled(probes[n]))
        add_product(U[n : n + 1], C[n : n + 1], W_T)
        for i in range(d):
            C[n, i] += constants.SHIFT


def forward(tokens, probes, W_T, n_chunks=8):
    C, U = (np.zeros((len(tokens), n), tokens.dtype) for n in W_T.shape)
    policy.launch(forward_chunks, n_chunks, C, U, tokens, probes, W_T, n_chunks)
    return C, U
"""
HELPERS = """
from nlicl.kernels.compile import kernel

TEMPERATURE = 2.0


@kernel
def scaled(u):
    return u / u.dtype.type(TEMPERATURE)
"""
CONSTANTS = "SHIFT = 1.0\n"


def write(folder, package=""):
    """A model, its helper and its constants, as modules in a folder or as a package in it."""
    where = folder / package.removesuffix(".")
    (where / "deeper").mkdir(parents=True)
    (where / "__init__.py").write_text("")
    (where / "model.py").write_text(MODEL.format(package=package))
    (where / "helpers.py").write_text(HELPERS)
    (where / "deeper" / "__init__.py").write_text("")
    (where / "deeper" / "constants.py").write_text(CONSTANTS)
    return where


@pytest.fixture(params=["", "other."], ids=["modules", "package"])
def model(request, tmp_path, monkeypatch):
    write(tmp_path, request.param)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(f"{request.param}model")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("model", "helpers", "deeper", "other")]:
        del sys.modules[name]


def arguments(dtype=np.float64, B=40, l=5, d=6, m=3):
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=shape).astype(dtype) for shape in ((B, l, d), (B, d), (d, m)))


def by_numpy(tokens, probes, W_T):
    s = np.einsum("nld,nd->nl", tokens, probes / 2)
    attn = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
    C = np.einsum("nl,nld->nd", attn, tokens)
    return C + 1, C @ W_T


def test_compiled_code_is_its_source_and_what_it_says(model):
    tokens, probes, W_T = arguments()
    for found in (model.forward, source(model.forward)):
        for got, want in zip(found(tokens, probes, W_T), by_numpy(tokens, probes, W_T), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


def test_the_source_runs_in_extended_precision(model):
    """Its kernels, nlicl's, and those of a module beside it are all plain Python there."""
    given = arguments(np.longdouble)
    C, U = source(model.forward)(*given)
    assert C.dtype == U.dtype == np.longdouble
    for got, want in zip((C, U), by_numpy(*given), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=40 * np.finfo(np.longdouble).eps)


@pytest.mark.compiled
def test_the_source_calls_nothing_compiled(model):
    names = source(model.forward).__globals__
    chunks = names["forward_chunks"]
    assert names["policy"] is compile and names["np"] is np  # what reaches no kernel is left as it is
    assert not hasattr(chunks, "py_func") and not hasattr(chunks.__globals__["scaled"], "py_func")
    assert not hasattr(chunks.__globals__["attention"].forward, "py_func")
    assert hasattr(model.forward_chunks, "py_func") and model.attention is attention  # the module is as it was


@pytest.mark.compiled
def test_it_runs_on_threads_to_the_same_bits(model, monkeypatch):
    used, serve = set(), compile._Helpers._serve

    def noted(self):
        used.add("a helper")
        serve(self)

    monkeypatch.setattr(compile._Helpers, "_serve", noted)
    found = set()
    for threads in (1, 2, 3):
        monkeypatch.setattr(compile, "THREADS", threads)
        monkeypatch.setattr(compile, "_helpers", compile._Helpers())
        found.add(b"".join(array.tobytes() for array in model.forward(*arguments())))
    assert len(found) == 1 and used and model.forward_chunks.targetoptions["nogil"]


# ---------------------------------------------------------------- what is kept

PROBE = """
import numpy as np
from {package}model import forward, forward_chunks
C, U = forward(np.ones((2, 3, 4)), np.ones((2, 4)), np.ones((4, 1)))
stats = forward_chunks.stats
print(stats.cache_path, sum(stats.cache_hits.values()), C[0, 0], U[0, 0])
"""


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize("package", ["", "other."], ids=["modules", "package"])
def test_an_edit_of_anything_it_reaches_is_seen_by_the_next_process(package, tmp_path):
    where, cache = write(tmp_path / "code", package), tmp_path / "cache"
    path = os.pathsep.join([str(ROOT), str(tmp_path / "code")])

    def run():
        *place, hits, C, U = python(PROBE.format(package=package), PYTHONPATH=path, NUMBA_CACHE_DIR=str(cache)).split()
        assert str(cache / compile.source_digest()[:16]) in place[0]  # below nlicl's own
        return place[0], int(hits), float(C), float(U)

    def edit(name, old, new):
        text = (where / name).read_text()
        assert old in text
        (where / name).write_text(text.replace(old, new))

    first, hits, C, U = run()
    assert (hits, C, U) == (0, 2.0, 4.0)
    assert run() == (first, 1, 2.0, 4.0)
    places = {first}
    for edited, C, U in (
        (("deeper/constants.py", "SHIFT = 1.0", "SHIFT = 7.0"), 8.0, 4.0),  # a number in another module
        (
            ("helpers.py", "return u / u.dtype.type(TEMPERATURE)", "return 0 / u"),
            8.0,
            4.0,
        ),  # a kernel in another module
        (("model.py", "add_product(U", "add_product(U[:0], C[:0], W_T)\n        add_product(2 * U"), 8.0, 0.0),
    ):
        edit(*edited)
        place, hits, *found = run()
        assert hits == 0 and found == [C, U] and place not in places
        assert run() == (place, 1, C, U)
        places.add(place)


@pytest.mark.compiled
def test_one_that_cannot_be_told_is_compiled_in_every_process(tmp_path):
    """A kernel of a script, and one whose callee is known to numba by a way that is not followed."""
    (tmp_path / "overloaded.py").write_text(
        "from numba.extending import register_jitable\n"
        "from nlicl.kernels.compile import kernel\n"
        "@register_jitable\ndef plain(x):\n    return x + 1\n"
        "@kernel\ndef outer(x):\n    return plain(x)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(
        "from nlicl.kernels.compile import kernel\nfrom overloaded import outer\n"
        "@kernel\ndef inner(x):\n    return 2 * x\n"
        "print(inner(3.0), outer(3.0), inner.stats.cache_path, outer.stats.cache_path)\n"
    )
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    assert python(script, PYTHONPATH=path, NUMBA_CACHE_DIR=str(tmp_path / "cache")).split() == [
        "6.0",
        "4.0",
        "None",
        "None",
    ]


@pytest.mark.compiled
def test_where_its_folder_cannot_be_made_it_is_not_kept(model, tmp_path, monkeypatch):
    """Nor beside its own file, where numba would keep it otherwise, and find it again whatever is edited elsewhere."""
    (tmp_path / "file").write_text("")
    model.forward_chunks._cache.folder = tmp_path / "file"
    monkeypatch.setattr(cache, "_said", set())
    with pytest.warns(RuntimeWarning, match="compiled kernels cannot be kept in .*: Not a directory"):
        model.forward(*arguments())
    assert not [path for path in tmp_path.rglob("*.nb?") if "forward_chunks" in path.name]


# ---------------------------------------------------------------- what names what


@pytest.fixture
def made(tmp_path, monkeypatch):
    """made(text): the module of that text, imported under one name again and again."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(text):
        (tmp_path / "made.py").write_text(text)
        module = types.ModuleType("made")
        module.__file__ = str(tmp_path / "made.py")
        monkeypatch.setitem(sys.modules, "made", module)
        exec(__builtins__["compile"](text, module.__file__, "exec"), vars(module))
        return module

    return make


TEXT = """
import math
import numpy as np
import numba
from numpy import exp, float64
from nlicl.kernels import products, vectors
from nlicl.kernels.layers import attention, loss
from nlicl.kernels.compile import kernel

NUMBERS, TABLE, NAME = (1, 2.5), np.arange(3.0), "x"


def factory(power):
    @kernel
    def raised(x):
        return x**power

    return raised


square = factory(2)


@kernel
def inner(x, shift=1.0):
    return exp(x) + math.sin(x) + NUMBERS[1] + TABLE[1] + float64(shift) + square(x)


@kernel
def outer(c, w, P):
    products.add_rows(c, w, P)
    attention.softmax(w)
    more = [i * NUMBERS[0] for i in range(2)]
    for i in range(len(c)):
        c[i] = inner(c[i]) + loss.value(loss.HINGE, c[i], 1.0) + more[1]
"""


@pytest.mark.compiled
def test_the_digest_is_that_of_everything_reached(made):
    digest = lambda text: reach.digest(made(text).outer, covered="nlicl.kernels")  # noqa: E731
    first = digest(TEXT)
    assert len(first) == 64 and digest(TEXT) == first == digest("# a comment\n" + TEXT)
    found = {first}
    for old, new in (
        ("(1, 2.5)", "(1, 2.6)"),
        ("np.arange(3.0)", "np.arange(4.0)"),
        ("np.arange(3.0)", "np.arange(3.0, dtype=np.float32)"),
        ("factory(2)", "factory(3)"),
        ("math.sin", "math.cos"),
        ("shift=1.0", "shift=1.5"),
        ("x**power", "x**power + 1"),
        ("from numpy import exp", "from numpy import log as exp"),
        ("products.add_rows(c, w, P)", "products.row_products(c, P, w)"),
        ("i * NUMBERS[0]", "i + NUMBERS[0]"),
        ("@kernel\ndef inner", "@numba.njit\ndef inner"),
        ("@kernel\ndef inner", "@numba.njit(fastmath=True)\ndef inner"),
    ):
        assert old in TEXT
        found.add(digest(TEXT.replace(old, new)))
    assert None not in found and len(found) == 13


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("math.sin(x)", "helper(x)"),  # a plain function, which numba was told of by `overload` or the like
        ("NUMBERS[1]", "OBJECT.value"),
        ("NUMBERS[1]", "other.value"),
    ],
)
def test_there_is_no_digest_where_something_else_is_named(made, old, new):
    more = "\nimport types\ndef helper(x):\n    return x\nOBJECT = types.SimpleNamespace(value=1.0)\n"
    other = "other = types.ModuleType('other')\nother.value = [1.0]\n"
    assert reach.digest(made(more + other + TEXT).outer, covered="nlicl.kernels") is not None
    assert reach.digest(made(more + other + TEXT.replace(old, new)).outer, covered="nlicl.kernels") is None


@pytest.mark.compiled
def test_there_is_no_digest_of_what_another_process_could_not_import(made, monkeypatch):
    module = made(TEXT)
    monkeypatch.delitem(sys.modules, "made")
    assert reach.digest(module.outer, covered="nlicl.kernels") is None
    typed = types.ModuleType("typed")  # at a prompt: there is no file
    exec("from nlicl.kernels.compile import kernel\n@kernel\ndef f(x):\n    return x\n", vars(typed))
    monkeypatch.setitem(sys.modules, "typed", typed)
    assert reach.digest(typed.f, covered="nlicl.kernels") is None and typed.f(3) == 3


@pytest.mark.compiled
def test_kernels_of_nlicl_are_covered_by_the_digest_of_their_sources():
    assert compile.cache_folder() is None or attention.forward.stats.cache_path.startswith(str(compile.cache_folder()))
    assert isinstance(reach.digest(attention.forward, covered="nlicl.kernels"), str)


def test_the_source_of_a_closure():
    def made(power):
        @kernel
        def raised(x):
            return x**power

        def twice(x, *, times=2):
            return [raised(x) for _ in range(times)]

        return twice

    plain = source(made(3))
    assert plain(np.longdouble(2)) == [8, 8] and isinstance(plain(np.longdouble(2))[0], np.longdouble)
    assert plain is not made(3) and source(launch).__code__ is launch.__code__


@pytest.mark.compiled
def test_kernels_of_plain_numba_are_followed_too():
    @numba.njit
    def half(x):
        return x / 2

    @kernel
    def quarter(x):
        return half(half(x))

    assert source(quarter)(np.longdouble(1)) == np.longdouble(0.25) == quarter(1.0)


ENCLOSED = """
from nlicl.kernels.compile import kernel


@kernel
def half(x):
    return x / 2


def factory(function, power):
    @kernel
    def raised(x):
        return function(x) ** power

    @kernel
    def plain(x):
        return half(x) ** power

    return raised, plain


raised, plain = factory(half, 3)
"""


@pytest.mark.slow
@pytest.mark.compiled
def test_a_kernel_that_has_a_kernel_from_outside_is_not_kept(tmp_path):
    """Numba would keep another file of it in every process, and find none again."""
    (tmp_path / "enclosing.py").write_text(ENCLOSED)
    path, cache = os.pathsep.join([str(ROOT), str(tmp_path)]), tmp_path / "cache"
    code = (
        "from enclosing import plain, raised; print(raised(4.0), plain(4.0), raised.stats.cache_path, "
        "sum(plain.stats.cache_hits.values()))"
    )
    kept = []
    for hits in "01":
        assert python(code, PYTHONPATH=path, NUMBA_CACHE_DIR=str(cache)).split() == ["8.0", "8.0", "None", hits]
        kept.append(sorted(file.name for file in cache.rglob("*.nb?")))
    assert kept[0] == kept[1] and kept[0]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("value", [5, len, None, int, functools.partial(len)], ids=str)
def test_what_is_no_function_is_refused(value):
    for call in (kernel, source):
        with pytest.raises(InvalidType, match=r"^function is .*; expected a .*Python function, as def gives"):
            call(value)


@pytest.mark.compiled
def test_what_is_compiled_is_not_compiled_again():
    with pytest.raises(InvalidType, match=r"^function is compiled already"):
        kernel(attention.forward)


@pytest.mark.parametrize("n", [0, -1, 2.5, "x", None, True])
def test_launch_refuses_a_number_of_chunks_that_is_none(n):
    with pytest.raises(InvalidInput, match=r"^n_chunks is .*; expected"):
        launch(pytest.fail, n)
    with pytest.raises(InvalidType, match=r"^function is 5; expected a kernel"):
        launch(5, 2)


def test_the_source_of_a_closure_that_is_not_filled_yet():
    def made():
        def early(x):
            return later(x)

        found = source(early)
        later = abs
        return found, later

    with pytest.raises(InvalidValue, match=r"early names 'later', which has no value yet"):
        made()
