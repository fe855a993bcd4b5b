"""What a run says before it begins: who has what, and how its models start."""

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.text import Text

from fedkd.config.finish import rounds_in_words
from fedkd.protocol.calibration import without_examples
from fedkd.protocol.experiment import Experiment
from fedkd.tasks.builtin import BuiltIn
from sims.terminal import warn


def introduce(experiment: Experiment, console: Console) -> None:
    """Check an experiment and say what it is; TensorFlow is imported here.

    Raises:
        InputError: See ``fedkd.protocol.finishing.check``.
    """
    from fedkd.protocol.finishing import check

    lacking = without_examples(experiment, check(experiment))
    config, count = experiment.config, experiment.parameters
    sizes = [len(rows) for rows in experiment.rows]
    said = (
        f": {config.clients} clients with {_span(sizes)} examples ({_kind(experiment.task.train.x)}); teacher"
        f" {count['teacher']:,}, student {count['student']:,} parameters"
    )
    names = (config.method, "bold"), " on ", (experiment.task.name, "bold")
    console.print(Text.assemble(*names, said), highlight=False)
    console.print(rounds_in_words(config), highlight=False)
    say_promise(experiment, console)
    for held in config.classes:
        count_of = sum(experiment.kind(client) == held.name for client in range(config.clients))
        console.print(f"class {held.name}: {count_of} client{'' if count_of == 1 else 's'}", highlight=False)
    _say_starts(experiment, console)
    for why in lacking.values():
        warn(console, f"no file: {why}")
    if count["student"] > count["teacher"]:
        warn(console, "the student is larger than the teacher: FedKD saves bytes by the reverse")


def say_promise(experiment: Experiment, console: Console) -> None:
    """Say what a run promises its clients, and what that costs.

    Raises:
        InputError: See ``fedkd.protocol.promise.promise_of``.
    """
    if promise := experiment.promise:
        console.print(promise.in_words, highlight=False)
        if warning := promise.warning:
            warn(console, warning)


def _say_starts(experiment: Experiment, console: Console) -> None:
    """Say what models begin with that isn't the seed's, and what of them is trained where that isn't all."""
    from fedkd.models.inspect import count, model_spec, unfrozen

    models = experiment.config.model
    if models.student_weights:
        console.print(f"the student starts from {models.student_weights}", highlight=False)
    if models.student_init == "teacher_layers":
        taken, hidden = experiment.taken_layers()
        console.print(f"the student starts from the teacher's layers, {taken} of its {hidden}", highlight=False)
    if personal := sorted(experiment.personal):
        spec = model_spec(experiment.shared_model)
        names = ", ".join(spec[place].name for place in personal)
        console.print(f"stays with each client, {len(personal)} of {len(spec)} tensors: {names}", highlight=False)
    for role in ("teacher", "student"):
        if rank := models.lora_rank(role):
            trained = count(unfrozen(experiment.model(role)))
            console.print(f"adapters of rank {rank} in the {role}: {trained:,} numbers are trained", highlight=False)
            if _random(experiment, role):
                warn(
                    console,
                    f"the {role}'s kernels stay as the seed drew them: adapters are for pretrained ones"
                    f" (model.pretrained, model.{role}_weights)",
                )


def _random(experiment: Experiment, role: str) -> bool:
    """Whether a model is a built-in one whose weights are the seed's."""
    models, task = experiment.config.model, experiment.task
    given = {"teacher": models.teacher_weights, "student": models.student_weights}[role]
    taken = role == "student" and models.student_init == "teacher_layers" and models.teacher_weights
    return isinstance({"teacher": task.teacher, "student": task.student}[role], BuiltIn) and not (given or taken)


def _span(sizes: Sequence[int]) -> str:
    least, most = min(sizes), max(sizes)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _kind(x: np.ndarray) -> str:
    """Say what inputs (n, ...) were taken for."""
    rows = "word ids" if x.dtype.kind == "i" else "rows of a table"
    kind = {2: rows, 3: "windows", 4: "images"}.get(x.ndim, "arrays")
    return f"{kind}, {' x '.join(map(str, x.shape[1:]))}"
