"""The command ``fedkd export``: a client's teacher, or the student of a run, as a .keras file."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedkd.base import runtime
from fedkd.base.checkpoint_store import CheckpointStore, ungrouped
from fedkd.base.errors import InputError
from fedkd.base.tensors import Weights
from fedkd.config.config import Config, Scalar
from fedkd.config.settings import build
from fedkd.config.trust import trusted_settings
from fedkd.results.run_folder import RunFolder, is_run
from sims.exit_codes import errors_for_people
from sims.one_file import reserved_file, write_whole
from sims.options import TrustOption
from sims.terminal import Terminal

if TYPE_CHECKING:
    from fedkd.protocol.experiment import Experiment
    from server.checkpoint import RunProgress

ENDING = ".keras"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, finished or not.")],
    teacher: Annotated[int | None, typer.Option(metavar="N", help="The teacher of client N, from 0.")] = None,
    student: Annotated[bool, typer.Option("--student", help="The student, as far as the run has come.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.keras", help="File to write. (default: RUN-teacher-N.keras)")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the file where it exists.")] = False,
    trust: TrustOption = False,
) -> None:
    """Write a client's teacher, or the student, as a model that Keras loads: it gives logits."""
    with errors_for_people():
        if student == (teacher is not None):
            raise InputError("--teacher N or --student: one of the two says which model to write")
        name = "student" if teacher is None else f"teacher-{teacher}"
        file = out or run.absolute().with_name(f"{run.absolute().name}-{name}{ENDING}")
        console = Terminal()
        said = write_model(run.absolute(), teacher, file, overwrite, trust)
        console.print(f"{name} after {said}: {file}", highlight=False, soft_wrap=True)


def write_model(folder: Path, client: int | None, file: Path, overwrite: bool, trust: bool) -> str:
    """Write a model of a run.

    Args:
        folder: The run's, absolute.
        client: Whose teacher; None for the student.
        file: To be written.
        overwrite: Whether it may be replaced.
        trust: Whether code that the run's configuration names may run.

    Returns:
        How far the model was trained, in words.

    Raises:
        InputError: There is no run, or it doesn't hold that model, or the file can't be written.
    """
    if not is_run(folder):
        raise InputError(f"{folder}: not the folder of a run, it has no config.toml that fedkd wrote")
    settings = trusted_settings(folder / "config.toml", trust)
    _check_method(folder, build(settings), client)
    with reserved_file(file, ENDING, overwrite):
        whole = folder / "student.keras"
        if client is None and (folder / "summary.json").is_file() and whole.is_file():
            write_whole(file, lambda path: shutil.copyfile(whole, path))
            return "training"
        experiment = _experiment(settings)
        said, save = _student(folder, experiment) if client is None else _teacher(folder, experiment, client)
        write_whole(file, save)
    return said


def _check_method(folder: Path, config: Config, client: int | None) -> None:
    """Refuse what a run of its method has nowhere."""
    method, shared = f"{folder}: method {config.method!r}", config.exchange.shared
    if client is None and shared not in ("student", "both"):
        raise InputError(f"{method} shares no student, so nobody here has one")
    if client is None:
        return
    if config.train.models == "student":
        raise InputError(f"{method} trains no teacher")
    if config.ships and shared == "teacher":
        raise InputError(f"{method} has all clients share one teacher: that is {folder / 'student.keras'}")
    if shared == "both":
        raise InputError(f"{method} has all clients share one teacher, so none is a client's own")
    if not 0 <= client < config.clients:
        raise InputError(f"--teacher must be from 0 to {config.clients - 1}, this run's clients, got {client}")


def _experiment(settings: Mapping[str, Scalar]) -> "Experiment":
    from fedkd.protocol.resolve import resolve
    from sims.run import absolute

    runtime.configure()
    return resolve(absolute(settings))


# Writes a model to a path.
_Save = Callable[[Path], object]


def _student(folder: Path, experiment: "Experiment") -> tuple[str, _Save]:
    """The shared model of a run that stopped, as training left it or has brought it so far."""
    from fedkd.models.inspect import logits_model

    progress = _progress(folder, experiment)
    if progress is None:
        raise InputError(f"{folder}: has no student yet: no round has ended, or its data have changed since")
    rounds = min(progress.state.round, experiment.config.rounds)
    if rounds <= experiment.config.teacher_rounds:
        raise InputError(
            f"{folder}: has no student yet: its first {experiment.config.teacher_rounds} rounds train the teacher alone"
        )
    weights = experiment.parts(progress.trained or progress.state.shared)[experiment.shown]
    return f"round {rounds}", logits_model(experiment.shared_model, weights).save


def _teacher(folder: Path, experiment: "Experiment", client: int) -> tuple[str, _Save]:
    """A client's teacher, from what the client keeps in the run's folder."""
    from fedkd.models.inspect import logits_model
    from fedkd.protocol.kinds import teaches
    from fedkd.protocol.local import models_of

    if not teaches(experiment.config, kind := experiment.kind(client)):
        raise InputError(f"{folder}: client {client} is of class {kind!r}, which trains no teacher")
    found = max(_held(folder, experiment, client), key=lambda held: held[0], default=None)
    if found is None:
        raise InputError(
            f"{folder}: holds no teacher of client {client}: a run keeps them with --keep-clients, or as long as it"
            " hasn't finished, and only of clients that took part; one whose data have changed since counts as none"
        )
    model = models_of(experiment, kind)["teacher"]
    return f"round {found[0]}", logits_model(model, found[1], "teacher").save


def _held(folder: Path, experiment: "Experiment", client: int) -> Iterator[tuple[int, Weights]]:
    """Rounds and teachers that a client has kept, in a folder of its own or in the file of all."""
    from clients.node.state_folder import owner_of

    for place in sorted((folder / "clients" / f"client-{client}").glob("*")):
        owner, saved = CheckpointStore(place, "").newest() or ("", None)
        if saved and owner.endswith(owner_of("", experiment.fingerprint, experiment.kind(client))):
            yield saved.round, ungrouped(saved.tensors, saved.header["groups"])["teacher"]
    yield from _pooled(folder, experiment, client)


def _pooled(folder: Path, experiment: "Experiment", client: int) -> Iterator[tuple[int, Weights]]:
    from clients.node.state_file import StateFile, pooled_path
    from clients.node.state_folder import owner_of
    from fedkd.protocol.federation import new_client

    progress = _progress(folder, experiment)
    if progress is None or not any(folder.glob("clients.state*")):
        return
    state, kind = progress.state, experiment.kind(client)
    run = owner_of(state.run, experiment.fingerprint, kind)
    now = experiment.at(state.round, state.removed_channels)
    for stage in dict.fromkeys((experiment, now)):
        local = stage.local(client)
        path = pooled_path(folder / "clients.state", stage.stage, local.kind)
        held = StateFile(path, run, client, new_client(local)).load()
        if held:
            yield held.round, held.local["teacher"]


def _progress(folder: Path, experiment: "Experiment") -> "RunProgress | None":
    from server.checkpoint import Checkpoint

    return Checkpoint(RunFolder(folder).states, experiment.fingerprint).load()
