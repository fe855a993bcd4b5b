"""What to try so that a model fits a budget, cheap things first, and what needs no trying."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fedkd.config.edge import PRECISIONS
from fedkd.edge.budget import Budget, Check
from fedkd.objectives.metric import Scale

# Bytes that a parameter takes at the least.
_LEAST = {"float32": 4, "float16": 2, "int4": 0.5}
_SMALLEST_SHARE = 1 / 64
# Halves nearer to what the budget leaves than this are the same model again, and would have its files' names.
_APART = 0.99
# What int8 may lose against the model it was made of where a budget says nothing of quality: half a point of a share,
# so much of any other figure.
_UNSAID = 0.005


@dataclass(frozen=True)
class Variant:
    """A Keras model that candidates are made of.

    Args:
        base: What it began as, empty for the model that was given.
        share: Of the base's multiplications that are left.
        bits: Of the indices of its clusters; None where its kernels are free.
        aware: Trained with what int8 does.
    """

    base: str = ""
    share: float = 1.0
    bits: int | None = None
    aware: bool = False

    @property
    def _changes(self) -> list[str]:
        channels = [f"channels {100 * self.share:.3g}%"] if self.share < 1 else []
        clusters = [f"clusters {self.bits} bits"] if self.bits else []
        return [self.base] * bool(self.base) + channels + clusters

    @property
    def name(self) -> str:
        """As a stage: ``channels 50%, qat``."""
        return ", ".join(self._changes + ["qat"] * self.aware)

    def recipe(self, precision: str) -> str:
        """As a candidate: ``channels 50%, int8 (qat)``."""
        return ", ".join([*self._changes, precision + " (qat)" * self.aware])

    def stem(self, first: str) -> str:
        """Start of its files' names: ``student_channels50_qat``."""
        parts = [first, self.base.replace(" ", ""), f"channels{100 * self.share:.3g}" if self.share < 1 else ""]
        parts += [f"clusters{self.bits}" if self.bits else "", "qat" if self.aware else ""]
        return "_".join(part for part in parts if part)


def shares(macs: int, budget: Budget) -> list[float]:
    """Shares of a model's multiplications to try in turn: halves, and just what the budget leaves it.

    Args:
        macs: Of the model.
        budget: Whose line of multiplications decides; larger shares than it allows aren't worth training.
    """
    halves = [0.5**i for i in range(1, 20) if 0.5**i >= _SMALLEST_SHARE]
    allowed = 1.0 if budget.macs is None or not macs else budget.macs / macs
    if allowed >= 1:
        return halves
    return sorted({allowed, *(half for half in halves if half < _APART * allowed)}, reverse=True)


def precisions(budget: Budget, share: float) -> tuple[str, ...]:
    """What to convert a float model to: all for the whole one, and then what its target can run best.

    A whole model costs no training, so that even what a runtime refuses is worth the line that says so.
    """
    if share == 1:
        return PRECISIONS
    return tuple(each for each in ("float16", "dynamic", "int8") if each not in budget.unsupported)


def ruled_out(macs: int, parameters: int, precision: str, budget: Budget) -> str:
    """Why a candidate needs no making: what is known of it beforehand breaks the budget. Empty where it may meet it.

    Args:
        macs: Multiply-accumulates of its model.
        parameters: Of its model.
        precision: One of ``fedkd.config.edge.PRECISIONS``.
        budget: To be met.
    """
    flash = int(parameters * _LEAST.get(precision, 1))
    if budget.macs is not None and macs > budget.macs:
        return f"left out: {macs:,} multiplications, {budget.macs:,} allowed"
    if budget.flash is not None and flash > budget.flash:
        return f"left out: flash is at least {flash:,} bytes, {budget.flash:,} allowed"
    return ""


def tolerable(lost: float, reference: float, scale: Scale) -> bool:
    """Whether a loss of quality is small where a budget says nothing of it.

    Args:
        lost: As ``Scale.lost`` counts it.
        reference: The figure that it was lost against.
        scale: How the figure is read.
    """
    return lost <= _UNSAID * (scale.factor if scale.unit == "%" else abs(reference))


def accurate(done: Sequence[Check], otherwise: bool) -> bool:
    """Whether a file is as accurate as the budget wants it.

    Args:
        done: Its checks.
        otherwise: What counts where the budget has no such line, see ``tolerable``.
    """
    drops = [check.ok for check in done if check.line == "drop"]
    return all(drops) if drops else otherwise


def fits(done: Sequence[Check]) -> bool:
    """Whether a file has the room it needs, however accurate it is: a smaller model would only be worse."""
    return all(check.ok for check in done if check.line != "drop")


class Work(NamedTuple):
    """What a part of a search takes.

    Args:
        trained: Models that are trained.
        files: Files that are made and measured.
    """

    trained: int
    files: int


def expected(macs: int, parameters: int, budget: Budget, small: float, base: str = "") -> dict[str, Work]:
    """What a search is likely to try, by the names of its variants, where files of integers fit and lose little.

    Args:
        macs: Multiply-accumulates of the whole model.
        parameters: Of the same.
        budget: To be met.
        small: Share of the multiplications with which a model that fits ends the search.
        base: What the model is called among the variants.
    """
    whole = len(precisions(budget, 1)), not ruled_out(macs, parameters, "int8", budget)
    found = {Variant(base).name: Work(int(whole[1]), whole[0] + whole[1])}  # the further one has clusters
    for share in shares(macs, budget):
        size = int(share * macs), int(share * parameters)
        if ruled_out(*size, "int8", budget):
            continue
        files = sum(not ruled_out(*size, precision, budget) for precision in precisions(budget, share))
        found[Variant(base, share).name] = Work(2, files + 1)
        if share <= small:
            break
    return found
