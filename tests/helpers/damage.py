"""What happens to files on real disks, and what does not: for tests that everything damaged is noticed.

Anything that is drawn comes from the generator that is given, so that a failure can be repeated.
"""

import os
import pickle
import random
import shutil
from pathlib import Path


class Canary:
    """Its pickle writes a file where it is read: bytes that nobody has checked were unpickled."""

    def __init__(self, sign):
        self.sign = sign

    def __reduce__(self):
        return _sing, (str(self.sign),)


def _sing(sign):
    Path(sign).write_text("unpickled")


def damage(path, rng, sign=None):
    """Damage a file in one way; what was done, in words.

    Parameters
    ----------
    path : Path
        A plain file; beside it there may be others of its kind, which can be put in its place.
    rng : random.Random
    sign : Path, optional
        What a pickle put in its place writes when it is loaded; none is put there if not given.
    """
    path = Path(path)
    ways = [way for way in WAYS if way is not _pickle or sign is not None]
    return f"{path.name}: {rng.choice(ways)(path, rng, sign)}"


def _empty(path, rng, sign):
    path.write_bytes(b"")
    return "emptied"


def _truncate(path, rng, sign):
    size = rng.randrange(path.stat().st_size)
    os.truncate(path, size)
    return f"cut to {size} bytes"


def _flip(path, rng, sign):
    contents = bytearray(path.read_bytes())
    bits = rng.sample(range(8 * len(contents)), rng.choice([1, 1, 1, 2, 16]))
    for bit in bits:
        contents[bit // 8] ^= 1 << bit % 8
    path.write_bytes(contents)
    return f"bits {bits} turned"


def _head(path, rng, sign):
    """As above in the first 100 bytes, where formats have what they are known by."""
    contents = bytearray(path.read_bytes())
    at = rng.randrange(min(100, len(contents)))
    contents[at] ^= rng.randrange(1, 256)
    path.write_bytes(contents)
    return f"byte {at} changed"


def _block(path, rng, sign):
    contents = bytearray(path.read_bytes())
    at, length = rng.randrange(len(contents)), rng.choice([16, 512, 4096])
    with_what = rng.choice([bytes(length), rng.randbytes(length)])[: len(contents) - at]
    if contents[at : at + length] == with_what:
        with_what = bytes(byte ^ 255 for byte in with_what)
    contents[at : at + length] = with_what
    path.write_bytes(contents)
    return f"{len(with_what)} bytes from {at} on overwritten"


def _noise(path, rng, sign):
    path.write_bytes(rng.randbytes(rng.choice([1, 100, path.stat().st_size])))
    return "replaced by noise"


def _append(path, rng, sign):
    with path.open("ab") as file:
        file.write(rng.choice([b"\0", rng.randbytes(100), path.read_bytes()]))
    return "appended to"


def _lose_a_piece(path, rng, sign):
    contents = path.read_bytes()
    at = rng.randrange(len(contents))
    length = rng.randrange(1, 5000)
    path.write_bytes(contents[:at] + contents[at + length :])
    return f"bytes {at} to {at + length} left out"


def _other(path, rng, sign):
    others = sorted(other for other in path.parent.glob(f"*{path.suffix}") if other != path and other.is_file())
    if not others:
        return _empty(path, rng, sign)
    other = rng.choice(others)
    if rng.random() < 0.5:
        shutil.copyfile(other, path)
        return f"replaced by {other.name}"
    between = path.with_name("between")
    path.rename(between)
    other.rename(path)
    between.rename(other)
    return f"swapped with {other.name}"


def _pickle(path, rng, sign):
    contents = path.read_bytes()
    start = rng.choice([0, 8, 40, 48])
    path.write_bytes(contents[:start] + pickle.dumps(Canary(sign)) + rng.choice([b"", contents[start:]]))
    return f"a pickle from byte {start} on"


def _folder(path, rng, sign):
    path.unlink()
    path.mkdir()
    if rng.random() < 0.5:
        (path / "inside").write_text("")
    return "a folder in its place"


def _fifo(path, rng, sign):
    path.unlink()
    os.mkfifo(path)
    return "a FIFO in its place"


def _link(path, rng, sign):
    path.unlink()
    to = rng.choice([path.name, "nowhere", "."])
    path.symlink_to(to)
    return f"a link to {to} in its place"


def _lock(path, rng, sign):
    path.chmod(0)
    return "without permissions"


def _lose(path, rng, sign):
    path.unlink()
    return "deleted"


CONTENTS = [_empty, _truncate, _flip, _head, _block, _noise, _append, _lose_a_piece, _other, _pickle]
"""Ways that leave a plain file."""
WAYS = [*CONTENTS, *CONTENTS, _folder, _link, _lock, _lose, *([_fifo] if hasattr(os, "mkfifo") else [])]


def damage_some(folder, pattern, rng, sign=None):
    """Damage one to three of the files below a folder that a pattern finds; what was done to each."""
    files = sorted(path for path in Path(folder).rglob(pattern) if path.is_file() and not path.is_symlink())
    done = []
    for path in rng.sample(files, min(len(files), rng.choice([1, 1, 2, 3]))):
        if path.is_file() and not path.is_symlink() and path.stat().st_size:  # not swapped away meanwhile
            done.append(damage(path, rng, sign))
    return done


def generator(*seeds):
    """Numbers that are the same whenever the seeds are."""
    return random.Random(repr(seeds))
