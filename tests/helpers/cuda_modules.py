"""The modules of the GPU's kernels as one: a name that several of them have is replaced in all of them."""

import sys

PREFIX = "nlicl.kernels.cuda"


def modules():
    """Short name -> module: compile, block, dense, ..., and the package itself under an empty name."""
    return {
        name.removeprefix(PREFIX).removeprefix("."): module
        for name, module in sorted(sys.modules.items())
        if name == PREFIX or name.startswith(PREFIX + ".")
    }


def own(kind):
    """Yields "module.name" and the value of everything of a kind, such as a function, that a module itself defines."""
    for short, module in modules().items():
        for name, value in vars(module).items():
            if isinstance(value, kind) and value.__module__ == module.__name__:
                yield f"{short}.{name}", value


def replace(monkeypatch, name, value):
    """Set a name in every module that has it."""
    there = [module for module in modules().values() if name in vars(module)]
    assert there, f"no module of the GPU's kernels has {name}"
    for module in there:
        monkeypatch.setattr(module, name, value)
