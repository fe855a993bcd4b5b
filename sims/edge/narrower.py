"""A run's student with fewer filters from the start: the same federation once more, where it takes little time."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
from rich.console import Console

from fedkd.base.errors import InputError, RunError
from fedkd.base.files import replace_file
from fedkd.base.task_name import PLACES, parse_task
from fedkd.config.finish import parse_finish
from fedkd.config.settings import to_settings
from fedkd.protocol.experiment import Experiment
from fedkd.results.run_folder import read
from sims.edge.kept import Kept
from sims.edge.load import load_model
from sims.edge.progress import SearchProgress
from sims.run import run

# Seconds that a run may have taken to be repeated.
_LONGEST = 90.0
_NARROWEST = 4


def widths(experiment: Experiment) -> list[int]:
    """Half and a quarter of the width of a run's student; none where none is shared or its models are the user's."""
    name = experiment.config.task
    if experiment.config.exchange.shared != "student" or (":" in name and parse_task(name).kind not in PLACES):
        return []
    first = next(layer for layer in experiment.task.student().layers if layer.weights)
    width = int(first.weights[0].shape[-1])  # filters, or the size of a word's vector
    return [part for part in (width // 2, width // 4) if part >= _NARROWEST]


def quick(folder: Path) -> bool:
    """Whether a run took so little time that repeating it is worth a try."""
    summary = read(folder).summary
    seconds = summary.speed.get("seconds") if summary else None
    return seconds is not None and seconds <= _LONGEST


def narrower(
    folder: Path, experiment: Experiment, kept: Kept, progress: SearchProgress
) -> Iterator[tuple[str, keras.Model]]:
    """Run a federation again with narrower students, one after the other; a long one is left to the user.

    Args:
        folder: Of the run.
        experiment: The run's.
        kept: Where students are kept, also of before the search was cut off.
        progress: Of the search, which makes room for that of the federation.

    Yields:
        What a student is called, and it.
    """
    console = progress.console
    for width in widths(experiment):
        change, student = f"model.student_width={width}", kept.model(f"width {width}")
        if not quick(folder) and not student.is_file():
            console.print(f"not tried, for the run was long: fedkd run {folder}/config.toml --set {change}")
            return
        try:
            if not student.is_file():
                console.print(f"the federation again with {change}:", highlight=False)
                with progress.paused():
                    _run_again(experiment, width, student, console)
            model = load_model(student, trust=True)  # by code that runs here
        except (InputError, RunError) as error:  # what was measured so far stays
            console.print(f"{change}: {error}", highlight=False)
            return
        yield f"width {width}", model


def _run_again(experiment: Experiment, width: int, student: Path, console: Console) -> None:
    """Run a federation with students of another width, and keep the student of it."""
    settings = to_settings(experiment.config)
    settings |= {"model.student_width": width, "model.student_weights": ""}
    settings |= {"edge.precisions": "none", **parse_finish("none")}
    with tempfile.TemporaryDirectory() as place:
        again = run(settings, "local", Path(place) / "run", False, False, console)
        replace_file(student, (again / "student.keras").read_bytes())
