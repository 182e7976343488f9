"""The problems that are timed. A case carries all in which models differ: `Case` of `transformer`, `linear`, `concepts` and
`gpt2` has

name, B, sizes                  which
make(dtype)                     its data, from a seed: `peers.Data`
implementations                 name -> `peers.Implementation`
numpy_step(params, *arrays)     loss and gradients, what implementations are held against
loss(params, prompt)            the paper's definition, what the NumPy step is held against
prompt_bytes(dtype, given)      what memory is compared with
costs(dtype, given)             what a step has to do
"""

import concepts
import gpt2
import linear
import transformer

CASES = transformer.CASES + linear.CASES + concepts.CASES + gpt2.CASES
QUICK = (transformer.CASES[0], linear.CASES[0], concepts.CASES[0], gpt2.CASES[0])  # the smallest of each
DTYPES = ("float64", "float32")
TINY = {type(case): case for case in (transformer.TINY, linear.TINY, concepts.TINY, gpt2.TINY)}


def named(name):
    """The case of this name; KeyError if there is none."""
    return {case.name: case for case in CASES}[name]


def tiny(case):
    """A small case of the same model: to check the NumPy step, and to load code and start threads before memory is measured
    (so it has prompts for several chunks)."""
    return TINY[type(case)]
