"""Running a TFLite file in LiteRT in a child process, for a damaged file can take its process down."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedkd.edge.child import Child, answer_for, ending, last_message, rows_run
from fedkd.edge.device_runtime import Latency, Run, Runtime
from fedkd.edge.ops import Op


@dataclass(frozen=True)
class LiteRT(Runtime):
    """LiteRT on this machine, with some of its kernels."""

    kernels: str = "xnnpack"

    def run(self, path: Path, x: np.ndarray) -> Run:
        """See ``Runtime.run``; reference kernels, which no device runs, have no latency."""
        return run_lite(path, x, self.kernels)

    def lacks(self, op: Op) -> bool | None:
        """It has all of TFLite's own; what reference kernels lack isn't known."""
        return not op.builtin if self.device else None


LITERT = LiteRT("litert", "LiteRT", "as on a Raspberry Pi")
REFERENCE = LiteRT("litert_reference", "LiteRT, reference kernels", "its plain kernels", False, kernels="reference")


def run_lite(path: Path, x: np.ndarray, kernels: str = "xnnpack") -> Run:
    """Run a TFLite file in LiteRT over every row, in a child process.

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
        spent = json.loads((work / "latency.json").read_text())
        outputs = np.load(work / "outputs.npy", allow_pickle=False)
    return Run(outputs, latency=Latency(*spent) if spent else None)


def main(path: str, work: str, kernels: str) -> None:
    """In the child: run every row of ``x.npy``; write ``outputs.npy`` and ``latency.json``."""
    from fedkd.edge.runtime import latency, predict

    file, x = Path(path), np.load(Path(work, "x.npy"), allow_pickle=False)
    np.save(Path(work, "outputs.npy"), predict(file, x, kernels), allow_pickle=False)
    spent = latency(file, x, kernels) if kernels == "xnnpack" else None
    Path(work, "latency.json").write_text(json.dumps(spent))


if __name__ == "__main__":
    answer_for(main, *sys.argv[1:])
