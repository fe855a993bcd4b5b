"""Modules that are run in a process of their own, for what they call can take its process down."""

import os
import signal
import subprocess
import sys


def run_module(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of this project in a child process and return how it ended and what it said.

    It has this process's environment and import path; TensorFlow as backend, quiet, and off the GPU.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    command = [sys.executable, "-m", name, *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False
    )


def ending(child: subprocess.CompletedProcess[str]) -> str:
    """Say how a child ended: of which signal, or with which exit code."""
    code = child.returncode
    return f"died of {signal.Signals(-code).name}" if code < 0 else f"stopped with exit code {code}"
