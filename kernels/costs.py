"""What a step must do, in numbers: bytes, multiply-adds, exponentials, look-ups. `bench/limits.py` makes times of them.

The costs of a step stand beside it: `costs` in each module of `steps`, and `regression.coded_costs`. A test runs the source
of the steps on numbers that count.
"""

from typing import NamedTuple

__all__ = ["Costs"]


class Costs(NamedTuple):
    """Of one step, loss and gradients; where there are hinge and neurons, with the hinge active in every prompt and every
    neuron on.

    Attributes
    ----------
    bytes : int
        Prompts and parameters read once, gradients written once.
    multiply_adds : float
        Multiplications, each with its addition; an average, where prompts differ.
    exponentials : float
    look_ups : int
        Numbers of a small table read, or added to, at an index that a code holds.
    """

    bytes: int
    multiply_adds: float
    exponentials: float
    look_ups: int
