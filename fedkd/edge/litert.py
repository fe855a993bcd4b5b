"""Running a TFLite file in LiteRT in a child process, for a damaged file can take its process down."""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedkd.edge.child import Child, answer_for, ending, last_message, rows_run
from fedkd.edge.ops import Op, ops
from fedkd.edge.runtime import DeviceModel, Latency, describe, latency, predict


class LiteRun(NamedTuple):
    """What a device with LiteRT would answer, and how fast this machine does.

    Args:
        logits: float32 (n, classes).
        latency: Of one inference on one thread of this machine; None for reference kernels, which no device runs.
        file: Sizes, dtypes and counts.
        ops: What the file is made of.
    """

    logits: np.ndarray
    latency: Latency | None
    file: DeviceModel
    ops: tuple[Op, ...]


def run_lite(path: Path, x: np.ndarray, kernels: str = "xnnpack") -> LiteRun:
    """Run a TFLite classifier in LiteRT over every row.

    Args:
        path: A TFLite file of one input with batch 1 and one output.
        x: At least one row, as ``fedkd.edge.runtime.predict`` takes them.
        kernels: One of ``fedkd.edge.interpreter.KERNELS``.

    Raises:
        InputError: As ``predict``, or the file takes LiteRT down.
    """

    def cause(child: Child) -> str:
        return f"it {ending(child)} with {kernels} kernels; is it damaged?{last_message(child)}"

    with rows_run("fedkd.edge.litert", path, x, kernels, runtime="LiteRT", cause=cause) as (work, _):
        found = json.loads((work / "found.json").read_text())
        logits = np.load(work / "logits.npy", allow_pickle=False)
    spent = Latency(*found["latency"]) if found["latency"] else None
    return LiteRun(logits, spent, found["file"], tuple(Op(*op) for op in found["ops"]))


def main(path: str, work: str, kernels: str) -> None:
    """In the child: run every row of ``x.npy``; write ``logits.npy`` and ``found.json``."""
    file, x = Path(path), np.load(Path(work, "x.npy"), allow_pickle=False)
    np.save(Path(work, "logits.npy"), predict(file, x, kernels), allow_pickle=False)
    spent = latency(file, x, kernels) if kernels == "xnnpack" else None
    found = {"latency": spent, "file": describe(file), "ops": ops(file)}
    Path(work, "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    answer_for(main, *sys.argv[1:])
