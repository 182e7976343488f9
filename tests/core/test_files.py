"""Files are written whole, in UTF-8, and JSON is plain."""

import json
import math
import os
import socket
import stat
import threading

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


# ---- What is no plain file


@pytest.fixture
def pipe(tmp_path):
    """A named pipe."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.fixture
def received(pipe):
    """received(function): what a reader of the pipe gets while the function runs."""

    def call(function):
        source = os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb")
        held = os.open(pipe, os.O_WRONLY)  # without a writer the reader would be done at once
        os.set_blocking(source.fileno(), True)
        found = []
        reader = threading.Thread(target=lambda: found.append(source.read()))
        reader.start()
        try:
            function()
        finally:
            os.close(held)
            reader.join()
            source.close()
        return found[0]

    return call


def test_a_pipe_is_written_into(pipe, received):
    content = b"x" * 200_000  # more than a pipe holds
    assert received(lambda: write_whole(pipe, content)) == content
    assert stat.S_ISFIFO(pipe.stat().st_mode) and os.listdir(pipe.parent) == ["pipe"]


def test_a_pipe_without_a_reader_is_refused(pipe):
    with pytest.raises(OSError, match="nothing reads from this pipe; start its reader first"):
        write_whole(pipe, "x")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_link_to_a_pipe(pipe, received):
    link = pipe.with_name("link")
    link.symlink_to("pipe")
    assert received(lambda: write_whole(link, "x")) == b"x" and link.is_symlink()


def test_a_socket_is_written_into(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        write_whole(tmp_path / "socket", "x")
        with server.accept()[0] as connection:
            assert connection.recv(10) == b"x"


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="no folder of open files here")
def test_what_is_open_is_written_into(tmp_path):
    """As `--json /dev/stdout > file`: what was printed before stays."""
    with (tmp_path / "a").open("wb", buffering=0) as file:
        file.write(b"before ")
        write_whole(f"/dev/fd/{file.fileno()}", "x")
        (tmp_path / "link").symlink_to(f"/dev/fd/{file.fileno()}")
        write_whole(tmp_path / "link", "y")
        file.write(b" after")
    assert (tmp_path / "a").read_text() == "before xy after"


@pytest.mark.parametrize("target", ["a", "./folder/../a", "folder/a"])
def test_a_link_is_followed(tmp_path, target):
    """Its target is replaced beside itself; the link stays. So does one that leads nowhere yet."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "link_to_link").symlink_to(tmp_path / "link")
    for content in ("new", "newer"):
        write_whole(tmp_path / "link_to_link", content)
        assert (tmp_path / target).read_text() == content
    assert (tmp_path / "link").is_symlink() and (tmp_path / "link_to_link").is_symlink()
    assert len(list(tmp_path.rglob("*"))) == 4


def test_links_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=r"[Ss]ymbolic links"):
        write_whole(tmp_path / "a", "x")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(stat, "S_ISBLK", lambda mode: True)
    (tmp_path / "disk").write_text("old")
    with pytest.raises(OSError, match="is a disk"):
        write_whole(tmp_path / "disk", "x")
    assert (tmp_path / "disk").read_text() == "old"


def test_the_device_that_forgets_stays_a_device(pipe):
    """Only after pipes were seen to stay pipes."""
    test_a_pipe_without_a_reader_is_refused(pipe)
    if not stat.S_ISCHR(os.stat(os.devnull).st_mode):
        pytest.skip("no device here")
    write_whole(os.devnull, "x")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o444])
def test_permissions_of_a_file_that_was_there_stay(tmp_path, mode):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(mode)
    write_whole(path, "new")
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == mode


def test_another_name_of_the_file_keeps_the_old_content(tmp_path):
    write_whole(tmp_path / "a", "old")
    os.link(tmp_path / "a", tmp_path / "b")
    write_whole(tmp_path / "a", "new")
    assert (tmp_path / "b").read_text() == "old"


def test_a_name_as_long_as_may_be(tmp_path):
    path = tmp_path / ("é" * 127)
    write_whole(path, "x")
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000, "a\0b", "absent/a", "."])
def test_names_that_cannot_be_written(tmp_path, name):
    with pytest.raises(OSError):
        write_whole(f"{tmp_path}/{name}", "x")
    assert os.listdir(tmp_path) == []


# ---- JSON


def test_json_hides_nothing_from_a_terminal_and_all_from_no_parser():
    given = {"\u202ea": "b\u2066\x1b[31m\x7f\x9b\u200b\u2028\ufeff\udcff\U000e0041", "c": "é∂שלום👨\u200d👩\n\t"}
    text = to_json(given)
    assert json.loads(text) == given
    assert not set(text) & set("\u202e\u2066\x1b\x7f\x9b\u200b\u2028\ufeff\udcff\U000e0041")
    assert "\\u202e" in text and "\\u009b" in text and "\\udb40\\udc41" in text and "é∂שלום👨" in text


def test_json_of_a_very_long_integer():
    assert json.loads(to_json([10**20, 10**6000])) == [10**20, "10**6000"]
