"""Fresh Python processes: what is set at import (threads, caches, lazy loading) can be tested in no other way."""

import os
import subprocess
import sys
from pathlib import Path

import nlicl

ROOT = Path(nlicl.__file__).resolve().parents[1]  # the checkout, or site-packages of an installed nlicl
KERNELS = ROOT / "kernels" if (ROOT / "kernels").exists() else ROOT / "nlicl" / "kernels"


def python(code, *arguments, root=ROOT, cwd=None, unset=(), expect=0, **environment):
    """Run `code`, a text or a file, in a new process that finds nlicl under `root`; returns its output, stripped."""
    env = {k: v for k, v in os.environ.items() if k not in unset} | {"PYTHONPATH": str(root)} | environment
    command = [sys.executable, *(["-c", code] if isinstance(code, str) else [code]), *arguments]
    done = subprocess.run([*map(str, command)], env=env, cwd=cwd or root, capture_output=True, text=True, timeout=300)
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()
