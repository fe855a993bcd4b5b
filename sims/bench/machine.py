"""The machine a benchmark ran on, and the rate of its matrix products: the floor under all training times."""

import platform
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np

from fedkd.base import runtime

_SIDE = 1024


def matmul_gflops(threads: int = 0, seconds: float = 0.5) -> float:
    """Measure float32 matrix products, one thread per core, in 10⁹ floating-point operations a second.

    Args:
        threads: Number of products side by side; 0 for all cores of the process.
        seconds: How long to measure.
    """
    threads = threads or runtime.cores()
    matrix = np.random.default_rng(0).standard_normal((_SIDE, _SIDE), dtype=np.float32)

    def rate(_: int) -> float:
        product, count, begun = np.empty_like(matrix), 0, time.perf_counter()
        while (taken := time.perf_counter() - begun) < seconds:
            np.matmul(matrix, matrix, out=product)
            count += 1
        return count * 2 * _SIDE**3 / taken / 1e9

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(rate, range(threads)))


def describe() -> dict[str, str | int]:
    """Processor, cores, versions and, in a checkout, the commit."""
    packages = {name: version(name) for name in ("tensorflow", "keras", "flwr", "numpy")}
    facts: dict[str, str | int] = {
        "processor": _processor(),
        "cores": runtime.cores(),
        "python": platform.python_version(),
    }
    return {**facts, **packages, **({"commit": commit} if (commit := _commit()) else {})}


def in_words(facts: Mapping[str, object]) -> list[str]:
    """Return facts as ``describe`` gives them, each with its name but for the processor's."""
    return [str(value) if key == "processor" else f"{key} {value}" for key, value in facts.items()]


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    if not (Path(__file__).parents[2] / ".git").exists():
        return ""  # installed, perhaps inside another project's repository
    command = ["git", "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()
