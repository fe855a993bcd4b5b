"""How the shared model is made ready for devices: the section ``edge`` of a configuration."""

import math
from dataclasses import dataclass

from fedkd.base.errors import require

# What device files may hold. int4 has word tables and dense kernels of 4 bits, and floats between them, as dynamic has;
# int8_per_tensor has one scale for a kernel where int8 has one for each filter; int16x8 is activations of 16 bits and
# kernels of 8.
PRECISIONS = ("float32", "float16", "dynamic", "int4", "int8", "int8_per_tensor", "int16x8")
CALIBRATED = ("int8", "int8_per_tensor", "int16x8")  # whose ranges of activations are taken from examples

ALL, USED = "all", "used"  # words that a device file's table may hold
NEAREST, GPTQ, AWQ = "nearest", "gptq", "awq"  # how dense kernels of 4 bits are rounded
ROUNDINGS = (NEAREST, GPTQ, AWQ)


@dataclass(frozen=True)
class EdgeConfig:
    """How the shared model is made ready for a device.

    In finishing rounds clients train it with zeros (``sparsity``), without some ``channels`` (share of the
    multiplications that go with them) and rounded as int8 rounds (``qat``). ``calibration`` counts training rows that a
    simulation's server holds for the ranges of int8; none where clients learn them or ``calibration_file`` has them.

    ``words`` is which words the table of a device file holds: ``all`` of the model's, or those ``used`` in training; to
    such a file each of the others is the used word most like it. ``rounding`` is how the dense kernels of ``int4`` are
    rounded: to the ``nearest``, or by ``gptq`` or ``awq``, which look at what kernels read over the server's examples.
    ``drop`` is how much a file may lose against the model it is made of before it is marked as not to be used: points
    of a share, per cent of any other figure.
    """

    sparsity: float = 0.5
    channels: float = 0.0
    qat: bool = False
    finish_rounds: int = 3
    calibration: int = 64
    calibration_file: str = ""
    precisions: str = "float32 float16 dynamic int8"
    words: str = ALL
    rounding: str = NEAREST
    drop: float = 2.0

    def __post_init__(self) -> None:
        """Check the rules."""
        require(0 <= self.sparsity < 1, "edge.sparsity", self.sparsity, "in [0, 1)")
        rule = "in [0, 1) (share of the multiplications that go)"
        require(0 <= self.channels < 1, "edge.channels", self.channels, rule)
        rule = "1 or more, or the model is to stay as it is (--finish none)"
        enough = self.finish_rounds >= int(self.reshapes or self.sparsity > 0)
        require(enough, "edge.finish_rounds", self.finish_rounds, rule)
        require(self.calibration >= 0, "edge.calibration", self.calibration, "0 or more (examples)")
        rule = f"none, or some of these, separated by spaces: {' '.join(sorted(PRECISIONS))}"
        require(set(self.wanted) <= set(PRECISIONS), "edge.precisions", self.precisions, rule)
        require(self.words in (ALL, USED), "edge.words", self.words, f"{ALL} or {USED}")
        require(self.rounding in ROUNDINGS, "edge.rounding", self.rounding, f"one of {', '.join(ROUNDINGS)}")
        rounds = self.rounding == NEAREST or not self.wanted or "int4" in self.wanted
        require(
            rounds, "edge.rounding", self.rounding, f"{NEAREST}, or edge.precisions must have int4, which it rounds"
        )
        require(0 <= self.drop < math.inf, "edge.drop", self.drop, "0 or more (points of a share)")

    @property
    def reshapes(self) -> bool:
        """Whether finishing rounds train a model with other tensors than before."""
        return self.qat or self.channels > 0

    @property
    def wanted(self) -> tuple[str, ...]:
        """Precisions to write, none for ``none``."""
        return () if self.precisions == "none" else tuple(self.precisions.split())
