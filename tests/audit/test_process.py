"""The reader's code runs in a process of its own: it cannot change what is judged, and nothing of it is left."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import child
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import nlicl
from nlicl.audit.functions import Files, audit_files
from nlicl.audit.process import Ended, Garbled, Late, Process, find
from nlicl.audit.process.channel import pack, unpack
from nlicl.cli import main

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a process of its own needs fork")

RIGHT = """
from nlicl.papers import li2024
of_paper = li2024.formulas["W_V"].function

def f(params, prompt):
    return of_paper(params, prompt)
"""
WRONG = RIGHT.replace("return ", "return 2 * ")


# ---- Messages


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
dtypes = st.sampled_from(["f2", "f4", "f8", "c8", "c16", "i8", "?", ">f8", np.longdouble])
numbers = dtypes.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0, max_side=3)))
values = st.recursive(plain | numbers, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def same(one, other):
    if isinstance(one, (np.ndarray, np.generic)):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


def native(value):
    """The same with arrays in the machine's byte order, as they come back."""
    if isinstance(value, np.ndarray):
        return value.astype(value.dtype.newbyteorder("="))
    if isinstance(value, list):
        return [native(item) for item in value]
    return {key: native(item) for key, item in value.items()} if isinstance(value, dict) else value


@given(values)
def test_what_is_packed_comes_back(value):
    assert same(unpack(pack(value)), native(value))


@given(values, st.data())
def test_what_is_no_message_is_refused(value, data):
    packed = bytearray(pack(value))
    if data.draw(st.booleans()):
        packed = packed[: data.draw(st.integers(0, len(packed) - 1))]
    else:
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(Garbled):  # a changed number is a number
        unpack(bytes(packed))


@pytest.mark.parametrize(
    "text",
    ['{"array": ["O", [1]]}', '{"array": ["<f8", [-1]]}', '{"array": ["<f8", [1e9]]}', "[" * 99999, '{"a": 1}', "{}"],
)
def test_only_arrays_of_numbers_are_read(text):
    with pytest.raises(Garbled):
        unpack(len(text).to_bytes(8, "little") + text.encode() + bytes(8))


# ---- A process


def soon():
    return time.monotonic() + 30


def alive(number):
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_questions_and_answers():
    def serve(link):
        while True:
            link.send([link.receive(), os.getpid()])

    big = np.arange(300_000.0)  # more than a pipe holds, there and back
    with Process(serve) as process:
        process.send({"x": big}, soon())
        said, number = process.receive(soon(), 1 << 23)
    assert (said["x"] == big).all() and number != os.getpid()
    assert not alive(number)


@pytest.mark.parametrize(
    ("serve", "how"),
    [
        (lambda link: None, "ends the process with status 0"),
        (lambda link: os._exit(3), "ends the process with status 3"),
        (lambda link: os.kill(os.getpid(), 10), "ends the process by signal 10"),
        (lambda link: os.kill(0, 9), "ends the process by signal 9"),
        (lambda link: os.kill(os.getppid(), 9), "ends the process that watches it"),
        (lambda link: (os.closerange(3, 200), time.sleep(60)), "closes the descriptor through which its answers go"),
    ],
)
def test_how_a_child_ends(serve, how):
    with Process(serve) as process, pytest.raises(Ended, match=f"^{how}$"):
        process.receive(soon(), 1000)


def test_a_child_that_does_not_end():
    began = time.monotonic()
    with Process(lambda link: time.sleep(60)) as process, pytest.raises(Late):
        process.receive(began + 0.1, 1000)
    assert time.monotonic() - began < 30


def test_a_guard_that_is_stopped():
    def serve(link):
        os.kill(os.getppid(), 19)
        link.send(os.getpid())
        time.sleep(60)

    with Process(serve) as process:
        number = process.receive(soon(), 1000)
    assert not alive(number)


def write_beside(link):
    os.write(link._write, b"nothing that anybody asked for")
    link.send("an answer")


def test_answers_that_are_none():
    with Process(write_beside) as process, pytest.raises(Garbled, match="writes into the descriptor"):
        process.receive(soon(), 1000)
    with Process(lambda link: link.send("x" * 5000)) as process, pytest.raises(Garbled, match="expected at most 1000"):
        process.receive(soon(), 1000)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere daemons are not found")
def test_nothing_is_left():
    def serve(link):
        started = [
            subprocess.Popen(["sleep", "600"]).pid,
            subprocess.Popen(["sleep", "600"], start_new_session=True).pid,
        ]
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.write(write, b"%d" % os.getpid())
                time.sleep(600)
            os._exit(0)
        started.append(int(os.read(read, 20)))
        link.send(started)

    with Process(serve) as process:
        started = process.receive(soon(), 1000)
    assert len(started) == 3 and not any(map(alive, started))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere processes are not counted")
@pytest.mark.slow
def test_a_child_with_too_many_children():
    def serve(link):
        for _ in range(2000):
            if os.fork() == 0:
                time.sleep(60)
        time.sleep(60)

    with Process(serve) as process, pytest.raises(Ended, match="starts too many processes"):
        process.receive(time.monotonic() + 200, 1000)


def test_memory_is_limited(monkeypatch):
    monkeypatch.setattr("nlicl.audit.process.guard.MEMORY", 2**26)

    def serve(link):
        try:
            np.ones(2**25)
        except MemoryError:
            link.send("refused")

    with Process(serve) as process:
        assert process.receive(soon(), 1000) == "refused"


def test_what_a_child_prints_is_shown_escaped_and_cut(capfd):
    def serve(link):
        print("a\x1b[31mé\u202e", flush=True)
        os.write(2, b"b" * 10**6)
        link.send(1)

    with Process(serve) as process:
        process.receive(soon(), 1000)
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("a\\x1b[31mé\\u202e\nbbb") and len(err) < 11_000
    assert err.endswith("(nothing more of what it prints is shown)\n")


# ---- Formulas


def audit(path, *options):
    """(exit status, report) of `nlicl audit` in a process of its own."""
    code = "import sys\nfrom nlicl.cli import main\nsys.exit(main(sys.argv[1:]))"
    given = [
        "audit",
        "--formula",
        f"{path}:f",
        "--wrt",
        "W_V",
        "--draws",
        "4",
        "--json",
        "-",
        "--timeout",
        "60",
        *options,
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, given)],
        env=os.environ | {"PYTHONPATH": str(child.ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, json.loads(done.stdout)["formulas"][0] if done.stdout else done.stderr


def replaced(path, text):
    """Write a file of the same size and with the same times as before."""
    before = path.stat()
    assert len(text.encode()) == before.st_size
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_an_edit_within_a_second_counts(tmp_path):
    """Python compares seconds and sizes, and would run what it compiled before: here, and of a neighbour."""
    plus = RIGHT.replace("return of", "return +of").replace("def f", "def g")
    neighbour, formula = tmp_path / "neighbour_of_a_formula.py", tmp_path / "formula.py"
    neighbour.write_text(plus)
    formula.write_text(
        "from neighbour_of_a_formula import g\n\ndef f(params, prompt):\n    return +g(params, prompt)\n"
    )
    for file in (neighbour, formula):  # a compiled file lies beside each
        python = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport {file.stem}"
        compiles = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        subprocess.run([sys.executable, "-c", python], env=compiles | {"PYTHONPATH": str(child.ROOT)}, check=True)
    assert len(list((tmp_path / "__pycache__").iterdir())) == 2
    assert audit(formula)[1]["verdict"] == "agree"
    replaced(formula, formula.read_text().replace("+g", "-g"))
    status, report = audit(formula)
    assert (status, report["verdict"]) == (1, "disagree") and "-g(params" in report["code"]
    replaced(neighbour, plus.replace("+", "-"))
    assert audit(formula)[1]["verdict"] == "agree"


HOSTILE = {
    "numbers": "import builtins\nbuiltins.abs = lambda x: 0.0 * x\n",
    "numpy": "import numpy as np\nnp.abs = np.max = np.argmax = lambda *a, **k: 0.0\nnp.array_equal = lambda *a: True\n",
    "the audit": "import nlicl.audit.verdict as v, nlicl.audit.decision as d\n"
    "v.TOLERANCE = {}\nv._verdict = v.decide = d.decide = lambda *a: ('agree', '')\n",
    "the definition": "import nlicl.models.transformer.reference as r\nr.loss_and_margins = r.loss = lambda *a: 0.0\n",
    "modules": "import sys\nsys.path[:] = []\nsys.modules.update(json=None, nlicl=None)\n",
    "signals": "import signal\nfor n in (14, 15, 17):\n    signal.signal(n, lambda *a: None)\n",
    "settings": "import os, sys\nos.chdir('/')\nos.environ.clear()\nos.umask(0o777)\nsys.setrecursionlimit(200)\n",
}


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_a_formula_changes_does_not_change_the_verdict(hostile, wrong, tmp_path, capsys):
    (tmp_path / "formula.py").write_text((WRONG if wrong else RIGHT) + HOSTILE[hostile])
    before = dict(os.environ), os.getcwd(), list(sys.path)
    status = main(["audit", "--formula", f"{tmp_path}/formula.py:f", "--wrt", "W_V", "--draws", "4", "--json", "-"])
    found = json.loads(capsys.readouterr().out)["formulas"][0]
    assert before == (dict(os.environ), os.getcwd(), list(sys.path))
    if found["error"]:  # it has broken itself
        assert status == 2 and found["verdict"] != "agree"
    else:
        assert (status, found["verdict"]) == ((1, "disagree") if wrong else (0, "agree"))
    assert not hostile.startswith("num") or not found["error"]


def formula_report(tmp_path, text, timeout=60.0):
    (tmp_path / "formula.py").write_text(text)
    named = find({}, "--formula", f"{tmp_path}/formula.py:f", "FILE.py:FUNCTION", "appendix.py:grad")
    return nlicl.audit_formula(named, wrt="W_V", draws=4, timeout=timeout).formulas[0]


def test_the_report_shows_the_text_that_ran(tmp_path):
    body = '    """By hand.\n\n    And so on.\n    """\n    return -params.W_V\n'
    text = f"@staticmethod\ndef f(params, prompt):\n{body}\n\nx = 1\n"
    found = formula_report(tmp_path, text)
    assert (found.name, found.equation, found.source) == ("f", "By hand.", "formula.py")
    assert found.code == f"@staticmethod\ndef f(params, prompt):\n{body}"


def test_a_call_of_our_own_gradient_is_said(tmp_path):
    assert formula_report(tmp_path, RIGHT).note.startswith("it calls nlicl's own d")
    plain = "import numpy as np\n\ndef f(params, prompt):\n    prompt.keys, prompt.z\n    return 0 * params.W_V\n"
    assert formula_report(tmp_path, plain).note == ""


def test_a_huge_result_is_not_sent(tmp_path):
    text = "import numpy as np\n\ndef f(params, prompt):\n    return np.broadcast_to(1.0, (10**6, 10**6))\n"
    assert "returns shape (1000000, 1000000); expected" in formula_report(tmp_path, text).error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import os\nos._exit(0)\n", "does not import: it ends the process with status 0"),
        ("raise GeneratorExit\n", "does not import: GeneratorExit: no message"),
        (
            "class E(BaseException):\n    def __str__(self):\n        1 / 0\n\nraise E\n",
            "does not import: E: its message cannot be read",
        ),
        ("x = " + "(" * 5000 + "\n", "does not import: SyntaxError"),
        ("x = '\0'\n", "does not import: SyntaxError"),
        ("x = 1\n", "has no function f; it has none"),
    ],
)
def test_files_that_do_not_import(text, words, tmp_path):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        formula_report(tmp_path, text)
    assert words in str(error.value)


# ---- Any function

LOSS = """
import numpy as np

x0 = np.array([0.3, -1.2, 2.0])

def loss(x):
    return np.log(np.sum(np.exp(x)))

def right(x):
    return np.exp(x) / np.sum(np.exp(x))

def wrong(x):
    return 2 * np.exp(x) / np.sum(np.exp(x))

calls = 0

"""


def function_report(tmp_path, text, gradient, timeout=60.0):
    (tmp_path / "losses.py").write_text(text)
    known: dict[Path, object] = {}
    loss, grad, x = (
        find(known, "", f"{tmp_path}/losses.py:{name}", "FILE.py:NAME", "a.py:b") for name in ("loss", gradient, "x0")
    )
    return audit_files(Files(loss, grad, x), timeout=timeout)


FORGED = {
    "the judge": "import nlicl.audit.functions.run as r\nr.decide = lambda *a: ('agree', '')\n",
    "numpy": "np.abs = np.max = np.isfinite = lambda *a, **k: np.float64(0)\n",
    "dual numbers": """
import nlicl.audit.functions.function as f
f.Function.dual = lambda self, leaves, v, carrier=None, conditions=False: f.DualValue(
    np.float64(loss(leaves[0])), float(wrong(leaves[0]) @ v[0]), 0, 0, 0, 0.0, 1.0)
""",
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_wrong_gradient_stays_wrong(forged, tmp_path):
    assert function_report(tmp_path, LOSS, "right").verdict == "agree"
    try:
        verdict = function_report(tmp_path, LOSS + FORGED[forged], "wrong").verdict
    except ValueError as error:  # it has broken itself
        assert forged == "numpy" and "\n" not in str(error)
    else:
        assert verdict == "disagree"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyboardInterrupt", "raises KeyboardInterrupt"),
        ("import os; os._exit(3)", "ends the process with status 3"),
        ("import os; os.closerange(3, 200)", "closes the descriptor|ends the process"),
        ("raise ValueError('a\\nb')", "gradient raises ValueError: a .line"),
        ("while True: pass", "does not finish within 0.5 s"),
    ],
)
@pytest.mark.parametrize("first", [0, 9])
def test_functions_that_end_or_never_do(body, words, first, tmp_path):
    text = (
        LOSS
        + f"def odd(x):\n    global calls\n    calls += 1\n    if calls > {first}:\n        {body}\n    return right(x)\n"
    )
    try:
        found = function_report(tmp_path, text, "odd", 0.5 if "while" in body else 60.0)
    except ValueError as error:
        assert "\n" not in str(error)
        assert any(word in str(error) for word in words.replace(" .line", " (line").split("|")), str(error)
    else:
        assert first and found.verdict != "disagree"


def test_a_loss_that_calls_our_own_is_said(tmp_path):
    text = LOSS + "import nlicl\n\ndef own(x):\n    nlicl.papers.load('li2024')\n    return right(x)\n"
    assert any(
        "calls nlicl's own" in remark and "load" in remark for remark in function_report(tmp_path, text, "own").remarks
    )


def test_the_same_report_as_in_this_process(tmp_path):
    there = function_report(tmp_path, LOSS, "wrong").to_dict()
    namespace: dict[str, object] = {}
    exec(compile(LOSS, str(tmp_path / "losses.py"), "exec"), namespace)
    here = nlicl.audit_gradient(namespace["loss"], namespace["wrong"], namespace["x0"]).to_dict()
    assert json.dumps(there) == json.dumps(here)


@pytest.mark.parametrize(
    "more, shown",
    [
        ('"""\ndef f(params, prompt):\n    return 0\n"""\n', "def f(params, prompt):\n    return 1\n"),
        ("r = r'''\\\ndef f(params, prompt):\n    return 0\n'''\n", "def f(params, prompt):\n    return 1\n"),
        ('# it\'s """\ndef f(params, prompt):\n    return 2\n', "def f(params, prompt):\n    return 2\n"),
        ("from neighbour import f\n", "from neighbour import f\n"),
        ("from neighbour import g as f, h\n", "from neighbour import g as f, h\n"),
        ("from neighbour import f as g\n", "def f(params, prompt):\n    return 1\n"),
        ("class f:\n    pass\n", "class f:\n    pass\n"),
        ("x = 'a\x0cb\u2028c'\n", "def f(params, prompt):\n    return 1\n"),
    ],
)
def test_what_is_shown_is_no_text_and_the_last_that_has_the_name(more, shown, tmp_path):
    path = tmp_path / "formula.py"
    path.write_text("def f(params, prompt):\n    return 1\n" + more, encoding="utf-8")
    assert find({}, "", f"{path}:f", "FILE.py:NAME", "a.py:b").source.text_of("f") == shown
