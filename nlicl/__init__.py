"""nlicl: nonlinear in-context learning. One definition, handwritten gradients, and an audit that tells right from wrong.

    >>> import nlicl
    >>> from nlicl.papers import li2024
    >>> problem = li2024.Problem()
    >>> prompts = problem.sample(256, length=20, alpha=0.8, seed=0)
    >>> params = problem.initialize(m=64, seed=0)
    >>> loss, grads = nlicl.loss_and_grad(params, prompts, loss="hinge")
    >>> report = nlicl.audit_formula(li2024.formulas["W_Q"])

Names below are loaded on first use, so `import nlicl` is fast, and the definition
(`nlicl.models.transformer.reference`) can be used without the compiler.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what editors and type checkers see; `_WHERE` says the same to Python
    from .audit import assert_gradient, audit_formula, audit_gradient
    from .core.progress import progress
    from .core.slider import slider
    from .devices import to_device, to_host
    from .experiments.sweeps.run import sweep
    from .models.front import forward, loss_and_grad
    from .models.prompt import Prompt
    from .models.transformer.prompts import CodedPrompts, Params, Prompts
    from .training import Diverged, load_run, train

__version__ = "0.1.0"

_WHERE = {
    "Params": "nlicl.models.transformer.prompts",
    "Prompt": "nlicl.models.prompt",
    "Prompts": "nlicl.models.transformer.prompts",
    "CodedPrompts": "nlicl.models.transformer.prompts",
    "forward": "nlicl.models.front",
    "loss_and_grad": "nlicl.models.front",
    "to_device": "nlicl.devices",
    "to_host": "nlicl.devices",
    "train": "nlicl.training",
    "load_run": "nlicl.training",
    "progress": "nlicl.core.progress",
    "slider": "nlicl.core.slider",
    "sweep": "nlicl.experiments.sweeps.run",
    "Diverged": "nlicl.training",
    "audit_formula": "nlicl.audit",
    "assert_gradient": "nlicl.audit",
    "audit_gradient": "nlicl.audit",
}
__all__ = [
    "CodedPrompts",
    "Diverged",
    "Params",
    "Prompt",
    "Prompts",
    "__version__",
    "assert_gradient",
    "audit_formula",
    "audit_gradient",
    "forward",
    "load_run",
    "loss_and_grad",
    "progress",
    "slider",
    "sweep",
    "to_device",
    "to_host",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        found = globals()[name] = getattr(importlib.import_module(_WHERE[name]), name)
        return found
    raise AttributeError(f"module 'nlicl' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
