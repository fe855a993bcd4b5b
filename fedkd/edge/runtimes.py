"""The runtimes that device files are run in: one table, of which all is made that names them.

A further one is a module of its own with a ``Runtime``, and an entry here.
"""

from collections.abc import Mapping

from fedkd.edge.device_runtime import Runtime
from fedkd.edge.emulated import PI4
from fedkd.edge.litert import LITERT, REFERENCE
from fedkd.edge.ops import Op
from fedkd.edge.tflm import TFLM

RUNTIMES: Mapping[str, Runtime] = {runtime.name: runtime for runtime in (LITERT, REFERENCE, TFLM, PI4)}
# Those that run on this machine itself, in the order in which files are run there.
HERE = tuple(runtime for runtime in RUNTIMES.values() if not runtime.emulated)
# Those in which a file's answers count.
DEVICES = tuple(runtime for runtime in HERE if runtime.device)
EMULATED = tuple(runtime for runtime in RUNTIMES.values() if runtime.emulated)


def kernels_for(op: Op) -> dict[str, bool]:
    """Whether each runtime that is known to have or to lack an operation has it, by the runtimes' names."""
    lacking = {name: runtime.lacks(op) for name, runtime in RUNTIMES.items()}
    return {name: not lacks for name, lacks in lacking.items() if lacks is not None}
