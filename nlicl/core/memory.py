"""Whether what is asked for fits into memory: said before it is made, or the system may end the process without a word."""

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .errors import InvalidValue

__all__ = [
    "check_count",
    "check_draw",
    "check_memory",
    "check_tokens",
    "fitting_processes",
    "share_memory",
    "shared_memory",
]

_MiB, _GiB = 2**20, 2**30
_ADDRESSABLE = 2**47  # bytes: more than a process can have, where the system does not say what there is
_processes = 1  # that share the machine's memory
_SMALL = 64 * _MiB  # up to here no file is read: where this does not fit, nothing does
_STATISTIC = re.compile(r"^(\w+) (\d{1,20})$", re.MULTILINE)


def check_memory(what: str, needed: int, advice: str) -> None:
    """Refuse what is larger than the memory there is.

    That is the least of the machine's memory, of what this process's control groups leave (a container's limit, less what
    is in use in it), and of what the process's own limits leave (`ulimit -v`, `ulimit -d`). Of the machine it is all, in
    use or not: the system can take most of that back, and what it cannot is not this library's to know. Pages of files do
    not count as in use. Swap does not count as memory: computations go over all of an array again and again.

    Parameters
    ----------
    what : str
        What it is and where its size comes from: the beginning of the error.
    needed : int
        Bytes, beside what is in use already.
    advice : str
        What to do: the end of the error.

    Raises
    ------
    ValueError
        `needed` is more than there is.
    """
    total = _memory()
    there, says = _ADDRESSABLE, "no machine has that much memory"
    if total:
        there, says = total // _processes, f"there are {_size(total)} of memory{_together()}"
    if needed > _SMALL:
        for limit in _limits(Path("/")):
            if limit.left < there:
                there, says = limit.left, limit.says()
    if needed > there:
        raise InvalidValue(f"{what}, {_size(needed)}, and {says}. {advice}")


def share_memory(processes: int) -> None:
    """From now on this process is one of so many that do the same: each has its part of the machine and of its groups."""
    global _processes
    _processes = processes


def fitting_processes(each: int) -> int:
    """How many processes of so many bytes fit into memory, at least 1."""
    return max(1, shared_memory() // each)


def shared_memory() -> int:
    """Bytes that this process and its children may take together."""
    total = _memory() or _ADDRESSABLE
    return min([total, *(limit.left for limit in _limits(Path("/")) if limit.shared)])


def _together() -> str:
    return f" for {_processes} processes" if _processes > 1 else ""


def check_draw(n: int, length: int, each: int) -> None:
    """ValueError if n prompts with so many contexts do not fit into memory while they are drawn, `each` bytes a token."""
    tokens = n * (length + 1)
    check_memory(
        f"n is {n} with length {length}: drawing holds {each} bytes for each of {tokens} tokens",
        each * tokens,
        "Lower n or length, and draw several times, with other seeds.",
    )


def check_count(name: str, values: object, each: int) -> None:
    """ValueError if `values` is a range whose numbers do not fit into memory as a list, `each` bytes a number."""
    if isinstance(values, range) and values:
        count = (values[-1] - values[0]) // values.step + 1  # len counts to 2**63 only
        check_memory(f"{name} has {count} entries", each * count, "Give fewer.")


def check_tokens(prompts: int, rows: int, width: int, each: int, more: int = 0) -> None:
    """ValueError if so many prompts do not fit into memory as tokens, `each` bytes a number and `more` in all."""
    check_memory(
        f"the prompts are {prompts} of {rows} tokens: as arrays these hold {width} numbers each",
        each * prompts * rows * width + more,
        "Take fewer of them, prompts[:n].",
    )


def _size(number: int) -> str:
    """A number of bytes in words: 16 GiB, 2.5 GiB, 200 MiB."""
    if number < _GiB:
        return f"{number / _MiB:,.0f} MiB"
    size = number / _GiB
    digits = f"{size:.1f}".removesuffix(".0") if size < 10 else f"{size:,.0f}" if size < 1e9 else f"{size:.1g}"
    return f"{digits} GiB"


def _memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


# ---- Limits beside the machine's


class _Limit(NamedTuple):
    """A limit in bytes, what it is called, what of it is left for this process, and whether others share it."""

    most: int
    name: str
    left: int
    shared: bool = False

    def says(self) -> str:
        if self.left == self.most:
            return f"there are {_size(self.most)} (this {self.name})"
        together = _together() if self.shared else ""
        return f"{_size(self.left)} are left of {_size(self.most)} (this {self.name}{together})"


def _limits(root: Path) -> Iterator[_Limit]:
    """The limits that this process has, by the files under `root`. What cannot be read is left out."""
    yield from _own_limits(root)
    for folder, version in _groups(root):
        limit = _of_group(folder, version)
        if limit is not None:
            yield limit


def _own_limits(root: Path) -> Iterator[_Limit]:
    """Soft limits of the process, RLIMIT_AS and RLIMIT_DATA."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    in_use = (_read(root / "proc/self/statm") or "").split()  # in pages: the address space first, data sixth
    page = os.sysconf("SC_PAGE_SIZE")
    for kind, place, option in ((resource.RLIMIT_AS, 0, "-v"), (resource.RLIMIT_DATA, 5, "-d")):
        most, _ = resource.getrlimit(kind)
        if most == resource.RLIM_INFINITY or most < 0:
            continue
        used = page * int(in_use[place]) if len(in_use) > place and _is_number(in_use[place]) else 0
        yield _Limit(most, f"process's limit, ulimit {option}", max(0, most - used))


def _of_group(folder: Path, version: int) -> _Limit | None:
    """The limit of one control group, less what is in use in it; None if it has none.

    In use are anonymous memory and files in memory. Version 2 counts them for a group with all below it; version 1 does so
    under names of their own, and it also tells the least limit of the groups above, which may not be seen from here.
    """
    limit = _read(folder / ("memory.max" if version == 2 else "memory.limit_in_bytes"))
    counted = dict(_STATISTIC.findall(_read(folder / "memory.stat") or ""))
    limits = [
        text for text in ((limit or "").strip(), counted.get("hierarchical_memory_limit", "")) if _is_number(text)
    ]
    if not limits:
        return None
    most = min(map(int, limits))
    used = sum(
        int(counted.get(name, 0)) for name in (("anon", "shmem") if version == 2 else ("total_rss", "total_shmem"))
    )
    return _Limit(most, "control group's limit", max(0, min(most - used, most // _processes)), shared=True)


@functools.cache
def _groups(root: Path) -> tuple[tuple[Path, int], ...]:
    """The folders of the control groups that this process is in, with the version of each: its own, and those above it."""
    mounts = [*_mounts(root)]
    found: dict[tuple[Path, int], None] = {}
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, mine = rest.partition(":")
        version = 2 if number == "0" and not controllers else 1
        if version == 1 and "memory" not in controllers.split(","):
            continue
        for of, top, mount in mounts:
            if of == version:
                found |= dict.fromkeys((folder, version) for folder in _upwards(root, top, mount, mine))
    return tuple(found)


def _upwards(root: Path, top: str, mount: str, mine: str) -> Iterator[Path]:
    """The folders from the group `mine` up to the mount, at which the group `top` is seen."""
    parts: tuple[str, ...] = ()
    if ".." not in mine.split("/"):  # it would lie outside of what is seen here
        try:
            parts = PurePosixPath(mine).relative_to(top).parts
        except ValueError:  # another view of the tree than the mount's: the mount itself is the container's group
            parts = ()
    base = root / mount.lstrip("/")
    for depth in range(len(parts), -1, -1):
        yield base.joinpath(*parts[:depth])


def _mounts(root: Path) -> Iterator[tuple[int, str, str]]:
    """(version, the group at its top, where it is mounted) of every tree of control groups with memory that is listed."""
    for line in (_read(root / "proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2" or (kind[0] == "cgroup" and "memory" in kind[2].split(",")):
            yield 2 if kind[0] == "cgroup2" else 1, _unescaped(fields[3]), _unescaped(fields[4])


def _unescaped(text: str) -> str:
    r"""A path as mountinfo has it, where a space is \040."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)


def _is_number(text: str) -> bool:
    """Whether a file holds a number of bytes; "max" is none."""
    return text.isascii() and text.isdecimal() and len(text) <= 20


def _read(path: Path) -> str | None:
    """The text of a small file; None if it cannot be read."""
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(100_000)
    except (OSError, ValueError):
        return None
