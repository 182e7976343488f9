"""Files that start processes and threads, take signals, use up what there is, or never end."""

from .entry import ANY, Entry

__all__ = ["ENTRIES"]

_SLEEP = "import os, time\nif os.fork() == 0:\n{0}    time.sleep(100)\n    os._exit(0)"
_DAEMON = """\
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    {0}
    time.sleep(100)
    os._exit(0)"""
_CLOSE = "for _fd in range(3, 256):\n    try: os.close(_fd)\n    except OSError: pass"
_THREAD = "import threading, time\nthreading.Thread(target={0}, daemon={1}).start()"
_LOOP = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
_SLEEPS = "import time\nwhile True:\n    try: time.sleep(100)\n    except BaseException: pass"


def _both(name: str, lines: str, **what: object) -> list[Entry]:
    """The same at import and in the call."""
    return [
        Entry(f"{name}, at import", top=lines, **what),  # type: ignore[arg-type]
        Entry(f"{name}, in the call", start=lines, **what),  # type: ignore[arg-type]
    ]


def _children() -> list[Entry]:
    found = []
    for name, lines in (
        ("a child that sleeps", _SLEEP.format("")),
        ("a child of its own session that sleeps", _SLEEP.format("    os.setsid()\n")),
        ("a child that ignores SIGTERM", _SLEEP.format("    import signal; signal.signal(15, signal.SIG_IGN)\n")),
        ("a daemon, forked twice", _DAEMON.format("pass")),
        ("a daemon that closes its descriptors", _DAEMON.format("os.closerange(0, 256)")),
        ("a daemon that writes to every descriptor",
         _DAEMON.format("[os.write(n, b'a' * 9) for n in range(1, 64) if os.path.exists(f'/proc/self/fd/{n}')]")),
        ("a program in the background", "import subprocess\nsubprocess.Popen(['sleep', '100'])"),
        ("a program with a session and an environment of its own",
         "import subprocess\nsubprocess.Popen(['sleep', '100'], start_new_session=True, env={})"),
        ("a shell with nohup", "import os\nos.system('nohup sleep 100 >/dev/null 2>&1 &')"),
        ("a shell with setsid", "import os\nos.system('setsid sleep 100 >/dev/null 2>&1 &')"),
        ("many children", "import os, time\nfor _ in range(40):\n    if os.fork() == 0:\n"
                          "        time.sleep(100)\n        os._exit(0)"),
        ("children of children", "import os, time\nfor _ in range(5):\n    if os.fork() == 0:\n"
                                 "        os.fork()\n        os.fork()\n"
         "        time.sleep(100)\n        os._exit(0)"),
        ("a chain of children, each ends", "import os, time\nif os.fork() == 0:\n    for _ in range(30):\n"
                                           "        if os.fork(): os._exit(0)\n"
         "        time.sleep(0.3)\n    os._exit(0)"),
        ("a multiprocessing pool", "import multiprocessing\n_pool = multiprocessing.get_context('fork').Pool(3)"),
        ("a pool of futures", "import concurrent.futures, time\n_pool = concurrent.futures.ProcessPoolExecutor(2)\n"
         "_f = _pool.submit(time.sleep, 100)"),
        ("the child goes on as the formula", "import os\nos.fork()"),
        ("the parent ends, the child goes on", "import os\nif os.fork(): os._exit(0)"),
        ("a stopped child", "import os, signal, time\nif os.fork() == 0:\n"
                            "    os.kill(os.getpid(), signal.SIGSTOP)\n    os._exit(0)"),
        ("vfork through posix_spawn", "import os\nos.posix_spawn('/bin/sleep', ['sleep', '100'], {})"),
    ):  # fmt: skip
        found += _both(name, lines)
    return found


def _threads() -> list[Entry]:
    found = []
    for daemon in (True, False):
        for name, target in (
            ("sleeps", "lambda: time.sleep(100)"),
            ("counts for ever", "lambda: [0 for _ in iter(int, 1)]"),
            ("raises", "lambda: 1 / 0"),
            ("ends the process", "lambda: (time.sleep(0.05), __import__('os')._exit(0))"),
        ):
            what = ANY - {"agree", "disagree"} if name == "ends the process" else frozenset({"agree", "error"})
            found += _both(
                f"a thread that {name}, daemon={daemon}", _THREAD.format(target, daemon), right=what | {"agree"}
            )
    found += _both(
        "many threads",
        "import threading, time\nfor _ in range(30): threading.Thread(target=time.sleep, args=(100,)).start()",
    )
    found += _both("a timer", "import threading\nthreading.Timer(50, print).start()")
    found += _both("atexit sleeps", "import atexit, time\natexit.register(time.sleep, 100)")
    found += _both("atexit raises", "import atexit\natexit.register(lambda: 1 / 0)")
    found += _both("atexit ends with 0", "import atexit, os\natexit.register(os._exit, 0)")
    found += _both("a finalizer that prints", "class _G:\n    def __del__(self): print('gone')\n_G._kept = _G()")
    return found


def _signals() -> list[Entry]:
    found = []
    for number in ("SIGALRM", "SIGTERM", "SIGCHLD", "SIGINT", "SIGPIPE", "SIGHUP", "SIGUSR1"):
        for handler in ("signal.SIG_IGN", "lambda *a: None", "lambda *a: 1 / 0"):
            found.append(Entry(f"{number}: {handler}", top=f"import signal\nsignal.signal(signal.{number}, {handler})"))
    found += _both(
        "an alarm that raises", "import signal\nsignal.signal(14, lambda *a: 1 / 0)\nsignal.setitimer(0, 0.01, 0.01)"
    )
    found += _both(
        "an alarm that does nothing",
        "import signal\nsignal.signal(14, lambda *a: None)\nsignal.setitimer(0, 0.01, 0.01)",
    )
    found += _both(
        "an alarm without a handler", "import signal\nsignal.signal(14, signal.SIG_DFL)\nsignal.setitimer(0, 0.03)"
    )
    found += _both("all signals blocked", "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))")
    found += _both("a wakeup descriptor", "import signal, os\nsignal.set_wakeup_fd(-1)")
    for number in (2, 3, 4, 6, 7, 8, 9, 11, 13, 14, 15, 31):
        lines = f"import os\nos.kill(os.getpid(), {number})"
        found.append(Entry(f"signal {number} to itself, in the call", start=lines))
    found += _both("signal 9 to itself", "import os\nos.kill(os.getpid(), 9)")
    found += _both("stops itself", "import os\nos.kill(os.getpid(), 19)", timeout=2)
    found += _both("signal 9 to its group", "import os\nos.killpg(os.getpgrp(), 9)", statuses=(-9,))
    found += _both("signal 15 to its group", "import os\nos.killpg(os.getpgrp(), 15)", statuses=(-15,))
    for number in (15, 9, 2):  # whoever judges may be killed, and then says nothing
        found += _both(
            f"signal {number} to its parent",
            f"import os\nos.kill(os.getppid(), {number})",
            statuses=(-number, 130, 143),
        )
    found += _both("segfaults", "import ctypes\nctypes.string_at(0)")
    found += _both("aborts", "import os\nos.abort()")
    return found


def _endings() -> list[Entry]:
    found = []
    for status in (0, 1, 2, 70, 130, 255):
        found += _both(f"os._exit({status})", f"import os\nos._exit({status})", right=frozenset({"error"}))
    for value in ("", "0", "1", "'agree'", "None", "10**30", "[1, 2]", "b'x'", "float('nan')", "object()"):
        found += _both(f"sys.exit({value})", f"import sys\nsys.exit({value})", right=frozenset({"error"}))
    for name, lines in (
        ("an endless loop", "while True: pass"),
        ("an endless loop that takes every exception", _LOOP),
        ("sleeps for ever, takes every exception", _SLEEPS),
        ("sleeps for ever", "import time\ntime.sleep(1000)"),
        ("an endless loop in C", "sum(iter(int, 1))"),
        ("reads from standard input", "import sys\n_line = sys.stdin.read()"),
        ("waits for a lock", "import threading\n_l = threading.Lock()\n_l.acquire()\n_l.acquire()"),
        ("waits for itself", "import os\n_r, _w = os.pipe()\nos.read(_r, 1)"),
        ("a regular expression without end", "import re\nre.match('(a+)+$', 'a' * 60 + 'b')"),
        ("an integer without end", "7 ** (7 ** 9)"),
        ("an import that waits", "import importlib, time\nclass _F:\n    def find_spec(self, *a): time.sleep(100)\n"
         "import sys; sys.meta_path.insert(0, _F()); import not_there"),
    ):  # fmt: skip
        found += _both(name, lines, timeout=2)
    for name, lines in (
        ("recursion without end", "def _r(): return _r()\n_r()"),
        ("recursion without limit", "import sys\nsys.setrecursionlimit(10**9)\ndef _r(): return _r()\n_r()"),
        ("lists in lists", "_l = []\nfor _ in range(10**6): _l = [_l]\nrepr(_l)"),
        ("memory without end", "_m = []\nwhile True: _m.append(bytearray(2**26))"),
        ("a petabyte", "bytearray(2**50)"),
        ("a list of a billion", "[0] * 10**10"),
        ("a thousand files open", "_o = []\nwhile True: _o.append(open('/dev/null'))"),
        ("a huge text", "_t = 'x' * 2**31"),
    ):
        found += _both(name, lines, timeout=3)
    return found


def _outputs() -> list[Entry]:
    found = []
    for name, lines in (
        ("prints megabytes", "print('x' * 2**23)"),
        ("prints megabytes of lines", "print('x\\n' * 2**22)"),
        ("prints to descriptors 1 and 2", "import os\nos.write(1, b'agree\\n'); os.write(2, b'nlicl-like\\n')"),
        ("writes to every descriptor", "import os\nfor _n in range(1, 256):\n    try: os.write(_n, b'a' * 100)\n"
                                       "    except OSError: pass"),
        ("writes the head of a message to every descriptor",
         "import os, struct\nfor _n in range(3, 256):\n    try: os.write(_n, struct.pack('<cq', b'a', 2**40))\n"
         "    except OSError: pass"),
        ("writes a long text to every descriptor",
         "import os, struct\nfor _n in range(3, 256):\n    try: os.write(_n, struct.pack('<cq', b't', 0) * 50)\n"
         "    except OSError: pass"),
        ("writes JSON to every descriptor",
         "import os\nfor _n in range(3, 256):\n    try: os.write(_n, b'{\"verdict\": \"agree\"}\\n')\n"
         "    except OSError: pass"),
        ("closes every descriptor", "import os\nos.closerange(0, 256)"),
        ("closes those above 2", "import os\nos.closerange(3, 256)"),
        ("closes 0, 1 and 2", "import os\nos.closerange(0, 3)"),
        ("makes every descriptor /dev/null", "import os\n_z = os.open('/dev/null', 2)\n"
                                             "for _n in range(0, 64): os.dup2(_z, _n)"),
        ("makes every descriptor that there is non-blocking",
            "import os\nfor _n in range(0, 64):\n    try: os.set_blocking(_n, False)\n"
         "    except OSError: pass"),
        ("prints control characters", "print('\\x1b[2J\\x1b]0;title\\x07\\u202e')"),
        ("prints lone surrogates", "import sys\n"
                                   "if hasattr(sys.stdout, 'reconfigure'): sys.stdout.reconfigure(errors='surrogatepass')\n"
         "print('\\ud800')"),
        ("prints without end", "while True: print('x' * 1000)"),
        ("a traceback of its own on stdout", "print('an ordinary text')"),
        ("detaches standard output", "import sys\n"
                                     "sys.stdout = sys.stdout.detach() if hasattr(sys.stdout, 'detach') else None"),
        ("reads every descriptor", "import os, select\nfor _n in range(3, 64):\n    try:\n"
                                   "        if select.select([_n], [], [], 0)[0]: os.read(_n, 10**6)\n"
         "    except (OSError, ValueError): pass"),
    ):  # fmt: skip
        found += _both(name, lines, timeout=3 if "end" in name.split() else 5, right=ANY - {"disagree", "undetermined"})
    for number, limit in (
        ("AS", "2**28"),
        ("CPU", "1"),
        ("NOFILE", "3"),
        ("FSIZE", "0"),
        ("STACK", "2**13"),
        ("DATA", "2**24"),
        ("NPROC", "0"),
    ):
        lines = f"import resource\nresource.setrlimit(resource.RLIMIT_{number}, ({limit}, {limit}))"
        found += _both(f"a limit on {number}", lines)
    return found


ENTRIES = [*_children(), *_threads(), *_signals(), *_endings(), *_outputs()]
