"""What a suite leaves: its table as CSV and Markdown, and a picture of each task's frontier."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fedkd.base.files import replace_file
from fedkd.objectives.metric import F1, Scale
from fedkd.results.run_folder import read
from fedkd.results.task_record import short_task
from sims.bench.machine import in_words
from sims.report.html import png
from sims.report.plots import Series, frontier, quality_by_setting
from sims.suite.folder import origin_of, summary_of
from sims.suite.groups import Group, groups, lines_by, varied_number
from sims.suite.plan import Job
from sims.suite.results import (
    Row,
    csv_text,
    further_metrics,
    row,
    varied_keys,
)
from sims.suite.suite_file import file_name
from sims.suite.table import markdown_table
from sims.suite.trials import Choice, trials_table


def write_results(out: Path, name: str, jobs: Sequence[Job], choices: Mapping[str, Choice], command: str) -> None:
    """Write ``results.csv``, ``results.md`` and pictures of each task from the cells that are finished.

    Args:
        out: The suite's folder.
        name: The suite's name.
        jobs: All its cells.
        choices: What its trials came to; nothing where they haven't ended, or there are none.
        command: What repeats it.
    """
    varied = varied_keys(jobs)
    summaries = [summary_of(job) for job in jobs]
    others = further_metrics(summaries)
    rows = [row(job, summary, varied, others) for job, summary in zip(jobs, summaries, strict=True)]
    replace_file(out / "results.csv", csv_text(rows).encode())
    found = groups(jobs, summaries, rows)
    pictures = _pictures(out, name, found)
    replace_file(out / "results.md", _page(name, jobs, rows, found, choices, pictures, command).encode())


def _pictures(out: Path, name: str, found: Sequence[Group]) -> dict[str, str]:
    """Draw the frontier of each task, and quality against a number that is varied, of F1 where the task has it.

    Returns:
        What each picture shows, by its file's name.
    """
    names = {}
    for task in dict.fromkeys(group.task for group in found):
        here = [group for group in found if group.task == task]
        metric, end = _pictured(here), f"-{file_name(short_task(task))}.png"
        title = f"{name}: {here[0].task_title}, {_seeds(here)}"
        series = [Series(group.title, tuple(read(job.folder) for job, _ in group.members)) for group in here]
        replace_file(out / f"frontier{end}", png(frontier(series, metric, title=title)))
        names[f"frontier{end}"] = "Quality against megabytes"
        if key := varied_number(here):
            lines = lines_by(key, here, here[0].figure(metric))
            replace_file(out / f"{key}{end}", png(quality_by_setting(key, lines, metric, title=title)))
            names[f"{key}{end}"] = f"Quality against {key}"
    return names


def _seeds(found: Sequence[Group]) -> str:
    """How many seeds the groups' means are over.

    >>> _seeds([])
    'no seeds'
    """
    counts = sorted({len(group.members) for group in found})
    if not counts:
        return "no seeds"
    many = " to ".join(map(str, (counts[0], counts[-1])[: len(counts)]))
    return f"{many} seed{'' if counts == [1] else 's'}"


def _pictured(found: Sequence[Group]) -> Scale:
    """The metric that a task's pictures show: F1 where it was measured in all groups, else the deciding one."""
    metrics = {metric.name: metric for group in found for metric in group.metrics}
    f1 = metrics.get(F1.name)
    return f1 if f1 and all(group.values(group.figure(f1)) for group in found) else found[0].metric


def _page(
    name: str,
    jobs: Sequence[Job],
    rows: Sequence[Row],
    found: Sequence[Group],
    choices: Mapping[str, Choice],
    pictures: Mapping[str, str],
    command: str,
) -> str:
    parts = [f"# {name}", markdown_table(found).strip() if found else "No cell is finished."]
    if found:
        parts.append(
            "Mean ± sample standard deviation over seeds, of the shared model on the test set, of the clients' own"
            " where no whole model is shared. MB a client: what a client sent and received in all rounds; times less:"
            " than FedAvg of the teacher over the same rounds, and than the row of fedavg_teacher over its own."
        )
    parts += [f"![{text}]({picture})" for picture, text in pictures.items()]
    if missing := [line["cell"] for line in rows if line["status"] != "finished"]:
        parts.append(f"Not finished: {', '.join(missing)}.")
    if choices:
        parts.append(
            "Trials, the best of which are followed: quality of the shared model on what clients hold out of their own"
            f" examples, mean over these and the last quarter of the rounds.\n\n{trials_table(choices)}"
        )
    parts.append(f"Command: `{command}`")
    origins = dict.fromkeys(
        ", ".join(in_words(origin_of(job)))
        for job, line in zip(jobs, rows, strict=True)
        if line["status"] == "finished"
    )
    parts += [f"Run on: {origin}" for origin in origins]
    return "\n\n".join(parts) + "\n"
