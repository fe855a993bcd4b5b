"""Modules that are run in a process of their own, for what they call can take its process down."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.python import import_path, python

Child = subprocess.CompletedProcess[str]

_REFUSED = 2
# Lines that say nothing of why a child ended: logs of TensorFlow and LiteRT, and the frames of a traceback.
_CHATTER = re.compile(r"^([IWE]\d{4} |\d{4}-\d\d-\d\d |INFO:|WARNING:|fully_quantize:|Traceback |\s|$)")
_LENGTH = 300


def run_module(name: str, *arguments: str) -> Child:
    """Run a module of this project in a child process and return how it ended and what it said.

    It has this process's environment and import path, without the current folder; TensorFlow as backend, quiet, and
    off the GPU.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": import_path(),
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    return subprocess.run(
        python("-m", name, *arguments),
        env=environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


@contextmanager
def rows_run(
    name: str, path: Path, x: np.ndarray, *arguments: str, runtime: str, cause: Callable[[Child], str]
) -> Iterator[tuple[Path, Child]]:
    """Have a module run a TFLite file over rows in a child process; see ``answer_for`` for its part.

    Args:
        name: Of the module, whose main function takes the file, a folder that holds ``x.npy``, and the arguments.
        path: The file.
        x: The rows.
        arguments: Further ones.
        runtime: What runs the file, for messages.
        cause: Says of a child that died why it did.

    Yields:
        The folder with what the child wrote, and how it ended; the folder goes afterwards.

    Raises:
        InputError: The child refused something, or died.
    """
    with tempfile.TemporaryDirectory() as work:
        np.save(Path(work, "x.npy"), x, allow_pickle=False)
        child = run_module(name, str(path), work, *arguments)
        raise_refused(child)
        if child.returncode:
            raise InputError(f"{path} can't run in {runtime}: {cause(child)}")
        yield Path(work), child


def ending(child: Child) -> str:
    """Say how a child ended: of which signal, or with which exit code."""
    code = child.returncode
    return f"died of {signal.Signals(-code).name}" if code < 0 else f"stopped with exit code {code}"


def last_message(child: Child) -> str:
    """What a child said last of why it ended, after a colon; empty where it said nothing."""
    words = [line for line in child.stderr.splitlines() if not _CHATTER.match(line)]
    return f": {words[-1].strip()[:_LENGTH]}" if words else ""


def answer_for(main: Callable[..., None], *arguments: str) -> None:
    """In a child: run its main function, and say what it refuses in one line to the parent, see ``raise_refused``."""
    try:
        main(*arguments)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(_REFUSED)


def raise_refused(child: Child) -> None:
    """Raise the InputError that a child ended with, if it did."""
    said = child.stderr.strip().splitlines()
    if child.returncode == _REFUSED and said:
        raise InputError(said[-1])
