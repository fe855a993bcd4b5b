"""Pages of one self-contained HTML file, and their pictures."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from sims.report.plots import DARK, LIGHT, Look
from sims.report.table import percent, size

RESOLUTION = 160  # dots an inch: sharp at the page's width on a screen of double density


@dataclass(frozen=True)
class Picture:
    """A plot as a page shows it.

    Args:
        name: the PNG file's name without its ending.
        title: the heading above it.
        caption: one sentence below it.
        light: PNG for a light page, which is also the file's content.
        dark: PNG for a dark page.
    """

    name: str
    title: str
    caption: str
    light: bytes
    dark: bytes


def picture(name: str, title: str, caption: str, draw: Callable[[Look], Figure]) -> Picture:
    """Draw a plot for a light and for a dark page."""
    return Picture(name, title, caption, png(draw(LIGHT)), png(draw(DARK)))


def png(figure: Figure) -> bytes:
    """The figure's PNG, without the date and version that would make equal pictures differ."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=RESOLUTION, metadata={"Software": None})
    return buffer.getvalue()


def render(template: str, **values: Any) -> str:
    """A page; the template escapes every text it is given."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters.update(base64=lambda data: b64encode(data).decode(), percent=percent, size=size)
    return environment.get_template(template).render(**values)
