"""What does not fit into memory is refused with its size, and nothing else is."""

import pytest

from nlicl.core import memory
from nlicl.core.errors import InvalidValue
from nlicl.core.memory import check_memory

GiB = 2**30


def test_what_does_not_fit(monkeypatch):
    monkeypatch.setattr(memory, "_memory", lambda: 16 * GiB)
    check_memory("n is 3: an array", 16 * GiB, "Lower it.")
    with pytest.raises(InvalidValue) as caught:
        check_memory("n is 3: an array", 17 * GiB, "Lower it.")
    assert str(caught.value) == "n is 3: an array, 17 GiB, and there are 16 GiB of memory. Lower it."
    with pytest.raises(InvalidValue, match=r"an array, 7e\+47 GiB, and there are 16 GiB"):
        check_memory("an array", 2**63 * 2**63 * 2**63, "Lower it.")


def test_where_the_system_does_not_say(monkeypatch):
    monkeypatch.setattr(memory, "_memory", lambda: None)
    check_memory("an array", 2**47, "Lower it.")
    with pytest.raises(InvalidValue, match=r"an array, 262,144 GiB, and no machine has that much memory. Lower it."):
        check_memory("an array", 2**48, "Lower it.")


def test_the_memory_of_this_machine():
    found = memory._memory()
    assert found is None or 2**26 < found < 2**47
