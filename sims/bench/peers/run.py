"""One peer's program run on a piece of work, in processes of its own that all end with it."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sims.bench.peers.environments import Peer, PeerError, last_line

_PROGRAMS = Path(__file__).parent / "programs"
# Read by the peers as they are imported: nothing is sent to anyone, little printed, no accelerator used.
_SETTINGS = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "JAX_PLATFORMS": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
}
# What leads a peer's python to packages of this one, and what `fedkd.base.runtime` sets for itself.
_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE")


@dataclass(frozen=True)
class Result:
    """What a peer did.

    Args:
        seconds: Seconds of each round by the wall clock, float64; the first one compiles and warms up.
        weights: The last global kernels and biases, laid out as Keras does.
    """

    seconds: np.ndarray
    weights: list[np.ndarray]


def measure(peer: Peer, python: Path, work: Path, timeout: float = 900) -> Result:
    """Let a peer do some work.

    Args:
        peer: Which.
        python: That of its environment.
        work: The .npz file with data, order, learning rate and initial weights, see ``programs/work_file.py``.
        timeout: Seconds it may take in all.

    Raises:
        PeerError: It failed, its last line says why, or took longer than it may.
    """
    # A short name: Ray makes sockets deep in here, whose paths may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="peer-") as scratch:
        result, errors = Path(scratch) / "result.npz", Path(scratch) / "errors.txt"
        command = [str(python), str(_PROGRAMS / peer.program), str(work.absolute()), str(result)]
        try:
            status = _run(command, _environment(scratch), errors, timeout)
        except subprocess.TimeoutExpired:
            raise PeerError(f"{peer.name} took longer than {timeout:g} s") from None
        if status or not result.exists():
            raise PeerError(f"{peer.name} failed: {last_line(errors.read_text(errors='replace'))}")
        return _read(result)


def _environment(scratch: str) -> dict[str, str]:
    """Environment variables of a program; what it leaves behind is in a folder that will be removed."""
    ours = {key: value for key, value in os.environ.items() if key not in _OURS}
    return {**ours, **_SETTINGS, "TMPDIR": scratch, "FLWR_HOME": scratch, "KERAS_HOME": scratch}


def _run(command: list[str], environment: dict[str, str], errors: Path, timeout: float) -> int:
    """Run a program in a group of its own, so that all it started can be killed with it; returns its exit status."""
    with errors.open("wb") as file:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
        )
        try:
            return process.wait(timeout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _read(result: Path) -> Result:
    with np.load(result, allow_pickle=False) as file:
        return Result(file["seconds"], weights_of(file))


def weights_of(file: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Arrays ``weight_0``, ``weight_1``, ... of a result."""
    return [file[f"weight_{i}"] for i in range(sum(name.startswith("weight_") for name in file))]
