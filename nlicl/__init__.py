"""nlicl: nonlinear in-context learning. One definition, handwritten gradients, and an audit that holds them apart.

    >>> import nlicl
    >>> from nlicl.papers import li2024
    >>> problem = li2024.Problem()
    >>> prompts = problem.sample(256, length=20, alpha=0.8, seed=0)
    >>> params = problem.initialize(m=64, seed=0)
    >>> loss, grads = nlicl.loss_and_grad(params, prompts, loss="hinge")
    >>> report = nlicl.audit_formula(li2024.formulas["W_Q"])

Names below are loaded on first use, so that `import nlicl` costs nothing and the definition
(`nlicl.reference`) can be used without the compiler.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

__version__ = "0.1.0"

_WHERE = {
    "Params": "nlicl.types",
    "Prompt": "nlicl.types",
    "Prompts": "nlicl.types",
    "CodedPrompts": "nlicl.types",
    "forward": "nlicl.model",
    "loss_and_grad": "nlicl.model",
    "to_device": "nlicl.devices",
    "to_host": "nlicl.devices",
    "train": "nlicl.training",
    "load_run": "nlicl.runs",
    "Diverged": "nlicl.runs",
    "audit_formula": "nlicl.audit",
    "audit_gradient": "nlicl.audit",
}
__all__ = [*_WHERE, "__version__"]


def __getattr__(name):
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'nlicl' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__():
    return sorted(__all__)


def _find_kernels_of_a_checkout():
    """Make `nlicl.kernels` importable when this folder is the checkout's own, where `kernels/` lies beside it.

    An installed package has the kernels inside; there is nothing to do then. But Python prefers the checkout to
    the installed package when it is started in the checkout's top folder (`python -m pytest`, say).
    """
    here = Path(__file__).resolve().parent
    beside = here.parent / "kernels" / "__init__.py"
    if (here / "kernels").exists() or not beside.exists() or "nlicl.kernels" in sys.modules:
        return

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name != "nlicl.kernels":
                return None
            return importlib.util.spec_from_file_location(name, beside, submodule_search_locations=[str(beside.parent)])

    sys.meta_path.insert(0, Finder)


_find_kernels_of_a_checkout()
