"""What a search has come to so far."""

from dataclasses import dataclass, field

from fedkd.objectives.metric import Scale
from fedkd.results.search import Stage
from sims.edge.candidate import Measured


@dataclass
class Found:
    """What a search has come to so far.

    Args:
        candidates: Files that were measured.
        failed: Recipes of which no file could be made, and why.
        stages: Models on the way.
    """

    candidates: list[Measured] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)

    def best(self, scale: Scale) -> Measured | None:
        """The most accurate of those that meet every line, the smaller file among equals."""

        def rank(each: Measured) -> tuple[float, int, str]:
            return scale.lost(each.worst(scale), 0.0), each.file.flash_bytes or 0, each.file.path or ""

        return min((each for each in self.candidates if each.file.usable), key=rank, default=None)
