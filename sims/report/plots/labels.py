"""Names beside points, moved apart where they would cover each other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from sims.report.plots.look import TEXT, Look

_TEXT = TEXT - 1.5
_AWAY = (7, 14, 24, 38, 55, 75, 100, 130)  # points between a name and its point, the nearest free one wins
_NEAR = 14  # beyond this a line joins them
_SIDES = ((1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1))


@dataclass(frozen=True)
class Named:
    """A point in the data's coordinates, with the colour of its name."""

    place: tuple[float, float]
    colour: str


def label_points(
    axes: Axes, points: Mapping[str, Named], look: Look, others: Sequence[tuple[float, float]] = ()
) -> None:
    """Write each point's name at the nearest place that no other name or point takes.

    Args:
        axes: Where the points are; its figure is laid out (``draw_without_rendering``), so that places are known.
        points: By name.
        look: Colours.
        others: Points without a name, which names should not cover either.
    """
    scale = axes.figure.dpi / 72
    pixels = {name: axes.transData.transform(point.place) for name, point in points.items()}
    drawn = [*pixels.values(), *map(axes.transData.transform, others)]
    taken = [Bbox.from_bounds(x - 4 * scale, y - 4 * scale, 8 * scale, 8 * scale) for x, y in drawn]
    taken += [text.get_window_extent() for text in axes.texts]
    for name in sorted(points, key=lambda name: -pixels[name][1]):
        text = axes.annotate(name, points[name].place, fontsize=_TEXT, in_layout=False)
        size = np.array(text.get_window_extent().size)
        text.remove()
        middle = _place(pixels[name], size, taken, axes.bbox, scale)
        taken.append(Bbox([middle - size / 2, middle + size / 2]))
        _write(axes, name, points[name], (middle - pixels[name]) / scale, size[0] / scale / 2, look)


def _place(point: np.ndarray, size: np.ndarray, taken: list[Bbox], inside: Bbox, scale: float) -> np.ndarray:
    """The middle of the first free place, or of the first of all where none is free; in pixels."""
    places = list(_places(point, size, scale))
    for middle in places:
        box = Bbox([middle - size / 2, middle + size / 2])
        within = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
        if within and not any(box.overlaps(other) for other in taken):
            return middle
    return places[0]


def _places(point: np.ndarray, size: np.ndarray, scale: float) -> Iterator[np.ndarray]:
    for away in _AWAY:
        for side in _SIDES:
            yield point + np.array(side) * (size / 2 + away * scale * np.array([1, 0.7]))


def _write(axes: Axes, name: str, point: Named, offset: np.ndarray, half: float, look: Look) -> None:
    far = max(abs(offset[0]) - half, abs(offset[1])) > _NEAR
    line = {"arrowstyle": "-", "color": look.faint, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4} if far else None
    place: dict[str, Any] = {"xytext": tuple(offset), "textcoords": "offset points", "ha": "center", "va": "center"}
    halo = [withStroke(linewidth=2.5, foreground=look.paper)]  # lines may run below a name
    style: dict[str, Any] = {"color": point.colour, "fontsize": _TEXT, "zorder": 5, "path_effects": halo}
    axes.annotate(name, point.place, in_layout=False, arrowprops=line, **place, **style)
