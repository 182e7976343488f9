"""Checkpoints are read with mistrust: what is not as it was written, or what no run leaves behind, is refused in one line."""

import io
import json
import os
import random
import re
import socket
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import nlicl
from nlicl.core.errors import InvalidValue
from nlicl.papers import li2024
from nlicl.training import Adam, load_run
from nlicl.training.checkpoint import CHECKPOINT, pack
from nlicl.training.npz import digest

SMALL = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6, steps=12, learning_rate=0.7)
OPTIONS = {"optimizer": Adam(), "measure": 2, "learning_rate": 0.01}


def resume(folder):
    return nlicl.train(SMALL, steps=12, out=folder, resume=True, **OPTIONS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The checkpoint of a run after 5 steps."""
    folder = tmp_path_factory.mktemp("whole")
    nlicl.train(SMALL, steps=5, out=folder, **OPTIONS)
    return (folder / CHECKPOINT).read_bytes()


def refused(folder, message, advice="Delete it, or choose another folder, and start anew."):
    """Both ways to read the checkpoint refuse it in the same words; they touch nothing."""
    before = sorted(path.name for path in folder.iterdir())
    for read in (load_run, resume):
        with pytest.raises(InvalidValue, match=message) as caught:
            read(folder)
        assert "\n" not in str(caught.value) and advice in str(caught.value)
    assert sorted(path.name for path in folder.iterdir()) == before


def rewritten(content, change, hashed):
    """A checkpoint's bytes after `change(arrays, about)`: with its hash made anew, or as one from before there was a hash."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file if name != "digest"}
    about = json.loads(str(arrays["about"]))
    change(arrays, about)
    if not hashed:
        about.pop("digest", None)
    if "about" in arrays:
        arrays["about"] = np.array(json.dumps(about))
    if hashed:
        arrays["digest"] = np.array(digest(arrays))
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def nothing(arrays, about):
    pass


def setting(name, value):
    return lambda arrays, about: about["settings"].update({name: value})


def array(name, change):
    return lambda arrays, about: arrays.update({name: change(arrays[name])})


def gone(name):
    return lambda arrays, about: arrays.pop(name)


def at(index, value):
    def change(values):
        values[index] = value
        return values

    return change


@pytest.mark.parametrize("hashed", [True, False])
def test_a_file_that_is_written_again_is_the_same_run(whole, hashed, tmp_path):
    """So that the refusals below are of what they change."""
    (tmp_path / CHECKPOINT).write_bytes(rewritten(whole, nothing, hashed))
    assert load_run(tmp_path).step == 5
    want = nlicl.train(SMALL, steps=12, **OPTIONS)
    for got, wanted in zip(resume(tmp_path).params, want.params, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_the_same_run_is_the_same_bytes(whole, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(whole)
    assert pack(load_run(tmp_path)) == whole


@pytest.mark.parametrize(
    "name", ["params/W_Q", "params/a", "loss", "measured/hinge_train", "measured/norm", "optimizer/m/W_O"]
)
def test_a_number_that_was_changed_is_seen(whole, name, tmp_path):
    """As valid as it was, and the sums of the .npz file are right: the hash alone can tell."""
    with np.load(io.BytesIO(whole), allow_pickle=False) as file:
        arrays = dict(file)
    arrays[name].flat[0] = np.nextafter(arrays[name].flat[0], 9)
    np.savez(tmp_path / CHECKPOINT, **arrays)
    refused(tmp_path, "or is damaged .its contents are not as they were written: their hash is another")


@pytest.mark.parametrize(
    "change",
    [gone("digest"), lambda arrays, _: arrays.update(digest=np.array("0" * 64)), array("digest", lambda _: np.zeros(3))],
)  # fmt: skip
def test_a_hash_that_is_missing_or_another_is_seen(whole, change, tmp_path):
    with np.load(io.BytesIO(whole), allow_pickle=False) as file:
        arrays = dict(file)
    change(arrays, None)
    np.savez(tmp_path / CHECKPOINT, **arrays)
    refused(tmp_path, "their hash is another")


NO_RUN = {
    "no W_Q": (gone("params/W_Q"), "does not hold the trained parameter W_Q"),
    "no loss": (gone("loss"), "does not hold loss"),
    "no about": (gone("about"), "holds no text about itself"),
    "more": (lambda arrays, about: arrays.update(other=np.zeros(3)), "it holds 'other', which no run has"),
    "loss in integers": (array("loss", lambda x: x.astype(int)), "its loss has shape .5,. and dtype int64"),
    "loss in text": (array("loss", lambda x: x.astype(str)), "its loss has shape .5,. and dtype <U32"),
    "loss is NaN": (array("loss", at(2, np.nan)), "its loss is not finite"),
    "loss too long": (array("loss", lambda x: np.append(x, 1)), r"its loss has shape \(6,\) .*; expected \(5,\)"),
    "loss of shape ()": (array("loss", lambda x: x[0]), r"its loss has shape \(\)"),
    "eta is infinite": (array("learning_rate", at(0, np.inf)), "its learning_rate is not finite"),
    "eta is negative": (array("learning_rate", at(0, -1)), "its learning_rate is less than 0"),
    "steps in floats": (array("steps", lambda x: x + 0.5), "its steps have shape .* and dtype float64"),
    "steps in disorder": (array("steps", lambda x: x[::-1]), "not in the order of steps from 0 to 5"),
    "steps twice": (array("steps", at(1, 0)), "not in the order of steps"),
    "steps beyond": (array("steps", at(-1, 9)), "not in the order of steps"),
    "measured in text": (array("measured/norm", lambda x: x.astype(str)), "its measurements 'norm' have shape"),
    "measured too short": (array("measured/norm", lambda x: x[1:]), "its measurements 'norm' have shape"),
    "W_Q is NaN": (array("params/W_Q", at((0, 0), np.nan)), "its parameter W_Q is not finite"),
    "W_Q in float32": (array("params/W_Q", lambda x: x.astype(np.float32)), "its parameter W_Q has .* dtype float32"),
    "moments without updates": (gone("optimizer/updates"), "its optimizer remembers, and has no number of updates"),
    "negative updates": (array("optimizer/updates", lambda x: x - 9), "its optimizer made -4 updates"),
    "updates in floats": (array("optimizer/updates", lambda x: x + 0.5), "its optimizer's updates have shape .* float64"),
    "many updates": (array("optimizer/updates", lambda x: np.arange(3)), "its optimizer's updates have shape .3,."),
    "negative squares": (array("optimizer/v/W_Q", lambda x: x - 1), "its moments v of W_Q, means of squares, are less"),
    "a moment is NaN": (array("optimizer/m/W_Q", at((0, 0), np.nan)), "its optimizer's m/W_Q is not finite"),
    "a moment of nothing": (lambda arrays, about: arrays.update({"optimizer/m/b": np.ones(3)}), "remembers 'm/b', which is"),
    "a moment is missing": (gone("optimizer/m/W_Q"), "its optimizer's m is not of every trained parameter"),
    "step too large": (lambda arrays, about: about.update(step=6), "its step is 6, of 5 steps"),
    "step too small": (lambda arrays, about: about.update(step=4), r"its loss has shape \(5,\) and"),
    "step is True": (lambda arrays, about: about.update(step=True), "its step is True"),
    "step in floats": (lambda arrays, about: about.update(step=5.0), "its step is 5.0"),
    "step is text": (lambda arrays, about: about.update(step="5"), "its step is '5'"),
    "more about it": (lambda arrays, about: about.update(more=1), "its text about itself has not the names"),
    "less about it": (lambda arrays, about: about.pop("nlicl"), "its text about itself has not the names"),
    "no settings": (lambda arrays, about: about.update(settings=None), "its settings are None"),
    "a setting is missing": (lambda arrays, about: about["settings"].pop("seed"), "it holds no setting 'seed'"),
    "a setting of another version": (setting("momentum", 1), "the setting 'momentum', which this nlicl does not know"),
    "a problem without type": (setting("problem", {}), "its setting 'problem' is {}"),
    "fields without names": (setting("problem", {"type": "x", "fields": [1]}), "its setting 'problem' is"),
    "seed is True": (setting("seed", True), "its setting 'seed' is True"),
    "eta is None": (setting("learning_rate", None), "its setting 'learning_rate' is None"),
    "eta is NaN": (setting("learning_rate", float("nan")), "its setting 'learning_rate' is nan"),
    "eta is 10**400": (setting("learning_rate", 10**400), r"its setting 'learning_rate' is 10\*\*400"),
    "loss is None": (setting("loss", None), "its setting 'loss' is None"),
    "trained is None": (setting("trained", None), "its setting 'trained' is None"),
    "trained is empty": (setting("trained", []), "does not hold the trained parameter"),
    "measure is 0": (setting("measure", 0), "its setting 'measure' is 0"),
    "prompts is True": (setting("prompts", True), "its setting 'prompts' is True"),
    "dtype is int8": (setting("dtype", "int8"), "its setting 'dtype' is 'int8'"),
    "mask of numbers": (setting("mask", {"W_Q": [1, 0]}), "its setting 'mask' is"),
    "an optimizer without name": (setting("optimizer", {}), "its setting 'optimizer' is {}"),
    "model is None": (setting("model", None), "its setting 'model' is None"),
    "nested deep": (lambda arrays, about: about.update(step=eval("[" * 90 + "]" * 90)), "its step is a list"),
}  # fmt: skip


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("case", NO_RUN)
def test_what_no_run_leaves_behind_is_refused(whole, case, hashed, tmp_path):
    """Even where the hash is right, or there is none: a file of before is held to the same."""
    change, message = NO_RUN[case]
    (tmp_path / CHECKPOINT).write_bytes(rewritten(whole, change, hashed))
    refused(tmp_path, f"or is damaged .*({message})")


def test_updates_are_as_many_as_steps(whole, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(rewritten(whole, array("optimizer/updates", lambda x: x - 1), True))
    with pytest.raises(InvalidValue, match=r"or is damaged .its optimizer made 4 updates in 5 steps"):
        resume(tmp_path)


def test_parameters_of_another_shape_are_no_parameters_of_the_run(whole, tmp_path):
    changes = {"params/W_Q": lambda x: x[1:], "optimizer/m/W_Q": lambda x: x[1:], "optimizer/v/W_Q": lambda x: x[1:]}

    def change(arrays, about):
        for name, cut in changes.items():
            arrays[name] = cut(arrays[name])

    (tmp_path / CHECKPOINT).write_bytes(rewritten(whole, change, True))
    with pytest.raises(InvalidValue, match=r"or is damaged .it does not hold the run's parameters"):
        resume(tmp_path)


def test_a_problem_without_its_fields_is_another_run(whole, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(
        rewritten(whole, lambda _, about: about["settings"]["problem"].pop("fields"), True)
    )
    with pytest.raises(InvalidValue, match="is of a run with other settings: M1 is None there and 4 here"):
        resume(tmp_path)


def test_a_field_that_a_problem_did_not_have_yet_has_its_default(whole, tmp_path):
    """`query_attends` is False in this run, as it is by default; M1 is not what it is by default."""

    def without(name):
        return rewritten(whole, lambda _, about: about["settings"]["problem"]["fields"].pop(name), True)

    (tmp_path / CHECKPOINT).write_bytes(without("query_attends"))
    resume(tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(without("M1"))
    with pytest.raises(InvalidValue, match="is of a run with other settings: M1 is 6 there and 4 here"):
        resume(tmp_path)


def test_another_format_is_refused(whole, tmp_path):
    for odd in (7, "1", True, None):
        (tmp_path / CHECKPOINT).write_bytes(
            rewritten(whole, lambda _, about, odd=odd: about.update(format=odd, future=1), True)
        )
        refused(tmp_path, f"has format {odd!r}; this nlicl reads 1 and 2", "Continue it with the nlicl that wrote it.")


@pytest.mark.parametrize(
    "text", [np.zeros(3), "", "[" * 100_000, "{", "[]", '{"format": 1, "format": 1}', '"\\ud800"', "9" * 5000, "\0"]
)
def test_a_text_that_is_none_about_a_run_is_refused(whole, text, tmp_path):
    with np.load(io.BytesIO(whole), allow_pickle=False) as file:
        arrays = dict(file)
    np.savez(tmp_path / CHECKPOINT, **{**arrays, "about": np.array(text)})
    refused(tmp_path, "or is damaged .(its text about itself|it holds no text about itself)")


# ---------------------------------------------------------------- the file


def parts(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def zipped(parts, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of a name that stands twice
        for name, content in parts:
            archive.writestr(name, content)
    return file.getvalue()


def npy(value):
    file = io.BytesIO()
    np.save(file, value, allow_pickle=True)
    return file.getvalue()


def header(text, data=b""):
    text = text.encode() + b" " * (117 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


HUGE = "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }"
LOSS = {
    "10**15 entries": header(HUGE % ("<f8", "1000000000000000,"), b"\0" * 80),
    "10**15 empty texts": header(HUGE % ("<U0", "1000000000000000,")),
    "many empty rows": header(HUGE % ("<f8", "0, 9000000000000000000, 9000000000000000000")),
    "negative": header(HUGE % ("<f8", "-2, -5"), b"\0" * 80),
    "objects": npy(np.array([{}, None], object)),
    "records": npy(np.zeros(3, [("x", float)])),
    "dates": npy(np.zeros(3, "M8[s]")),
    "evaluated": header("{'descr': '<f8', 'fortran_order': False, 'shape': (__import__('os').getpid(),), }"),
    "no header": b"\x93NUMPY",
    "empty": b"",
    "nested zip": zipped([("x", b"")]),
    "cut": npy(np.zeros(5))[:-1],
    "longer": npy(np.zeros(5)) + b"\0",
    "another version": npy(np.zeros(5)).replace(b"NUMPY\x01", b"NUMPY\x03"),
}  # fmt: skip


@pytest.mark.parametrize("case", LOSS)
def test_an_array_that_is_none_is_refused(whole, case, tmp_path):
    inside = {**parts(whole), "loss.npy": LOSS[case]}
    (tmp_path / CHECKPOINT).write_bytes(zipped(inside.items()))
    refused(
        tmp_path, "or is damaged .(its 'loss' is no array of numbers or text, or is cut|no whole .npz file of arrays)"
    )


def archives(whole):
    inside = list(parts(whole).items())
    local = whole.index(b"PK\x03\x04")
    central = whole.index(b"PK\x01\x02")
    encrypted = bytearray(whole)
    encrypted[local + 6] |= 1
    encrypted[central + 8] |= 1
    bomb = bytearray(whole)
    bomb[central + 24 : central + 28] = b"\xf0\xff\xff\x7f"
    yield "empty", b""
    yield "text", b"not a zip file"
    yield "cut", whole[: len(whole) // 2]
    yield "end only", whole[-22:]
    yield "no parts", zipped([])
    yield "twice", zipped([*inside, inside[1]])
    yield "compressed", zipped(inside, zipfile.ZIP_DEFLATED)
    yield "compressed otherwise", zipped(inside, zipfile.ZIP_LZMA)
    yield "above", zipped([*inside, ("../../evil.npy", npy(np.zeros(2)))])
    yield "absolute", zipped([*inside, ("/evil.npy", npy(np.zeros(2)))])
    yield "no array", zipped([*inside, ("run.py", b"print()")])
    yield "encrypted", bytes(encrypted)
    yield "bomb", bytes(bomb)
    yield "an npy file", npy(np.zeros(3))


def test_a_file_that_is_no_checkpoint_is_refused(whole, tmp_path):
    for name, content in archives(whole):
        (tmp_path / CHECKPOINT).write_bytes(content)
        refused(tmp_path, "is not a checkpoint of nlicl, or is damaged")
        assert os.listdir(tmp_path) == [CHECKPOINT], name


def test_any_corruption_is_refused_or_changes_nothing(whole, tmp_path):
    """Bytes changed, cut out, put in and doubled anywhere; a fixed seed."""
    rng = random.Random(0)
    names = ("params/W_Q", "loss", "steps", "measured/norm")
    with np.load(io.BytesIO(whole), allow_pickle=False) as file:
        want = {name: file[name] for name in names}
    seen = 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 1, 3, 30))):
            start = rng.randrange(len(content))
            end = start + rng.choice((1, 1, 8, 500))
            content[start:end] = rng.choice(
                (rng.randbytes(end - start), b"", content[start:end] * 2, bytes(end - start))
            )
        (tmp_path / CHECKPOINT).write_bytes(content)
        try:
            run = load_run(tmp_path)
        except InvalidValue as error:
            assert "\n" not in str(error) and len(str(error)) < 600
            seen += 1
        else:
            got = {"params/W_Q": run.params.W_Q, "loss": run.history.loss, "steps": run.history.steps}
            got["measured/norm"] = run.history["norm"]
            assert all(np.array_equal(got[name], want[name]) for name in names)
    assert seen > 100


def fifo(path):
    os.mkfifo(path)


def in_a_circle(path):
    path.symlink_to(path)


def to_nowhere(path):
    path.symlink_to("nowhere")


def listening(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # the name of a socket may have some 100 letters only


@pytest.mark.skipif(os.name == "nt", reason="no such things there")
@pytest.mark.parametrize(
    ("make", "says"),
    [(Path.mkdir, "is a folder"), (fifo, "is no plain file"), (in_a_circle, "cannot be read: Too many levels"),
     (to_nowhere, "cannot be read: No such file"), (listening, "is no plain file")],
)  # fmt: skip
def test_what_is_no_file_is_refused_and_left(make, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / CHECKPOINT)
    refused(tmp_path, f"{says}", "Choose another folder.")
    with pytest.raises(InvalidValue, match=says):  # nor is it written over
        nlicl.train(SMALL, out=tmp_path)
    os.rename(tmp_path / CHECKPOINT, tmp_path / "history.csv")
    says = says.replace("Too many levels", "No such file")  # a circle no more
    with pytest.raises(
        InvalidValue, match=f"whose history.csv {says}.*; expected a run's folder, or an empty one. Choose"
    ):
        nlicl.train(SMALL, out=tmp_path)


def test_a_file_that_may_not_be_read_is_not_called_damaged(whole, tmp_path, monkeypatch):
    (tmp_path / CHECKPOINT).write_bytes(whole)
    monkeypatch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    refused(
        tmp_path, "checkpoint.npz cannot be read: Permission denied; expected a checkpoint", "Choose another folder."
    )


def test_a_link_to_a_checkpoint_is_one(whole, tmp_path):
    (tmp_path / "kept.npz").write_bytes(whole)
    (tmp_path / CHECKPOINT).symlink_to("kept.npz")
    assert load_run(tmp_path).step == 5


def test_the_command_line_refuses_it_in_one_line(whole, run, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(rewritten(whole, NO_RUN["loss is NaN"][0], True))
    status, out, err = run("train", "li2024", "--resume", tmp_path)
    assert (status, out, err.count("\n")) == (2, "", 1) and re.search("or is damaged .its loss is not finite", err)


# ---------------------------------------------------------------- what is kept can be read


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "line\nbreak"])
def test_a_measurement_that_no_file_names_is_refused_at_once(name, tmp_path):
    with pytest.raises(InvalidValue, match=r"observe returns a dict with the name .*; expected printable characters"):
        nlicl.train(SMALL, observe=lambda params: {name: 1.0}, out=tmp_path / "run")
    assert not os.listdir(tmp_path)


def test_a_measurement_of_any_printable_name_is_read(tmp_path):
    names = ["", "a/b", "../x", "α", "with space", "file", "digest"]
    nlicl.train(SMALL, steps=2, observe=lambda params: dict.fromkeys(names, 1.0), out=tmp_path)
    assert list(load_run(tmp_path).history.measured) == names


def test_a_file_of_format_2_from_before_there_was_a_hash_goes_on(whole, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(rewritten(whole, lambda _, about: about["settings"].pop("model"), False))
    assert resume(tmp_path).step == 12


@pytest.mark.parametrize("change", [lambda array: array[:0], lambda array: array[..., None], lambda array: array[:-1]])
@pytest.mark.parametrize("name", ["W_Q", "W_O", "a"])
def test_parameters_that_do_not_fit_together_are_damage_without_a_hash_too(whole, tmp_path, name, change):
    def changed(arrays, about):
        arrays[f"params/{name}"] = change(arrays[f"params/{name}"])

    (tmp_path / CHECKPOINT).write_bytes(rewritten(whole, changed, False))
    with pytest.raises(InvalidValue, match="damaged"):
        load_run(tmp_path)
