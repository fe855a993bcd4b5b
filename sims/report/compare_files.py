"""A comparison as a page of its own, and as a table for LaTeX."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.base.files import replace_file
from sims.report.compare import Comparison, differences, figures, notices
from sims.report.html import Picture, picture, render
from sims.report.plots import Series, frontier, quality_by_rounds

# Letters that mean something else to LaTeX.
_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--",
    "↓": r"$\downarrow$", "²": "$^2$",
}  # fmt: skip


def write_page(held: Comparison, out: Path) -> Path:
    """Write the comparison as one HTML file.

    Raises:
        InputError: The file can't be written.
    """
    count = sum(len(pool.runs) for pool in held.pools)
    text = render(
        "compare.html.j2",
        name=f"{count} runs compared",
        subtitle=", ".join(held.tasks.values()),
        notices=list(notices(held)),
        parts=[(part, *_head_and_rows(part)) for part in held.parts],
        pools=held.pools,
        tasks=held.tasks,
        differences=differences(held),
        pictures=list(_pictures(held)),
    )
    return _written(out, text, "--html")


def write_latex(held: Comparison, out: Path) -> Path:
    """Write the figures as a ``tabular`` with the rules of booktabs, a row a pool of runs; one for each set of metrics.

    Raises:
        InputError: The file can't be written.
    """
    lines = ["% Mean and sample standard deviation over seeds; needs the package booktabs."]
    for part in held.parts:
        headings, rows = _head_and_rows(part)
        cells = [("task", "run", *headings)]
        cells += [(held.tasks[pool.task], pool.name, *row) for pool, row in zip(part.pools, rows, strict=True)]
        first, *others = (" & ".join(map(_escaped, row)) + r" \\" for row in cells)
        lines += [rf"\begin{{tabular}}{{ll{'r' * len(headings)}}}", r"\toprule", first, r"\midrule", *others]
        lines += [r"\bottomrule", r"\end{tabular}"]
    return _written(out, "\n".join(lines) + "\n", "--latex")


def _head_and_rows(part: Comparison) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    headings, *rows = figures(part)
    return headings, rows


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _written(out: Path, text: str, option: str) -> Path:
    try:
        replace_file(out, text.encode())
    except OSError as error:
        raise InputError(f"{option} {out}: can't be written ({error.strerror})") from None
    return out


def _pictures(held: Comparison) -> Iterator[Picture]:
    """Two pictures a task, of its runs that have a round."""
    for task, title in held.tasks.items():
        pools = [pool for pool in held.pools if pool.task == task and pool.runs[0].history]
        if not pools:
            continue
        series = [Series(pool.name, pool.runs) for pool in pools]
        of = f", {title}" if len(held.tasks) > 1 else ""
        over = "; bands are a standard deviation over seeds" if any(len(pool.runs) > 1 for pool in pools) else ""
        metric = pools[0].runs[0].metric
        text = f"{metric.title} at each run's end, and on the way there, against what a client has sent and received"
        yield picture("frontier", f"Quality by megabytes{of}", f"{text}{over}.", partial(frontier, series, metric))
        text = f"{metric.title} of the shared model after each round{over}."
        yield picture("rounds", f"Quality by round{of}", text, partial(quality_by_rounds, series, metric))
