"""Rows of what is known of each class of devices, for the table of a run and its page."""

from fedkd.objectives.metric import NONE, Scale
from fedkd.results.class_figures import ByClass

_ORDINARY = "(no class)"


def class_rows(held: ByClass, metric: Scale) -> list[tuple[str, ...]]:
    """Headings, then a row for each class; columns of which nothing is known are left out.

    Args:
        held: Figures by class; no rows where there are none.
        metric: The deciding one.
    """
    if not held:
        return []
    rows: list[tuple[str, ...]] = [
        ("class", "clients", f"teachers' {metric.label}", "teacher, own data", "shared model, own data", "s a round")
    ]
    for name, figures in held.items():
        quality = (figures.teacher_mean, figures.teacher_personal, figures.shared_personal)
        seconds = NONE if figures.seconds is None else f"{figures.seconds:,.1f}"
        rows.append((name or _ORDINARY, str(figures.clients), *map(metric.text, quality), seconds))
    columns = [column for column in zip(*rows, strict=True) if set(column[1:]) != {NONE}]
    return list(zip(*columns, strict=True))
