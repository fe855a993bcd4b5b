"""What a device has room for, and what a file may lose on its way there."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fedkd.base.errors import InputError
from fedkd.edge.runtimes import DEVICES
from fedkd.objectives.metric import Scale
from fedkd.results.search import USABLE, Check

_BYTES = {"": 1, "B": 1, "KB": 1024, "MB": 1024**2}
_COUNTS = {"": 1, "K": 1000, "M": 1_000_000}
# What each line may be counted in, and what that is called.
_UNITS: Mapping[str, tuple[Mapping[str, int], str]] = {
    "flash": (_BYTES, "B, KB (1,024 bytes) or MB"),
    "arena": (_BYTES, "B, KB (1,024 bytes) or MB"),
    "macs": (_COUNTS, "k or M"),
    "drop": ({"": 1}, "points of accuracy, or of another metric its own unit, and without a unit"),
}
# Where a line is measured that isn't a matter of the file alone.
_MEASURED_IN = {"macs": "keras"} | {runtime.line: runtime.name for runtime in DEVICES if runtime.line}
_EXAMPLE = "flash=32KB,arena=16KB,macs=1M,drop=1.0"
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)\s*([a-zA-Z]*)")


@dataclass(frozen=True)
class Budget:
    """The most that a file may take or lose, None where it doesn't matter.

    Args:
        flash: Bytes of the file.
        arena: Bytes of the tensor arena in TensorFlow Lite Micro. A file with this line is meant for microcontrollers.
        macs: Multiply-accumulates of an inference.
        drop: How much worse a runtime's answers may be than the float model's, as ``Scale.lost`` counts it: points of a
            share.
    """

    flash: int | None = None
    arena: int | None = None
    macs: int | None = None
    drop: float | None = None

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Names of the runtimes in which quality counts: those that a line asks for, and those that need none."""
        lines = self.lines
        return tuple(each.name for each in DEVICES if (each.line in lines if each.line else each.installed()))

    @property
    def unsupported(self) -> set[str]:
        """Precisions that some of these runtimes have no kernels for."""
        wanted = self.runtimes
        return {precision for each in DEVICES if each.name in wanted for precision in each.unsupported}

    @property
    def lines(self) -> dict[str, float]:
        """The lines that are given, in the order of the fields."""
        return {name: value for name, value in vars(self).items() if value is not None}


class Facts(NamedTuple):
    """What a budget asks of a file.

    Args:
        flash: Bytes of the file.
        arena: Bytes in TensorFlow Lite Micro, None where it can't run there.
        macs: Multiply-accumulates of the Keras model it was made of; None where not all of them can be counted.
        drop: By runtime, what is lost against the float model, as ``Scale.lost`` counts it; None where it can't run.
    """

    flash: int
    arena: int | None
    macs: int | None
    drop: Mapping[str, float | None]


def parse_budget(text: str) -> Budget:
    """Read a budget as the command line takes it.

    Args:
        text: Lines such as ``flash=32KB``, separated by commas. KB is 1,024 bytes, k 1,000 multiplications; upper and
            lower case are one.

    Raises:
        InputError: An unknown line or unit, a line that is there twice, or a number that breaks its rule.

    >>> parse_budget("flash=32KB, macs=1.5M")
    Budget(flash=32768, arena=None, macs=1500000, drop=None)
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        line, _, value = (piece.strip() for piece in part.partition("="))
        if line not in _UNITS:
            raise InputError(f"budget: unknown line {line!r}; known: {', '.join(_UNITS)}, as in {_EXAMPLE}")
        if line in found:
            raise InputError(f"budget: {line} is there twice")
        found[line] = _amount(line, value)
    drop = found.pop("drop", None)
    return Budget(**{line: int(amount) for line, amount in found.items()}, drop=drop)


def _amount(line: str, text: str) -> float:
    units, names = _UNITS[line]
    read = _NUMBER.fullmatch(text)
    if read is None or read[2].upper() not in units:
        raise InputError(f"budget: {line} must be a number in {names}, got {text!r}")
    amount = float(read[1]) * units[read[2].upper()]
    if line != "drop" and amount < 1:
        raise InputError(f"budget: {line} must be at least 1, got {text}")
    return amount


def check_drop(budget: Budget, scale: Scale) -> None:
    """Raise InputError where a budget allows to lose more than there is of a share."""
    if scale.unit == "%" and budget.drop is not None and budget.drop > scale.factor:
        raise InputError(f"budget: drop must be from 0 to 100 points of {scale.label}, got {budget.drop:g}")


def checks(budget: Budget, facts: Facts) -> tuple[Check, ...]:
    """Hold each line of a budget against a file; its quality in each runtime that counts."""
    rows: list[tuple[str, str, float | None]] = [("flash", "file", facts.flash)]
    rows += [(line, _MEASURED_IN[line], getattr(facts, line)) for line in ("arena", "macs")]
    rows += [("drop", runtime, facts.drop[runtime]) for runtime in budget.runtimes]
    limits = budget.lines
    return tuple(
        Check(line, limits[line], value, runtime, value is not None and value <= limits[line])
        for line, runtime, value in rows
        if line in limits
    )


def miss(check: Check, scale: Scale) -> str:
    """Say what a file has and what is allowed.

    Args:
        check: A line that it breaks.
        scale: How the metric is read that drop is about.

    >>> miss(Check("drop", 1.0, 2.5, "litert", False), Scale("mae", "MAE", "kWh", "lower"))
    'MAE rises by 2.5 kWh in litert, 1.0 allowed'
    """
    line, limit, value, runtime, _ = check
    if value is None:
        return f"it can't run in {runtime}" if line != "macs" else "not all of its multiplications can be counted"
    if line == "drop":
        moves = "falls" if scale.better == "higher" else "rises"
        unit = "points" if scale.unit == "%" else scale.unit
        return " ".join(f"{scale.label} {moves} by {round(value, 2)} {unit} in {runtime}, {limit} allowed".split())
    unit = "multiplications" if line == "macs" else "bytes"
    return f"{line}: {value:,.0f} {unit}, {limit:,.0f} allowed"


def misses(done: Sequence[Check], scale: Scale) -> list[str]:
    """What a file breaks, each once."""
    return list(dict.fromkeys(miss(check, scale) for check in done if not check.ok))


def verdict(done: Sequence[Check], scale: Scale) -> str:
    """``usable``, or ``failed: `` and what is broken."""
    broken = misses(done, scale)
    return f"failed: {'; '.join(broken)}" if broken else USABLE


def excess(done: Sequence[Check]) -> float:
    """How far a file is from meeting a budget: what is too much as a share of what is allowed, summed over the lines.

    A drop counts in points (or the metric's unit) where less than one is allowed, in the worst runtime. Infinite where
    a file can't run.
    """
    worst: dict[str, float] = {}
    for check in done:
        worst[check.line] = max(worst.get(check.line, 0.0), 0.0 if check.ok else _excess(check))
    return sum(worst.values())


def _excess(check: Check) -> float:
    return math.inf if check.value is None else (check.value - check.limit) / max(check.limit, 1.0)


def relaxed(done: Sequence[Check]) -> str:
    """The lines that would have let a file pass, as ``parse_budget`` reads them; those it can't meet are left out.

    >>> relaxed([Check("flash", 32768, 40120, "file", False), Check("drop", 1.0, 1.94, "tflm", False)])
    'flash=40KB,drop=2.0'
    """
    most: dict[str, float] = {}
    for check in done:
        if not check.ok and check.value is not None:
            most[check.line] = max(check.value, most.get(check.line, 0.0))
    return ",".join(f"{line}={_rounded_up(line, value)}" for line, value in most.items())


def to_leave_out(done: Sequence[Check]) -> list[str]:
    """The lines that no larger figure would let a file keep to: leave them out.

    >>> to_leave_out([Check("drop", 1.0, None, "tflm", False), Check("macs", 1000, None, "keras", False)])
    ['arena', 'macs']
    """
    lines = {runtime: line for line, runtime in _MEASURED_IN.items()}
    found = [lines[check.runtime] for check in done if check.value is None and check.runtime in lines]
    return list(dict.fromkeys(found))


def _rounded_up(line: str, value: float) -> str:
    if line == "drop":
        return f"{math.ceil(round(10 * value, 6)) / 10:.1f}"
    return f"{math.ceil(value / 1000)}k" if line == "macs" else f"{math.ceil(value / 1024)}KB"
