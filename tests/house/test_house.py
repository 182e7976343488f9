"""The order of the house: what may import what, and what an import may cost. Read from the sources and a fresh process."""

import ast
import sys
import tomllib

import pytest
from child import KERNELS, ROOT, python

PACKAGE = ROOT / "nlicl"
HEAVY = ("matplotlib", "numba", "scipy", "sklearn", "torch", "jax", "nlicl.kernels")


def modules():
    """Dotted name -> path of every module of the library, the kernels under the name they are installed by."""
    found = {}
    for path in sorted([*PACKAGE.rglob("*.py"), *KERNELS.rglob("*.py")]):
        base, top = (KERNELS, "nlicl.kernels") if path.is_relative_to(KERNELS) else (PACKAGE, "nlicl")
        parts = path.relative_to(base).with_suffix("").parts
        found[".".join([top, *parts]).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports_of(name):
    """Every module that `name` imports, anywhere in its source: `from . import x` counts as `package.x`, too."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def inside(module, *rooms):
    return any(module == room or module.startswith(room + ".") for room in rooms)


def in_room(room):
    return [name for name in MODULES if inside(name, room)]


def test_the_imports_are_read():
    """The tests below would pass on an empty list."""
    assert {
        "nlicl",
        "nlicl.models.front",
        "nlicl.models.transformer.reference",
        "nlicl.models.transformer.prompts",
    } < set(MODULES)
    assert {"nlicl.kernels", "nlicl.kernels.steps.dense", "nlicl.kernels.compile"} < set(MODULES)
    assert {"nlicl.kernels.layers.attention", "nlicl.kernels.products.add_product"} < set(
        imports_of("nlicl.kernels.steps.dense")
    )
    assert {"numpy", "nlicl.kernels.steps.dense", "nlicl.models.transformer.prompts.Params"} < set(
        imports_of("nlicl.models.front")
    )


# room: what it may import of nlicl. Whatever is not named is above it, or beside it and none of its business.
GROUND = ["nlicl.models.transformer.prompts"]
ALLOWED = {
    "nlicl.kernels": ["nlicl.kernels"],
    "nlicl.devices": ["nlicl.kernels"],  # imported when a GPU is asked for
    "nlicl.models.transformer.prompts": ["nlicl.devices"],
    "nlicl.core.checks": [],
    "nlicl.core.files": [],
    "nlicl.models.transformer.reference": GROUND,
    "nlicl.papers.li2024.mechanism": GROUND,
    "nlicl.models.front": [*GROUND, "nlicl.devices", "nlicl.kernels"],
    "nlicl.papers.li2024.baselines": GROUND,
    "nlicl.training.runs": [*GROUND, "nlicl.core.files", "nlicl.models.front"],
    "nlicl.training.descent": [
        *GROUND,
        "nlicl.core.checks",
        "nlicl.devices",
        "nlicl.models.front",
        "nlicl.training.runs",
    ],
    "nlicl.training": [
        *GROUND,
        "nlicl.core.checks",
        "nlicl.training.descent",
        "nlicl.devices",
        "nlicl.core.files",
        "nlicl.models.front",
        "nlicl.training.runs",
    ],
    "nlicl.papers.li2024.pruning": [*GROUND, "nlicl.models.front"],
    "nlicl.experiments.experiment": ["nlicl.training"],
}
UPSTAIRS = ["nlicl.cli", "nlicl.experiments.figures", "nlicl.experiments.theorem", "nlicl.sweep"]
RUNS = ["nlicl.training", "nlicl.training.descent", "nlicl.training.runs"]
FORBIDDEN = {
    "nlicl.papers": [*UPSTAIRS, "nlicl.audit", "nlicl.experiments.experiment", *RUNS],
    "nlicl.audit": [*UPSTAIRS, "nlicl.experiments.experiment", *RUNS],
    "nlicl.experiments.figures": ["nlicl.cli", "nlicl.experiments.theorem", "nlicl.audit"],
    "nlicl.experiments.theorem": ["nlicl.cli", "nlicl.experiments.figures", "nlicl.audit"],
    "nlicl.sweep": ["nlicl.cli"],
}


@pytest.mark.parametrize("room", ALLOWED)
def test_the_ground_floor_knows_only_what_it_stands_on(room):
    assert in_room(room)
    for name in in_room(room):
        ours = {module for module in imports_of(name) if inside(module, "nlicl")} - {"nlicl", "nlicl.__version__"}
        assert all(inside(module, *ALLOWED[room]) for module in ours), (name, ours)


@pytest.mark.parametrize("room", FORBIDDEN)
def test_nothing_looks_up(room):
    for name in in_room(room):
        for module in imports_of(name):
            assert not inside(module, *FORBIDDEN[room]), f"{name} imports {module}"


def test_the_audit_knows_no_paper():
    """Functions and arrays come to it; a paper registers its formulas, and is found by the registry alone."""
    papers = [name for name in in_room("nlicl.papers") if name.count(".") >= 2]
    for name in in_room("nlicl.audit"):
        for module in imports_of(name):
            assert not inside(module, *papers), f"{name} imports {module}"


def test_one_file_knows_cuda():
    for name in MODULES:
        if name != "nlicl.kernels.cuda":
            assert not any(inside(module, "numba.cuda") for module in imports_of(name)), name


@pytest.mark.parametrize("module", ["pickle", "shelve", "marshal", "dill", "joblib"])
def test_nothing_unpickles(module):
    """A file of someone else's is data, never code to run."""
    for name in MODULES:
        assert not any(inside(found, module) for found in imports_of(name)), name


def test_numba_is_imported_by_kernels_alone():
    """The decorators' policy is in one place, instructions for it in another; elsewhere numba may be asked for its version
    (the doctor), no more."""
    for name in MODULES:
        if inside(name, "nlicl.kernels") and name not in (
            "nlicl.kernels.compile",
            "nlicl.kernels.vectors",
            "nlicl.kernels.cuda",
        ):
            assert not any(inside(module, "numba") for module in imports_of(name)), name


def test_every_package_is_installed():
    """pyproject.toml lists packages by name, since kernels/ lies outside of nlicl/."""
    path = ROOT / "pyproject.toml"
    if not path.exists():
        pytest.skip("installed: there is no pyproject.toml")
    listed = tomllib.loads(path.read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(name for name in MODULES if MODULES[name].name == "__init__.py")


# ---------------------------------------------------------------- what an import costs


def test_import_is_quick_and_light():
    """Under one second, best of three, warm; it loads no compiler, no plotting, no framework."""
    code = f"""
import sys, time
start = time.perf_counter()
import nlicl
print(time.perf_counter() - start, [name for name in {HEAVY!r} if name in sys.modules])
"""
    runs = [python(code).split(maxsplit=1) for _ in range(3)]
    assert min(float(seconds) for seconds, _ in runs) < 1.0
    assert {loaded for _, loaded in runs} == {"[]"}


@pytest.mark.parametrize("module", ["nlicl.models.transformer.reference", "nlicl.models.transformer.prompts"])
def test_the_definition_needs_no_compiler(module):
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert python(code) == "[]"


def test_working_needs_no_plotting():
    code = "import sys, nlicl; nlicl.loss_and_grad; print('matplotlib' in sys.modules, 'numba' in sys.modules)"
    assert python(code) == "False True"


def test_names_are_there_when_asked_for(tmp_path):
    import nlicl

    for name in nlicl.__all__:
        if name != "audit_formula" or "nlicl.audit" in MODULES:
            assert getattr(nlicl, name) is not None
    assert set(nlicl.__all__) <= set(dir(nlicl))
    with pytest.raises(AttributeError, match=r"module 'nlicl' has no attribute 'nothing'; it offers .*loss_and_grad"):
        nlicl.nothing  # noqa: B018
    kernels = sys.modules[nlicl.loss_and_grad.__module__].dense.__name__
    assert kernels == "nlicl.kernels.steps.dense"
    # from any folder, and from the checkout itself, the same kernels
    code = "import nlicl.kernels; print(nlicl.kernels.__file__)"
    assert python(code, cwd=tmp_path) == python(code, cwd=ROOT) == str(KERNELS / "__init__.py")
