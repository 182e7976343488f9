"""The order of the house: what may import what, and what an import may cost. Read from the sources and a fresh process."""

import ast
import graphlib
import os
import sys

import pytest
import trees
from child import KERNELS, ROOT, python

PACKAGE = ROOT / "nlicl"
HEAVY = ("matplotlib", "numba", "scipy", "sklearn", "torch", "jax", "nlicl.kernels")


def modules():
    """Dotted name -> path of every module of the library, the kernels under the name they are installed by."""
    found = {}
    own = [path for path in PACKAGE.rglob("*.py") if not path.is_relative_to(PACKAGE / "kernels")]
    for path in sorted([*own, *KERNELS.rglob("*.py")]):
        base, top = (KERNELS, "nlicl.kernels") if path.is_relative_to(KERNELS) else (PACKAGE, "nlicl")
        parts = path.relative_to(base).with_suffix("").parts
        found[".".join([top, *parts]).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def tree_of(name):
    return trees.tree_of(MODULES[name])


def resolved(name, node):
    """The module that `from ... import` in the module `name` means."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    return ".".join([*base, *([node.module] if node.module else [])])


def imports_of(name, at_import=False):
    """Every module that `name` imports, anywhere in its source, or at its own import only: `from . import x` counts as
    `package.x`, too."""
    tree = tree_of(name)
    for node in outside_functions(tree) if at_import else trees.nodes_of(MODULES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolved(name, node)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def outside_functions(tree):
    """What runs at import: not what is for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        for_checkers = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not isinstance(node, (ast.FunctionDef, ast.Lambda)) and not for_checkers:
            yield node
            yield from outside_functions(node)


def defined_in(name):
    """The names that stand at the top level of a module."""
    found = set()
    for node in tree_of(name).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name) for alias in node.names}
        for target in ast.walk(node) if isinstance(node, (ast.Assign, ast.AnnAssign, ast.If, ast.For)) else ():
            if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store):
                found.add(target.id)
    return found


def loaded_late(name):
    """name -> module below this one that it is loaded from on first use, as `_WHERE` of the audit says."""
    assigned = (node for node in tree_of(name).body if isinstance(node, ast.Assign))
    return next((ast.literal_eval(node.value) for node in assigned if ast.unparse(node.targets[0]) == "_WHERE"), {})


def all_of(name):
    """`__all__` of a module; empty where it has none."""
    for node in tree_of(name).body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return [item.value for item in node.value.elts if isinstance(item, ast.Constant)]
    return []


ALL = {name: all_of(name) for name in MODULES}


def inside(module, *rooms):
    return any(module == room or module.startswith(room + ".") for room in rooms)


def in_room(room):
    return [name for name in MODULES if inside(name, room)]


def test_the_imports_are_read():
    """The tests below would pass on an empty list."""
    assert {"nlicl", "nlicl.models.front", "nlicl.models.transformer.reference", "nlicl.devices"} < set(MODULES)
    assert {"nlicl.kernels", "nlicl.kernels.steps.dense", "nlicl.kernels.compile"} < set(MODULES)
    dense = set(imports_of("nlicl.kernels.steps.dense"))
    assert {"nlicl.kernels.layers.attention", "nlicl.kernels.products.add_product"} < dense
    assert {"nlicl.devices", "nlicl.models.model.enter", "nlicl.core.errors.InvalidType"} < set(
        imports_of("nlicl.models.front")
    )


# Rooms from the ground up: what each may import of nlicl, itself apart. See docs/the-house.md.
ROOMS = {
    "nlicl.core": [],
    "nlicl.kernels": ["nlicl.core"],
    "nlicl.devices": ["nlicl.core", "nlicl.kernels"],
    "nlicl.audit": ["nlicl.core", "nlicl.devices"],
    "nlicl.models": ["nlicl.core", "nlicl.kernels", "nlicl.devices", "nlicl.audit"],
    "nlicl.papers": ["nlicl.core", "nlicl.kernels", "nlicl.devices", "nlicl.audit", "nlicl.models"],
    "nlicl.training": ["nlicl.core", "nlicl.kernels", "nlicl.devices", "nlicl.models"],
    "nlicl.experiments": [
        "nlicl.core",
        "nlicl.kernels",
        "nlicl.devices",
        "nlicl.models",
        "nlicl.papers",
        "nlicl.training",
    ],
    "nlicl.doctor": ["nlicl.core", "nlicl.kernels", "nlicl.devices", "nlicl.models"],
    "nlicl.cli": ["nlicl"],
}


def room_of(module):
    return next((room for room in ROOMS if inside(module, room)), "nlicl")


def test_every_module_is_in_a_room():
    outside = {name for name in MODULES if room_of(name) == "nlicl"}
    assert outside == {"nlicl", "nlicl.__main__"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_only_what_it_stands_on(room):
    assert in_room(room)
    for name in in_room(room):
        ours = {module for module in imports_of(name) if inside(module, "nlicl")} - {"nlicl", "nlicl.__version__"}
        assert all(inside(module, room, *ROOMS[room]) for module in ours), (name, ours)


def test_models_know_of_the_audit_what_a_subject_is():
    """What an audit does is none of a model's business, nor of a paper's."""
    for name in [*in_room("nlicl.models"), *in_room("nlicl.papers")]:
        for module in imports_of(name):
            known = inside(module, "nlicl.audit.subject", "nlicl.audit.mistakes") or module == "nlicl.audit"
            assert known or not inside(module, "nlicl.audit"), f"{name} imports {module}"


def test_papers_do_not_know_each_other():
    for paper in PAPERS:
        others = [f"nlicl.{room}.{name}" for room in ("papers", "experiments") for name in PAPERS if name != paper]
        for name in [*in_room(f"nlicl.papers.{paper}"), *in_room(f"nlicl.experiments.{paper}")]:
            assert not [module for module in imports_of(name) if inside(module, *others)], name


PAPERS = sorted(
    {path.parent.name for path in PACKAGE.glob("papers/*/__init__.py")} & set(os.listdir(PACKAGE / "experiments"))
)


@pytest.mark.parametrize(
    "room", ["nlicl.core", "nlicl.kernels", "nlicl.audit", "nlicl.training", "nlicl.cli", "nlicl.devices"]
)
def test_what_serves_every_paper_names_none(room):
    """A paper is found by the register alone. Its name may stand in a docstring, as an example, and as a default."""
    for name in in_room(room):
        for module in imports_of(name):
            named = [paper for paper in PAPERS if inside(module, f"nlicl.papers.{paper}", f"nlicl.experiments.{paper}")]
            assert not named, f"{name} imports {module}"


def test_nothing_goes_in_a_circle():
    """No module needs itself, by whatever way, to be imported; what a function imports when it is called does not count."""
    graph = {name: set() for name in MODULES}
    for name in MODULES:
        for module in imports_of(name, at_import=True):
            while module and module not in MODULES:
                module = module.rpartition(".")[0]
            if module and module != name and not name.startswith(module + "."):  # a package is there before its modules
                graph[name].add(module)
    list(graphlib.TopologicalSorter(graph).static_order())


def test_names_from_other_rooms_are_offered():
    """`__all__` is a module's real surface: nothing else of it is imported by another room."""
    for name in MODULES:
        for node in ast.walk(tree_of(name)):
            if not isinstance(node, ast.ImportFrom):
                continue
            module = resolved(name, node)
            if module not in MODULES or room_of(module) == room_of(name):
                continue
            for alias in node.names:
                there = f"{module}.{alias.name}" in MODULES or alias.name in ALL[module]
                assert there or module == "nlicl", f"{name} imports {alias.name}, which {module} does not offer"


def test_what_is_offered_is_there():
    for name, offered in ALL.items():
        if offered and name != "nlicl":
            there = defined_in(name) | {
                other.rpartition(".")[2] for other in MODULES if other.rpartition(".")[0] == name
            }
            there |= {late for late, module in loaded_late(name).items() if late in ALL[f"{name}.{module}"]}
            assert set(offered) <= there, (name, set(offered) - there)


def test_modules_are_short():
    for name, path in MODULES.items():
        length = len(path.read_text(encoding="utf-8").splitlines())
        assert length <= 400, f"{name} has {length} lines"


@pytest.mark.parametrize("folder", ["nlicl", "kernels", "bench", "docs", "tests"])
def test_no_text_is_cited_that_a_reader_does_not_have(folder):
    words = ["our spec" + "ification", "the spec" + "ification", "section of " + "our"]
    for path in sorted([*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.md")]):
        text = " ".join(path.read_text(encoding="utf-8").split())
        assert not [word for word in words if word in text], path


def test_one_file_knows_cuda():
    for name in MODULES:
        if name != "nlicl.kernels.cuda.compile":
            assert not any(inside(module, "numba.cuda") for module in imports_of(name)), name


@pytest.mark.parametrize("module", ["pickle", "shelve", "marshal", "dill", "joblib"])
def test_nothing_unpickles(module):
    """A file of someone else's is data, never code to run. Only the user's own compiled kernels, which numba gives no other
    form, are read in this way, once their checksum holds."""
    for name in MODULES:
        exempt = (name, module) == ("nlicl.kernels.cache", "pickle")
        assert exempt or not any(inside(found, module) for found in imports_of(name)), name


def test_numba_is_imported_by_kernels_alone():
    """The decorators' policy is in one place, instructions for it in another; elsewhere numba may be asked for its version
    (the doctor), no more."""
    policy = {
        f"nlicl.kernels.{name}"
        for name in ("address", "compile", "cache", "inside", "memory", "source", "reach", "cuda.compile")
    }
    for name in in_room("nlicl.kernels"):
        own = name in policy or name.startswith("nlicl.kernels.vectors")
        assert own or not any(inside(module, "numba") for module in imports_of(name)), name


def test_every_package_is_found():
    """setuptools finds packages by itself: each folder with Python files is one, kernels by a link inside of nlicl."""
    folders = {path.parent for path in MODULES.values()}
    assert all((folder / "__init__.py").exists() for folder in folders)
    link = PACKAGE / "kernels"
    assert not link.is_symlink() or link.resolve() == KERNELS.resolve()


# ---------------------------------------------------------------- what an import costs


def test_import_is_quick_and_light():
    """The target is 10 ms, and 1 ms is what it takes; a busy machine is slower. The best of five fresh processes, warm. It
    loads no compiler, no plotting, no framework."""
    code = f"""
import sys, time
start = time.perf_counter()
import nlicl
print(time.perf_counter() - start, [name for name in {HEAVY!r} if name in sys.modules])
"""
    runs = [python(code).split(maxsplit=1) for _ in range(5)]
    assert min(float(seconds) for seconds, _ in runs) < 0.05
    assert {loaded for _, loaded in runs} == {"[]"}


FIRST = """
import importlib, os, sys
names = sys.argv[1:]
for name in names:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException as error:
            print(f"{name}: {type(error).__name__}: {error}", flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, name
print(len(names), "nlicl" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a copy of a fresh process for each module")
def test_every_module_can_be_imported_first(tmp_path):
    """What one module needs is never there because another one was imported before. The compiler is loaded
    once, before anything of nlicl, and each module is imported first in a copy of that process; sources are read once."""
    code = "import numba, numpy\n" + FIRST
    found = python(code, *MODULES, unset=("PYTHONDONTWRITEBYTECODE",), PYTHONPYCACHEPREFIX=str(tmp_path))
    assert found == f"{len(MODULES)} False"


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
    assert "nlicl.kernels.steps.dense" in sys.modules
    # from any folder, and from the checkout itself, the same kernels
    code = "import nlicl.kernels; print(nlicl.kernels.__file__)"
    assert python(code, cwd=tmp_path) == python(code, cwd=ROOT) == str(PACKAGE / "kernels" / "__init__.py")
