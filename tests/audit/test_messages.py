"""Whatever a child answers, the parent reads it as data: a report, or one line of an error, and it never waits for ever."""

import itertools
import os
import resource
import time

import numpy as np
import pytest

import nlicl
from nlicl.audit.functions import Files, audit_files
from nlicl.audit.process import Ended, Garbled, Late, Process, channel, find
from nlicl.core.errors import InvalidInput, InvalidValue

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a process of its own needs fork")

LOSSES = """
import numpy as np

x0 = [np.array([[0.3, -1.2, 2.0]]), np.array([1.0, 0.4])]
more = [x0]

def loss(a, b):
    return np.log(np.sum(np.exp(a))) + np.sum(np.maximum(b, 0))

def grad(a, b):
    return np.exp(a) / np.sum(np.exp(a)), (b > 0) * 1.0
"""
FORMULA = "def f(params, prompt):\n    return 0 * params.W_V\n"

deep: list = []
for _ in range(400):
    deep = [deep]
ODD = {
    "none": None,
    "true": True,
    "negative": -1,
    "beyond 64 bits": 2**64,
    "beyond floats": 10**400,
    "nan": float("nan"),
    "infinite": float("inf"),
    "surrogates": "\ud800\u202e\x1b\n",
    "long": "y" * 200_000,
    "deep": deep,
    "dict": {"a": {}},
    "complex": np.complex128(1 + 2j),
    "half": np.float16(1),
    "long double": np.longdouble("1e300") ** 2,
    "array of none": np.zeros((0, 3)),
    "array of infinities": np.full((1, 3), np.inf),
    "array without axes": np.array(1.0),
    "halves": [np.ones((1, 3), np.float16), np.ones(2, np.float16)],
    "names": ["a", "a", "a"],
    "arrays": [np.ones((1, 3), complex), np.ones(2, int)],
}


def soon():
    return time.monotonic() + 30


def answers(monkeypatch, alter):
    """Let alter(number, message) be what a child sends."""
    numbers, send = itertools.count(), channel.Link.send

    def altered(link, value):
        send(link, value if "late" in value else alter(next(numbers), value))

    monkeypatch.setattr(channel.Link, "send", altered)


def audits(tmp_path, paper=False):
    """A report as a dict, or an error of one line."""
    (tmp_path / "losses.py").write_text(LOSSES)
    (tmp_path / "formula.py").write_text(FORMULA)

    def named(name):
        return find({}, "", f"{tmp_path}/{name}", "FILE.py:NAME", "a.py:b")

    try:
        if paper:
            return nlicl.audit_formula(named("formula.py:f"), wrt="W_V", draws=2, timeout=20.0).to_dict()
        loss, grad, x, more = (named(f"losses.py:{name}") for name in ("loss", "grad", "x0", "more"))
        return audit_files(Files(loss, grad, x, more), timeout=20.0).to_dict()
    except InvalidInput as error:
        assert not {"\n", "\ud800"} & set(str(error)) and len(str(error)) < 20_000
        return {}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("number", [0, 1, pytest.param(8, marks=pytest.mark.slow)])
def test_odd_values_in_every_field(number, odd, tmp_path, monkeypatch):
    fields = [["names", "arrays", "points", "sizes", "code"], ["found", "calls", "altered", "own"]][number > 0]
    for field in fields:
        with monkeypatch.context() as patch:

            def alter(count, message, field=field):
                if count != number:
                    return message
                found = message["found"]
                return {"found": {**found, field: ODD[odd]}} if number == 0 else {**message, field: ODD[odd]}

            answers(patch, alter)
            audits(tmp_path)


@pytest.mark.parametrize("odd", ODD)
def test_odd_values_deeper(odd, tmp_path, monkeypatch):
    def counts(number, message):
        value = {"calls": {"loss": ODD[odd], "gradient": ODD[odd]}, "altered": [ODD[odd]], "own": [ODD[odd]]}
        return {**message, **value} if number else {"found": {**message["found"], "sizes": {"c.size": ODD[odd]}}}

    def errors(number, message):
        return {"error": ODD[odd], "text": ODD[odd], "short": ODD[odd]} if number == 6 else message

    def parts(number, message):
        found = message["found"]
        return {**message, "found": [ODD[odd], *found[1:]]} if number > 2 and isinstance(found, list) else message

    for alter in (counts, errors, parts):
        with monkeypatch.context() as patch:
            answers(patch, alter)
            audits(tmp_path)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("field", ["value", "calls", "cannot"])
def test_odd_values_of_formulas(field, odd, tmp_path, monkeypatch):
    answers(
        monkeypatch, lambda number, message: {field: ODD[odd]} if "value" in message or field == "cannot" else message
    )
    found = audits(tmp_path, paper=True)
    assert not found or found["formulas"][0]["verdict"] != "agree"


def test_a_large_integer_is_a_loss_like_others(tmp_path, monkeypatch):
    answers(
        monkeypatch, lambda number, message: {"found": [1 << 1000, message["found"][1]]} if number == 1 else message
    )
    assert audits(tmp_path)  # isfinite knows no integer of that size


def test_where_something_is_always_ready_the_deadline_counts():
    """As with a child that prints on and on; this one ends long after the deadline, and is late."""
    read, write = os.pipe()
    os.write(write, b".")
    with Process(lambda link: time.sleep(4)) as process, pytest.raises(Late):
        process._select.register(read, 1)
        process.receive(time.monotonic() + 0.1, 1000)
    os.close(read)
    os.close(write)


def test_answers_before_the_question():
    def serve(link):
        while True:
            os.write(link._write, bytes(1 << 16))

    with Process(serve) as process, pytest.raises(Ended, match="answers before it is asked"):
        process.send(np.zeros(1 << 20), soon())


def test_a_long_text_is_not_parsed():
    """The values in a text take far more memory than it."""
    text = b"[" + b"[]," * (1 << 23) + b"[]]"
    with pytest.raises(Garbled, match="expected at most"):
        channel.unpack(len(text).to_bytes(8, "little") + text)


def test_no_room_for_a_process():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = os.listdir("/dev/fd")
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + 3, hard))
    try:
        with pytest.raises(InvalidValue, match=r"cannot be started: Too many open files; .* \(ulimit"):
            Process(lambda link: None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(os.listdir("/dev/fd")) == len(before)


def test_a_process_started_while_a_child_runs_does_not_keep_it():
    """It has the parent's end of the lifeline open: the end is said, not only shown by closing."""
    with Process(lambda link: time.sleep(60)) as process:
        if (other := os.fork()) == 0:
            time.sleep(60)
            os._exit(0)
        began = time.monotonic()
        process.end()
    os.kill(other, 9)
    os.waitpid(other, 0)
    assert time.monotonic() - began < 1.5  # what a guard that does not move is given, is more


def test_many_audits_leave_nothing(tmp_path):
    audits(tmp_path)
    before = os.listdir("/dev/fd")
    for _ in range(3):
        audits(tmp_path), audits(tmp_path, paper=True)
    assert len(os.listdir("/dev/fd")) == len(before)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
