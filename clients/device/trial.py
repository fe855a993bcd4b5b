"""Running a model without risk, and the trial that each one has to pass before it is used."""

import io
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clients.device.errors import ModelRefused
from clients.device.protocol.manifest import Manifest

_SECONDS = 120.0
_PLACE = Path(__file__).parents[2]


class Answer(NamedTuple):
    """What a model answered.

    Args:
        logits: float32 (n, classes).
        latency_ms: Median of an inference on one thread; 0 without rows.
    """

    logits: np.ndarray
    latency_ms: float


def run(model: Path, x: np.ndarray, seconds: float = _SECONDS) -> Answer:
    """Run a model over every row, in a child process.

    Args:
        model: A TFLite file of one input with batch 1 and one output.
        x: Numbers (n, *input shape), at most float32's; quantized here with the file's own scale.
        seconds: Time after which the child is killed.

    Raises:
        ModelRefused: It can't be run, takes its process down or too long.
    """
    given = io.BytesIO()
    np.save(given, x, allow_pickle=False)
    command = [sys.executable, "-P", "-m", "clients.device.child", str(model)]  # -P: nothing of the current folder
    environment = {**os.environ, "PYTHONPATH": _import_path()}
    try:
        child = subprocess.run(
            command, env=environment, input=given.getvalue(), capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelRefused(f"the model takes longer than {seconds:g} s") from None
    if child.returncode:
        raise ModelRefused(f"the model can't run here: {_cause(child)}")
    return _answer(child.stdout)


def _import_path() -> str:
    """This process's import path without the current folder; what is installed beside this file stays, at the end."""
    here = os.path.realpath(os.getcwd())
    return os.pathsep.join([*(path for path in sys.path if path and os.path.realpath(path) != here), str(_PLACE)])


def check_golden(model: Path, manifest: Manifest) -> tuple[Answer, float]:
    """Have a model answer the golden examples of its manifest.

    Returns:
        The answer, and the share that is decided alike.

    Raises:
        ModelRefused: It can't run, or answers something else.
    """
    golden = manifest.golden
    answer = run(model, golden.x)
    found = golden.difference(answer.logits)
    if not found <= golden.tolerance:  # nor where it is NaN
        raise ModelRefused(
            f"the model fails its golden examples: logits differ by {found:.4g}, {golden.tolerance:.4g} allowed"
        )
    return answer, golden.agreement(answer.logits)


def _answer(output: bytes) -> Answer:
    try:
        with np.load(io.BytesIO(output), allow_pickle=False) as found:
            logits, spent = found["logits"], found["spent"]
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
        raise ModelRefused("the model's process answered nonsense") from None
    return Answer(logits, float(np.median(spent)) if len(spent) else 0.0)


def _cause(child: "subprocess.CompletedProcess[bytes]") -> str:
    if child.returncode < 0:
        return f"it took its process down ({signal.Signals(-child.returncode).name})"
    said = child.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {child.returncode}"]
    return said[-1][:300]
