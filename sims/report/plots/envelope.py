"""What nothing else beats: the best quality for at most so much of something."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from sims.report.plots.look import Look

Point = tuple[float, float]


def unbeaten(points: Sequence[Point], better: str = "higher") -> list[Point]:
    """The points (cost, quality) that are better than every cheaper one, from the cheapest.

    >>> unbeaten([(2, 80), (1, 70), (3, 75)])
    [(1, 70), (2, 80)]
    >>> unbeaten([(2, 80), (1, 70), (3, 65)], "lower")
    [(1, 70), (3, 65)]
    """
    sign = 1 if better == "higher" else -1
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not best or sign * point[1] > sign * best[-1][1]:
            best.append(point)
    return best


def envelope(axes: Axes, points: Sequence[Point], look: Look, better: str = "higher") -> None:
    """The best quality for at most so much, as dashed steps."""
    best = unbeaten(points, better)
    if len(best) > 1:
        x, y = zip(*best, strict=True)
        axes.plot(x, y, drawstyle="steps-post", color=look.faint, linestyle="--", linewidth=1, zorder=1)
