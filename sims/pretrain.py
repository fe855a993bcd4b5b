"""From settings to a file of weights that were trained without labels: a teacher's, or a student's by its teacher."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fedkd.base import runtime
from fedkd.base.encoder import read_encoder
from fedkd.base.errors import InputError, RunError
from fedkd.base.seeding import Purpose, generator
from fedkd.config.config import Config, Scalar
from fedkd.config.settings import build_of_task, check_settings
from fedkd.data.tokens import Tokenizer
from fedkd.data.words import WORDS_MARKS, Marks
from fedkd.protocol.building import built
from fedkd.protocol.resolve import chosen_rows, resolve
from fedkd.results.run_folder import run_path
from fedkd.tasks.registry import load_task
from fedkd.tasks.task import Task
from sims.one_file import reserved_file, write_whole
from sims.run import absolute

ENDING = ".weights.h5"


def pretrain(
    settings: Mapping[str, Scalar],
    epochs: int,
    left_out: bool,
    out: Path | None,
    overwrite: bool,
    console: Console,
    distil: bool = False,
) -> Path:
    """Train a task's teacher on examples without their labels, or its student by the teacher, and write the weights.

    Args:
        settings: Dotted keys, see ``fedkd.config.settings``; ``partition.examples`` and ``train.batch_size``,
            ``optimizer`` and the trained model's learning rate count.
        epochs: Passes over the examples.
        left_out: Train on the training examples that ``partition.examples`` keeps out of a run with these settings.
        out: File to write; ``runs/TASK-MODEL-SEED.weights.h5`` where None.
        overwrite: Replace the file where it exists.
        console: Where to show progress.
        distil: Train the student to have the teacher's hidden states.

    Returns:
        The file.

    Raises:
        InputError: A setting or a file breaks a rule; nothing was written then.
        RunError: The loss isn't a number any more; nothing was written.
    """
    if epochs < 1:
        raise InputError(f"--epochs must be at least 1, got {epochs}")
    given = absolute(check_settings(settings))
    first = build_of_task(given)
    task = load_task(first.task, first.model, first.data)
    experiment = resolve(given, lambda *_: task)
    config = experiment.config
    x = _left_out(task, config) if left_out else experiment.task.train.x
    role = "student" if distil else "teacher"
    file = out or Path(f"{run_path(None, replace(config, method=role))}{ENDING}")
    with reserved_file(file, ENDING, overwrite):
        with console.status(f"starting TensorFlow and building the {role}"):
            runtime.configure()
            from fedkd.distill import pretrain as ways

            model = built(experiment, role)  # without adapters: all of it is trained, and written
            teacher = built(experiment, "teacher") if distil else model
        with _shown(console) as on_step:
            rng = generator(config.seed, Purpose.PRETRAINING)
            if distil:
                outcome = ways.distil(model, teacher, x, config.train, epochs, rng, on_step)
            else:
                outcome = ways.pretrain(model, x, config.train, epochs, rng, on_step, _marks(config))
        if not math.isfinite(outcome.after):
            raise RunError(f"pretraining ended in a loss of {outcome.after}; take a smaller train.{role}_lr")
        write_whole(file, model.save_weights)
    console.print(
        f"{outcome.summary} of {outcome.examples:,} examples, {epochs} epochs:"
        f" loss {outcome.before:.4f} before, {outcome.after:.4f} after",
        highlight=False,
    )
    return file


def _marks(config: Config) -> Marks:
    """Word ids that are no words: of a pretrained model those of its tokenizer."""
    if not config.model.pretrained:
        return WORDS_MARKS
    encoder = read_encoder(Path(config.model.pretrained))
    return Tokenizer(encoder.folder, encoder.padding).marks()


def _left_out(task: Task, config: Config) -> np.ndarray:
    """Inputs that a run with these settings doesn't use."""
    if not config.partition.examples:
        raise InputError("--left-out needs partition.examples, which leaves examples out of a run, got 0 (all are in)")
    train = task.train
    rest = np.setdiff1d(np.arange(len(train)), chosen_rows(task, config))
    if not len(rest):
        raise InputError(f"--left-out: partition.examples leaves none of the {len(train)} training examples out")
    return train.x[rest]


@contextmanager
def _shown(console: Console) -> Iterator[Callable[[int, int, float], None]]:
    """A bar with the loss, on a terminal."""
    columns = TextColumn("loss {task.fields[loss]:.4f}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", loss=math.nan)
        yield lambda step, steps, loss: progress.update(bar, completed=step, total=steps, loss=loss)
