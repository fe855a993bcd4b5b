"""The terminal that commands write to: what they are given, a folder called ``[bold]x`` say, is shown as it is."""

from typing import Any

from rich.console import Console, RenderableType
from rich.status import Status
from rich.text import Text


class Terminal(Console):
    """A console to which texts are texts: neither markup nor emoji codes. What has a style is ``Text``.

    Args:
        options: Further ones of ``rich.console.Console``.
    """

    def __init__(self, **options: Any) -> None:
        """Write to standard output, unless options say otherwise."""
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})

    def status(self, status: RenderableType, **options: Any) -> Status:
        """Show what is going on; rich takes markup here even where the console doesn't."""
        return super().status(Text(status) if isinstance(status, str) else status, **options)


def warn(console: Console, text: str) -> None:
    """Write a warning, in a line of its own."""
    console.print(Text.assemble(("warning:", "yellow"), " ", text), soft_wrap=True)
