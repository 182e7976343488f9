"""What does not fit into memory is refused with its size, and nothing else is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nlicl.core import memory
from nlicl.core.errors import InvalidValue
from nlicl.core.memory import check_draw, check_memory, fitting_processes
from nlicl.experiments.pool import workers

MiB, GiB = 2**20, 2**30


@pytest.fixture
def machine(monkeypatch):
    """A machine of so much memory, without other limits."""

    def has(total, limits=()):
        monkeypatch.setattr(memory, "_memory", lambda: total)
        monkeypatch.setattr(memory, "_limits", lambda root: iter(limits))

    return has


def test_what_does_not_fit(machine):
    machine(16 * GiB)
    check_memory("n is 3: an array", 16 * GiB, "Lower it.")
    with pytest.raises(InvalidValue) as caught:
        check_memory("n is 3: an array", 17 * GiB, "Lower it.")
    assert str(caught.value) == "n is 3: an array, 17 GiB, and there are 16 GiB of memory. Lower it."
    with pytest.raises(InvalidValue, match=r"an array, 7e\+47 GiB, and there are 16 GiB"):
        check_memory("an array", 2**63 * 2**63 * 2**63, "Lower it.")


def test_where_the_system_does_not_say(machine):
    machine(None)
    check_memory("an array", 2**47, "Lower it.")
    with pytest.raises(InvalidValue, match=r"an array, 262,144 GiB, and no machine has that much memory. Lower it."):
        check_memory("an array", 2**48, "Lower it.")


def test_the_memory_of_this_machine():
    found = memory._memory()
    assert found is None or 2**26 < found < 2**47


def test_the_least_of_all_limits_counts_and_is_named(machine):
    group, own = (
        memory._Limit(3 * GiB, "control group's limit", 3 * GiB),
        memory._Limit(8 * GiB, "process's limit", GiB),
    )
    machine(16 * GiB, [group])
    check_memory("an array", 3 * GiB, "Lower it.")
    with pytest.raises(InvalidValue) as caught:
        check_memory("an array", 7 * GiB // 2, "Lower it.")
    assert str(caught.value) == "an array, 3.5 GiB, and there are 3 GiB (this control group's limit). Lower it."
    machine(16 * GiB, [group, own])
    with pytest.raises(InvalidValue, match=r"1.5 GiB, and 1 GiB are left of 8 GiB \(this process's limit\)"):
        check_memory("an array", 3 * GiB // 2, "Lower it.")
    machine(512 * MiB, [group])
    with pytest.raises(InvalidValue, match="1 GiB, and there are 512 MiB of memory"):
        check_memory("an array", GiB, "Lower it.")


def test_what_is_small_reads_no_files(machine, monkeypatch):
    machine(16 * GiB)
    monkeypatch.setattr(memory, "_limits", lambda root: pytest.fail("files were read"))
    check_memory("an array", 64 * MiB, "Lower it.")


def test_a_draw(machine):
    machine(GiB)
    check_draw(1000, 99, 10)
    with pytest.raises(InvalidValue, match=r"^n is 1000000000 with length 99: .* of 100000000000 tokens, 931 GiB"):
        check_draw(10**9, 99, 10)


# ---- Control groups, by trees of files


class Tree:
    """A file system with /proc and /sys of its own."""

    def __init__(self, root):
        self.root = root

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def group(self, path, limit, in_use=0):
        """A group of version 2."""
        self.write(f"{path}/memory.max", f"{limit}\n")
        self.write(f"{path}/memory.stat", f"anon {in_use}\nfile 999999999999\nshmem {MiB}\nkernel 77\n")

    def first(self, path, limit, in_use=0, above=2**63 - 4096):
        """A group of version 1."""
        self.write(f"{path}/memory.limit_in_bytes", f"{limit}\n")
        more = f"rss 1\nhierarchical_memory_limit {above}\ntotal_cache 888888888888\ntotal_rss {in_use}\n"
        self.write(f"{path}/memory.stat", more)

    def limits(self):
        return [(limit.most, limit.left) for limit in memory._limits(self.root)]


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


V2 = "30 23 0:26 {top} {mount} rw,nosuid - cgroup2 cgroup2 rw\n"
V1 = (
    "32 31 0:29 {top} {mount} rw - cgroup cgroup rw,memory\n31 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
)


def test_groups_of_version_2_from_this_one_upwards(tree):
    tree.write(
        "proc/self/mountinfo", "20 1 8:1 / / rw - ext4 /dev/sda rw\n" + V2.format(top="/", mount="/sys/fs/cgroup")
    )
    tree.write("proc/self/cgroup", "0::/pod/box\n")
    tree.group("sys/fs/cgroup/pod/box", "max")
    tree.group("sys/fs/cgroup/pod", 3 * GiB, GiB)
    tree.group("sys/fs/cgroup/other", GiB)
    assert tree.limits() == [(3 * GiB, 2 * GiB - MiB)]
    tree.group("sys/fs/cgroup/pod/box", 2 * GiB, 5 * GiB)
    assert tree.limits() == [(2 * GiB, 0), (3 * GiB, 2 * GiB - MiB)]


def test_a_container_that_sees_its_own_group_as_the_whole(tree):
    tree.write("proc/self/mountinfo", V2.format(top="/", mount="/sys/fs/cgroup"))
    tree.write("proc/self/cgroup", "0::/\n")
    tree.group("sys/fs/cgroup", 3 * GiB)
    assert tree.limits() == [(3 * GiB, 3 * GiB - MiB)]


@pytest.mark.parametrize(
    ("top", "mine", "folder"),
    [
        ("/docker/12ab", "/docker/12ab", ""),
        ("/docker/12ab", "/docker/12ab/inner", "/inner"),
        ("/docker/12ab", "/elsewhere", ""),
        ("/", "/../../elsewhere", ""),
        ("/", "/a/b", "/a/b"),
    ],
)
def test_groups_of_version_1_where_the_mount_shows_them(tree, top, mine, folder):
    tree.write("proc/self/mountinfo", V1.format(top=top, mount="/my\\040groups/memory"))
    tree.write("proc/self/cgroup", f"12:cpu,cpuacct:/x\n5:memory:{mine}\n0::/\n")
    tree.first(f"my groups/memory{folder}", 3 * GiB, GiB)
    assert tree.limits() == [(3 * GiB, 2 * GiB)]
    tree.first(f"my groups/memory{folder}", 3 * GiB, GiB, above=2 * GiB)
    assert tree.limits() == [(2 * GiB, GiB)]


@pytest.mark.parametrize(
    "text", ["", "max\n", "-1\n", "3 GiB\n", "1e9\n", "9" * 40 + "\n", "\xff\xfe\x00\n", "\u0663\n"]
)
def test_odd_files_count_as_no_limit(tree, text):
    tree.write("proc/self/mountinfo", V2.format(top="/", mount="/sys/fs/cgroup"))
    tree.write("proc/self/cgroup", "0::/\n")
    tree.write("sys/fs/cgroup/memory.max", text)
    tree.write("sys/fs/cgroup/memory.stat", text)
    assert tree.limits() == []


def test_files_that_are_missing_or_odd_elsewhere(tree):
    assert tree.limits() == []
    tree.write("proc/self/cgroup", "\n0\n0:\nx:y:z\n0::/a\x00b\n0::" + "/a" * 100 + "\n")
    tree.write("proc/self/mountinfo", "\n - \n1 2 3 - cgroup2\n" + V2.format(top="/", mount="/sys/fs/cgroup"))
    tree.write("sys/fs/cgroup/memory.max/a folder", "")
    memory._groups.cache_clear()
    assert tree.limits() == []


# ---- The real thing

LIMITED = """
import resource, sys
resource.setrlimit(getattr(resource, sys.argv[1]), (1500 * 2**20, resource.RLIM_INFINITY))
from nlicl.core.memory import check_memory
check_memory("small", 900 * 2**20, "Lower it.")
bytearray(900 * 2**20)
check_memory("n is 7", 1600 * 2**20, "Lower it.")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.parametrize(("kind", "option"), [("RLIMIT_AS", "-v"), ("RLIMIT_DATA", "-d")])
def test_limits_of_the_process_itself(kind, option):
    done = subprocess.run([sys.executable, "-c", LIMITED, kind], capture_output=True, text=True, check=False)
    says = rf"InvalidValue: n is 7, 1.6 GiB, and 1.[345] GiB are left of 1.5 GiB \(this process's limit, ulimit {option}\)\."
    assert done.returncode == 1 and re.search(says, done.stderr)


# ---- Several processes


def test_processes_share_the_machine_and_its_groups(machine, monkeypatch):
    machine(16 * GiB)
    monkeypatch.setattr(memory, "_processes", 4)
    check_memory("an array", 4 * GiB, "Lower it.")
    with pytest.raises(InvalidValue, match="5 GiB, and there are 16 GiB of memory for 4 processes"):
        check_memory("an array", 5 * GiB, "Lower it.")


def test_processes_share_a_group(tree, monkeypatch):
    tree.write("proc/self/mountinfo", V2.format(top="/", mount="/sys/fs/cgroup"))
    tree.write("proc/self/cgroup", "0::/\n")
    tree.group("sys/fs/cgroup", 4 * GiB)
    monkeypatch.setattr(memory, "_processes", 4)
    assert tree.limits() == [(4 * GiB, GiB)]
    tree.group("sys/fs/cgroup", 4 * GiB, 7 * GiB // 2)
    assert tree.limits() == [(4 * GiB, GiB // 2 - MiB)]
    (limit,) = memory._limits(tree.root)
    assert limit.says() == "511 MiB are left of 4 GiB (this control group's limit for 4 processes)"


def test_as_many_processes_as_fit(machine):
    own = memory._Limit(GiB, "process's limit", GiB)
    machine(16 * GiB, [own, memory._Limit(4 * GiB, "control group's limit", 3 * GiB, shared=True)])
    assert [fitting_processes(each) for each in (GiB // 4, GiB, 5 * GiB)] == [12, 3, 1]


def test_a_worker_knows_that_others_share_the_memory():
    with workers(3, at_once=2) as submit:
        assert submit("a look", eval, "__import__('nlicl.core.memory').core.memory._processes")() == 2
