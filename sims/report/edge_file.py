"""A search's result as its page shows it: the files for a device, and the one that was chosen."""

from dataclasses import dataclass
from functools import cached_property

from fedkd.edge.runtimes import RUNTIMES
from fedkd.objectives.metric import ACCURACY
from fedkd.objectives.scores import wilson
from fedkd.results.search import Candidate, Search, Stage

_ON_NO_DEVICE = ("keras", *(name for name, runtime in RUNTIMES.items() if not runtime.device))
_SAME = 1e-5  # of an accuracy; figures are rounded


@dataclass(frozen=True)
class EdgeFile:
    """A search's result.

    Args:
        content: What ``edge.json`` holds.
    """

    content: Search

    @property
    def candidates(self) -> list[Candidate]:
        """Every file that could be made, in the search's order."""
        return list(self.content.candidates)

    @cached_property
    def shown(self) -> Candidate | None:
        """The candidate that the page is about: the chosen one, else what came closest, else none."""
        closest = self.content.closest
        path = self.content.chosen or (closest.path if closest else None)
        return next((candidate for candidate in self.candidates if candidate.path == path), None)

    def stages(self) -> list[Stage]:
        """Quality from the teacher to the file that is shown, in each runtime that no stage before has."""
        stages, file = list(self.content.stages), self.shown
        seen = {stage.runtime for stage in stages} | {"keras"}
        for runtime, value in file.quality.items() if file else ():
            if file and value is not None and runtime not in seen:
                stages.append(Stage(f"{file.precision} file", runtime, value, *(self.interval(value) or (None, None))))
        return stages

    def interval(self, value: float) -> tuple[float, float] | None:
        """The 95 % confidence interval of an accuracy over the test examples; None of another metric."""
        n = self.content.n
        return wilson(round(value * n), n) if self.content.metric.name == ACCURACY.name else None

    def floor(self) -> float | None:
        """The quality that the budget's drop leaves, None where it has no such line or files are held to several."""
        scale = self.content.metric
        sign = 1 if scale.better == "higher" else -1
        floors = [
            value + sign * (check.value - check.limit) / scale.factor
            for candidate in self.candidates
            for check in candidate.checks
            if check.line == "drop"
            and check.value is not None
            and (value := candidate.quality.get(check.runtime)) is not None
        ]
        return floors[0] if floors and max(floors) - min(floors) < _SAME else None

    def lowest(self, candidate: Candidate) -> tuple[str, float] | None:
        """The runtime of a device in which a file is worst, with that figure; None where it ran in none."""
        found, scale = candidate.quality.items(), self.content.metric
        ran = [(name, value) for name, value in found if value is not None and name not in _ON_NO_DEVICE]
        return max(ran, key=lambda pair: scale.lost(pair[1], 0.0)) if ran else None
