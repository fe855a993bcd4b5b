"""What a suite leaves: its table as CSV and Markdown, and a picture of each task's frontier."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fedkd.base.files import replace_file
from fedkd.results.run_folder import read
from sims.bench.machine import in_words
from sims.report.html import png
from sims.report.plots import Series, frontier, quality_by_setting
from sims.suite.folder import origin_of, summary_of
from sims.suite.plan import Job
from sims.suite.results import (
    Group,
    Row,
    csv_text,
    groups,
    lines_by,
    markdown_table,
    row,
    varied_keys,
    varied_number,
)
from sims.suite.suite_file import file_name, short_task


def write_results(out: Path, name: str, jobs: Sequence[Job], command: str) -> None:
    """Write ``results.csv``, ``results.md`` and pictures of each task from the cells that are finished.

    Args:
        out: The suite's folder.
        name: The suite's name.
        jobs: All its cells.
        command: What repeats it.
    """
    varied = varied_keys(jobs)
    rows = [row(job, summary_of(job), varied) for job in jobs]
    replace_file(out / "results.csv", csv_text(rows).encode())
    found = groups(jobs, rows)
    pictures = _pictures(out, found)
    replace_file(out / "results.md", _page(name, jobs, rows, found, pictures, command).encode())


def _pictures(out: Path, found: Sequence[Group]) -> dict[str, str]:
    """Draw the frontier of each task, and quality against a number that is varied, of F1 where the task has it.

    Returns:
        What each picture shows, by its file's name.
    """
    names = {}
    for task in dict.fromkeys(group.task for group in found):
        here = [group for group in found if group.task == task]
        f1, end = all(group.values("f1") for group in here), f"-{file_name(short_task(task))}.png"
        series = [Series(group.title, tuple(read(job.folder) for job, _ in group.members)) for group in here]
        replace_file(out / f"frontier{end}", png(frontier(series, f1=f1)))
        names[f"frontier{end}"] = "Quality against megabytes"
        if key := varied_number(here):
            figure = quality_by_setting(key, lines_by(key, here, "f1" if f1 else "shared"), f1=f1)
            replace_file(out / f"{key}{end}", png(figure))
            names[f"{key}{end}"] = f"Quality against {key}"
    return names


def _page(
    name: str,
    jobs: Sequence[Job],
    rows: Sequence[Row],
    found: Sequence[Group],
    pictures: Mapping[str, str],
    command: str,
) -> str:
    parts = [f"# {name}", markdown_table(found).strip() if found else "No cell is finished."]
    if found:
        parts.append(
            "Mean ± sample standard deviation over seeds, of the shared model on the test set. MB a client: what a"
            " client sent and received in all rounds; times less: than FedAvg of the teacher over the same rounds, and"
            " than the row of fedavg_teacher over its own."
        )
    parts += [f"![{text}]({picture})" for picture, text in pictures.items()]
    if missing := [line["cell"] for line in rows if line["status"] != "finished"]:
        parts.append(f"Not finished: {', '.join(missing)}.")
    parts.append(f"Command: `{command}`")
    origins = dict.fromkeys(
        ", ".join(in_words(origin_of(job)))
        for job, line in zip(jobs, rows, strict=True)
        if line["status"] == "finished"
    )
    parts += [f"Run on: {origin}" for origin in origins]
    return "\n\n".join(parts) + "\n"
