"""The problems that are timed. A case carries all in which models differ: `Case` of a module in models/ has

name, B, sizes                  which
make(dtype)                     its data, from a seed: `peers.Data`
implementations                 name -> `peers.Implementation`
numpy_step(params, *arrays)     loss and gradients, what implementations are held against
loss(params, prompt)            the paper's definition, what the NumPy step is held against
prompt_bytes(dtype, given)      what memory is compared with
costs(dtype, given)             what a step has to do

A module there has its `CASES`, the smallest first, and a `TINY` one. It is found by lying there.
"""

import importlib
import pkgutil

import models

FIRST = "transformer"
MODULES = [
    importlib.import_module(f"models.{name}")
    for name in sorted((module.name for module in pkgutil.iter_modules(models.__path__)), key=lambda n: (n != FIRST, n))
]
CASES = tuple(case for module in MODULES for case in module.CASES)
QUICK = tuple(module.CASES[0] for module in MODULES)
DTYPES = ("float64", "float32")
TINY = {type(module.TINY): module.TINY for module in MODULES}


def named(name):
    """The case of this name; KeyError if there is none."""
    return {case.name: case for case in CASES}[name]


def tiny(case):
    """A small case of the same model: to check the NumPy step, and to load code and start threads before memory is measured
    (so it has prompts for several chunks)."""
    return TINY[type(case)]
