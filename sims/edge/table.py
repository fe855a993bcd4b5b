"""What ``fedkd edge`` prints at its end."""

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sims.report.table import NONE, percent

_SIZES = ("flash_bytes", "gzip_bytes", "arena_bytes", "macs")
_HEADINGS = ("flash\nbytes", "gzip\nbytes", "arena\nbytes", "\nMACs", "keras\n%", "litert\n%", "tflm\n%")


def summary(result: dict[str, Any]) -> Iterator[RenderableType]:
    """A table of the candidates, why some failed, and the one that was chosen.

    Args:
        result: What edge.json holds.
    """
    yield _table(result)
    for each in result["candidates"]:
        if each["verdict"] != "usable":
            yield Text(f"{each['recipe']}: {_reasons(each['checks'])}", style="dim")
    for each in result["failed"]:
        yield Text(f"{each['recipe']}: no file: {each['error']}", style="dim")
    for each in (each["emulated"] for each in result["candidates"] if each["path"] == result["chosen"]):
        if each:
            apart = f"{each['difference']:.2g}" if each["steps"] is None else f"{each['steps']} steps"
            yield Text(
                f"emulated {each['machine']}: {percent(each['accuracy'])}; decides {percent(each['agreement'])} as"
                f" LiteRT does here, logits differ by {apart} at most"
            )
    if result["chosen"]:
        yield Text(f"chosen: {result['chosen']}, the most accurate that meets every line", style="bold green")


def _table(result: dict[str, Any]) -> Table:
    title = f"accuracy over {result['n']:,} test examples in each runtime; the arena is that of tflm"
    table = Table(
        box=None, padding=(0, 1, 0, 0), header_style="dim", title=title, title_justify="left", title_style="dim"
    )
    table.add_column("recipe", overflow="fold", min_width=20)
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for each in result["candidates"]:
        figures = [NONE if each[size] is None else f"{each[size]:,}" for size in _SIZES]
        figures += [percent(each["accuracy"][name]).removesuffix(" %") for name in ("keras", "litert", "tflm")]
        chosen = each["path"] == result["chosen"]
        word = "chosen" if chosen else each["verdict"].partition(":")[0]
        table.add_row(Text(each["recipe"]), *figures, word, style="bold green" if chosen else None)
    return table


def _reasons(checks: list[dict[str, Any]]) -> str:
    """What is too much, in few words; edge.json and the page have whole sentences."""
    words = []
    for check in (check for check in checks if not check["ok"]):
        where = f" in {check['runtime']}" if check["line"] == "drop" else ""
        if check["value"] is None:
            uncounted = check["line"] == "macs"
            words.append("multiplications can't be counted" if uncounted else f"can't run in {check['runtime']}")
        else:
            words.append(f"{check['line']} {round(check['value'], 2):,} > {check['limit']:,}{where}")
    return ", ".join(dict.fromkeys(words))


def nearest(result: dict[str, Any]) -> str:
    """One line for a search in vain: what came closest, what is missing, what to relax."""
    found = result["closest"]
    hints = [f"allow {found['relax']}"] if found["relax"] else []
    hints += [f"leave out {' and '.join(found['leave_out'])}"] if found["leave_out"] else []
    return "; ".join(
        [f"no candidate meets the budget; {found['path']} comes closest: {'; '.join(found['misses'])}", *hints]
    )
