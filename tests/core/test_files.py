"""Files are written whole, in UTF-8, and JSON is plain."""

import json
import math
import os

import numpy as np
import pytest

from nlicl.core.files import plain, to_json, write_whole


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "één\n")
    assert path.read_bytes() == "één\n".encode()
    write_whole(str(path), b"\0\1")
    assert path.read_bytes() == b"\0\1" and os.listdir(tmp_path) == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_whole(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        write_whole(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_the_umask_is_obeyed(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", "")
    finally:
        assert os.umask(before) == 0o027
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_what_utf_8_has_not_is_escaped(tmp_path):
    """A file's name may hold bytes that are no UTF-8; Python hands them on as lone surrogates."""
    name = os.fsdecode(b"caf\xe9.py")
    write_whole(tmp_path / "a.json", to_json({"source": name}))
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"source": name}


def test_plain_values():
    found = plain(
        {"a": (1, np.float32(0.5)), "b": np.arange(2), "c": [math.nan, -math.inf], "d": np.bool_(True), "e": None}
    )
    assert found == {"a": [1, 0.5], "b": [0, 1], "c": ["nan", "-inf"], "d": True, "e": None}
    assert json.loads(to_json(found), parse_constant=pytest.fail) == found
