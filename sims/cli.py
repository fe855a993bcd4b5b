"""The command ``fedkd``. Heavy modules are imported by the commands that need them, so that --help is quick."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import click
import typer

from fedkd import __version__
from fedkd.base.errors import InputError
from fedkd.config.config import Scalar
from fedkd.config.settings import parse_assignment, read_toml
from fedkd.edge.runtimes import RUNTIMES
from sims.bench.cli import app as bench
from sims.deploy.cli import app as deploy
from sims.edge.cli import edge
from sims.exit_codes import BAD_INPUT, INTERRUPTED, errors_for_people
from sims.export import export
from sims.hub import hub, publish
from sims.lists import methods, tasks
from sims.options import (
    AlphaOption,
    DataOption,
    FinishOption,
    FromRoundOption,
    PartitionOption,
    SeedOption,
    SetOption,
    TaskOption,
    TrackOption,
    TrustOption,
    check_alone,
)
from sims.privacy import privacy
from sims.report.cli import compare, report
from sims.signals import interruptible
from sims.split import split
from sims.terminal import Terminal

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
    help="Federated knowledge distillation: from data to a TFLite model in one command.",
)  # fmt: skip
app.add_typer(bench, name="bench")
app.add_typer(hub, name="hub")
app.add_typer(deploy, name="deploy")
app.command()(edge)
app.command()(publish)
app.command()(split)
app.command()(privacy)
app.command()(tasks)
app.command()(methods)
app.command()(export)
app.command()(compare)
app.command()(report)


def _versions(wanted: bool) -> None:
    """Say which fedkd this is, and the libraries on which a run's bytes depend."""
    if wanted:
        from fedkd.base.versions import versions

        found = versions("flwr", "keras", "tensorflow", "numpy")
        typer.echo(f"fedkd {__version__} ({', '.join(f'{name} {number}' for name, number in found.items())})")
        raise typer.Exit


@app.callback()
def before_commands(
    versions: Annotated[
        bool, typer.Option("--version", callback=_versions, is_eager=True, help="Show versions and exit.")
    ] = False,
) -> None:
    """What comes before any command."""


@app.command()
def run(
    config: Annotated[
        Path | None, typer.Argument(help="Settings as a TOML file, or demo; options override it.")
    ] = None,
    task: TaskOption = None,
    data: DataOption = None,
    method: Annotated[str | None, typer.Option(help="See `fedkd methods`. (default: fedkd)")] = None,
    clients: Annotated[int | None, typer.Option(help="Number of clients. (default: 10, or the natural ones)")] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Rounds of training, before finishing rounds. (default: 20)")
    ] = None,
    partition: PartitionOption = None,
    alpha: AlphaOption = None,
    fraction: Annotated[
        float | None, typer.Option(help="Share of the clients that take part in a round, in (0, 1]. (default: 1)")
    ] = None,
    seed: SeedOption = None,
    finish: FinishOption = None,
    finish_rounds: Annotated[int | None, typer.Option(help="Finishing rounds. (default: 3)")] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz", help="Examples on the server (array x) for int8 files that no client finished."
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local: threads of this process; ray: Flower's simulation engine (extra `ray`).")
    ] = "local",
    out: Annotated[Path | None, typer.Option(help="Folder to write. (default: runs/TASK-METHOD-SEED)")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the folder of an earlier run.")] = False,
    keep_clients: Annotated[bool, typer.Option(help="Keep every client's teacher, as clients/ in the folder.")] = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Go on with a run that stopped, as if it never had; --rounds makes it longer."
        ),
    ] = None,
    from_round: FromRoundOption = None,
    trust: TrustOption = False,
    track: TrackOption = None,
    set_: SetOption = None,
) -> None:
    """Train a federation, make device files of its student, and write a report."""
    flags = {
        "task": task, "data": data, "method": method, "clients": clients, "rounds": rounds, "partition.kind": partition,
        "partition.alpha": alpha, "fraction": fraction, "seed": seed, "edge.finish_rounds": finish_rounds,
        "edge.calibration_file": str(calibration) if calibration else None,
    }  # fmt: skip
    with errors_for_people():
        from fedkd.config.finish import parse_finish
        from sims.missing import check_files
        from sims.report.show import show_report
        from sims.run import resume as go_on
        from sims.run import run as run_experiment

        console = Terminal()
        if resume:
            check_alone("resume", "engine", "rounds", "from_round", "trust", "track")
            show_report(go_on(resume, engine, console, rounds, from_round or 0, trust, track or ()), console)
            check_files(resume)
            return
        if from_round:
            raise InputError(f"--from-round takes --resume RUN, the run to go back in, got {from_round} without")
        flags |= parse_finish(finish) if finish is not None else {}
        settings = _without_preset(_read_run(config), method) if config else {}
        settings |= {key: value for key, value in flags.items() if value is not None}
        settings |= dict(parse_assignment(text) for text in set_ or ())
        folder = run_experiment(settings, engine, out, overwrite, keep_clients, console, track=track or ())
        show_report(folder, console)
        check_files(folder)


@app.command()
def pretrain(
    task: TaskOption = None,
    data: DataOption = None,
    epochs: Annotated[int, typer.Option(help="Passes over the examples.")] = 10,
    left_out: Annotated[
        bool, typer.Option("--left-out", help="Use the examples that partition.examples leaves out of a run.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="File to write. (default: runs/TASK-MODEL-SEED.weights.h5)")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the file where it exists.")] = False,
    distil: Annotated[
        bool, typer.Option("--distil", help="Train the student by the teacher instead, for model.student_weights.")
    ] = False,
    set_: SetOption = None,
) -> None:
    """Train a task's teacher on examples without labels, for model.teacher_weights of a run."""
    with errors_for_people():
        from sims.pretrain import pretrain as train

        flags: dict[str, Scalar | None] = {"task": task, "data": data}
        settings = {key: value for key, value in flags.items() if value is not None}
        settings |= dict(parse_assignment(text) for text in set_ or ())
        console = Terminal()
        file = train(settings, epochs, left_out, out, overwrite, console, distil)
        console.print(f"weights: {file}", highlight=False)


@app.command()
def suite(
    file: Annotated[
        Path, typer.Argument(help="Methods, tasks, seeds and settings to run, or the name of a shipped suite.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to write, or to go on in. (default: runs/NAME)")] = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="TASK=PATH", help="Data file of a task. May be repeated.")
    ] = None,
    reports: Annotated[bool, typer.Option("--reports", help="Write each cell's report.html, too.")] = False,
    track: TrackOption = None,
) -> None:
    """Run every cell of a suite that isn't finished yet, and write its table and plots."""
    with errors_for_people():
        from sims.suite.run import run_suite

        console = Terminal()
        paths = dict(_data_path(text) for text in data or ())
        folder = run_suite(file, out, paths, console, reports, track or ())
        console.print(f"results: {folder / 'results.md'}", highlight=False)


@app.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="A .tflite file.")],
    task: Annotated[str, typer.Option(help="Task whose test set to run; see `fedkd tasks`.")],
    runtime: Annotated[
        str,
        typer.Option(help="; ".join(f"{each.name}, {each.help or each.label}" for each in RUNTIMES.values()) + "."),
    ] = "litert",
    data: DataOption = None,
    set_: SetOption = None,
) -> None:
    """Run a device file over a task's whole test set and print its quality; in tflm, the memory it needs too."""
    with errors_for_people():
        from sims.evaluate import evaluate as measured

        given = ({"data": data} if data is not None else {}) | dict(parse_assignment(text) for text in set_ or ())
        print(measured(file, task, runtime, given, Terminal(stderr=True)))


def _without_preset(settings: dict[str, Scalar], method: str | None) -> dict[str, Scalar]:
    """Drop what a file holds only because its method set it, where another method is asked for."""
    from fedkd.config.methods import method as find

    before = str(settings.get("method", "fedkd"))
    if method in (None, before):
        return settings
    preset = {key for name in (before, str(method)) for part in (find(name).settings, find(name).fixed) for key in part}
    return {key: value for key, value in settings.items() if key not in preset}


def _read_run(config: Path) -> dict[str, Scalar]:
    from sims.experiments import experiment_file
    from sims.suite.suite_file import is_suite

    settings = read_toml(experiment_file(config))
    if is_suite(settings):
        raise InputError(f"{config}: a suite, not the configuration of one run: give it to `fedkd suite`")
    return settings


def _data_path(text: str) -> tuple[str, str]:
    task, equals, path = text.partition("=")
    if not equals or not path:
        raise InputError(f"--data takes TASK=PATH, got {text!r}")
    return task, path


def main() -> None:
    """Entry point of the command: what the parser refuses gets one line and code 2; SIGTERM does as Ctrl-C does."""
    try:
        with interruptible():
            sys.exit(app(standalone_mode=False))
    except (click.NoSuchOption, click.BadParameter) as error:
        _refuse(error.format_message())
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(INTERRUPTED)


def _refuse(text: str) -> NoReturn:
    print(f"error: {text}", file=sys.stderr)
    sys.exit(BAD_INPUT)
