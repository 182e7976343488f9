"""What a step must do, in numbers: bytes, multiply-adds, exponentials, look-ups. `bench/limits.py` makes times of them.

They stand beside their kernels: `counts` in `dense`, `apart`, `coded`, `sparse` and `linear`, and `linear.coded_counts`. A
test runs the kernels' source on numbers that count.
"""

from typing import NamedTuple


class Counts(NamedTuple):
    """Of one step, loss and gradients; where there are hinge and neurons, with the hinge active in every prompt and every
    neuron on.

    Attributes
    ----------
    bytes : int
        Prompts and parameters read once, gradients written once.
    multiply_adds : int
        Multiplications, each with its addition.
    exponentials : int
    look_ups : int
        Numbers of a small table read, or added to, at an index that a code holds.
    """

    bytes: int
    multiply_adds: int
    exponentials: int
    look_ups: int
