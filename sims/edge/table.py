"""What ``fedkd edge`` prints at its end."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from fedkd.edge.runtimes import DEVICES
from fedkd.objectives.metric import Scale
from fedkd.results.search import Candidate, Check, Search
from sims.report.table import NONE, percent

_IN = ("keras", *(each.name for each in DEVICES))


def summary(result: Search) -> Iterator[RenderableType]:
    """A table of the candidates, why some failed, and the one that was chosen.

    Args:
        result: What edge.json holds.
    """
    yield _table(result)
    for each in result.candidates:
        if not each.usable:
            yield Text(f"{each.recipe}: {_reasons(each.checks)}", style="dim")
    for failed in result.failed:
        yield Text(f"{failed.recipe}: no file: {failed.error}", style="dim")
    for made in (each.emulated for each in result.candidates if each.path == result.chosen):
        if made:
            apart = f"{made['difference']:.2g}" if made["steps"] is None else f"{made['steps']} steps"
            yield Text(
                f"emulated {made['machine']}: {result.metric.text(made['quality'])}; decides"
                f" {percent(made['agreement'])} as LiteRT does here, logits differ by {apart} at most"
            )
    if result.chosen:
        best = "most accurate" if result.metric.name == "accuracy" else f"best by {result.metric.label}"
        yield Text(f"chosen: {result.chosen}, the {best} that meets every line", style="bold green")


def _table(result: Search) -> Table:
    metric, measured = result.metric, next(each.name for each in DEVICES if each.line == "arena")
    title = f"{metric.label} over {result.n:,} test examples in each runtime; the arena is that of {measured}"
    table = Table(
        box=None, padding=(0, 1, 0, 0), header_style="dim", title=title, title_justify="left", title_style="dim"
    )
    table.add_column("recipe", overflow="fold", min_width=20)
    sizes = ("flash\nbytes", "gzip\nbytes", "arena\nbytes", "\nMACs")
    for heading in (*sizes, *(f"{name}\n{metric.unit}" for name in _IN)):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for each in result.candidates:
        chosen = each.path == result.chosen
        word = "chosen" if chosen else each.verdict.partition(":")[0]
        table.add_row(Text(each.recipe), *_figures(each, metric), word, style="bold green" if chosen else None)
    return table


def _figures(file: Candidate, metric: Scale) -> Iterator[str]:
    for size in (file.flash_bytes, file.gzip_bytes, file.arena_bytes, file.macs):
        yield NONE if size is None else f"{size:,}"
    for name in _IN:
        yield metric.text(file.quality.get(name)).removesuffix(f" {metric.unit}")


def _reasons(checks: Sequence[Check]) -> str:
    """What is too much, in few words; edge.json and the page have whole sentences."""
    words = []
    for line, limit, value, runtime, _ in (check for check in checks if not check.ok):
        if value is None:
            words.append("multiplications can't be counted" if line == "macs" else f"can't run in {runtime}")
        else:
            where = f" in {runtime}" if line == "drop" else ""
            words.append(f"{line} {round(value, 2):,} > {limit:,}{where}")
    return ", ".join(dict.fromkeys(words))


def nearest(result: Search) -> str:
    """One line for a search in vain: what came closest, what is missing, what to relax."""
    found = result.closest
    if found is None:
        return "no candidate meets the budget"
    hints = [f"allow {found.relax}"] if found.relax else []
    hints += [f"leave out {' and '.join(found.leave_out)}"] if found.leave_out else []
    return "; ".join([f"no candidate meets the budget; {found.path} comes closest: {'; '.join(found.misses)}", *hints])
