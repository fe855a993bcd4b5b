"""What rounding does to each layer: its signal-to-noise ratio."""

from typing import Any

from matplotlib.figure import Figure

from fedkd.results.search import Candidate
from sims.report.plots.look import LIGHT, TEXT, Look, canvas, short

MOST_LAYERS = 60  # that a picture is still readable with


def edge_layers(candidate: Candidate, look: Look = LIGHT) -> Figure:
    """Signal-to-noise ratio of each layer, a bar each, from the input down.

    Args:
        candidate: of ``edge.json``, with the ratio of at least one layer.
        look: colours.

    Returns:
        The figure; each bar has its ratio at its end. Of many layers, those with the lowest ratios.
    """
    known = [layer for layer in candidate.layers if layer["snr_db"] is not None]
    limit = sorted(layer["snr_db"] for layer in known)[:MOST_LAYERS][-1]
    layers = [layer for layer in known if layer["snr_db"] <= limit][:MOST_LAYERS]
    row = min(0.3, max(0.15, 9 / len(layers)))
    letters = min(TEXT, 52 * row)
    figure, (axes,) = canvas(0.9 + row * len(layers), look)
    ratios = [layer["snr_db"] for layer in layers]
    axes.barh(range(len(layers)), ratios, height=0.62, color=look.student)
    for index, ratio in enumerate(ratios):  # right of the bar, or of zero: left of it are the names
        place: dict[str, Any] = {"xytext": (3, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(
            f"{ratio:.1f}".replace("-", "−"), (max(ratio, 0), index), fontsize=letters, color=look.ink, **place
        )
    axes.set_yticks(range(len(layers)), [short(layer["name"]) for layer in layers], fontsize=letters)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.set_xlim(min(0, 1.18 * min(ratios)), max(1, 1.12 * max(ratios)))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Signal to noise, dB")
    return figure
