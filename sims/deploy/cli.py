"""The command ``fedkd deploy``."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from fedkd.base.errors import InputError
from fedkd.config.config import Scalar
from fedkd.config.finish import parse_finish
from fedkd.config.settings import parse_assignment, read_toml
from sims.exit_codes import errors_for_people
from sims.options import (
    AlphaOption,
    DataOption,
    FinishOption,
    FromRoundOption,
    PartitionOption,
    SeedOption,
    SetOption,
    TrustOption,
    check_alone,
)
from sims.split import is_split
from sims.terminal import Terminal

app = typer.Typer(no_args_is_help=True, help="Federations of real machines, on Flower's SuperLink and SuperNodes.")

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `fedkd deploy init` wrote.")]
TaskOption = Annotated[str | None, typer.Option(help="See `fedkd tasks`. (default: digits)")]
MethodOption = Annotated[str | None, typer.Option(help="See `fedkd methods`. (default: fedkd)")]
RoundsOption = Annotated[int | None, typer.Option(help="Rounds of training. (default: 20)")]
ConfigOption = Annotated[Path | None, typer.Option(help="Settings as a TOML file; options override it.")]
OutOption = Annotated[Path | None, typer.Option(help="Folder to write. (default: runs/TASK-METHOD-SEED)")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, which stopped.")]
OverwriteOption = Annotated[bool, typer.Option(help="Replace the folder of an earlier one.")]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write.")],
    nodes: Annotated[int, typer.Option(help="Number of nodes, each with a key of its own.")],
    host: Annotated[
        list[str] | None,
        typer.Option(help="Name or address by which nodes reach the SuperLink; may be repeated. (default: 127.0.0.1)"),
    ] = None,
    task: Annotated[str, typer.Option(help="What nodes check their data for.")] = "digits",
    name: Annotated[
        list[str] | None,
        typer.Option(help="What you call node 0; repeat it for node 1, and so on. (default: node-0, node-1, …)"),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write certificates, node keys, start scripts, systemd units and a guide."""
    with errors_for_people():
        from sims.deploy.check import check_task
        from sims.deploy.folder import Deployment, write_deployment

        if why := check_task(task):
            print(f"warning: {why}, so that it wasn't checked; every machine needs it", file=sys.stderr)
        made = Deployment(folder, nodes, tuple(host or ["127.0.0.1"]), task, names=tuple(name or ()))
        write_deployment(made, overwrite)
        Terminal().print(f"what to do next: {folder / 'README.md'}", highlight=False)


@app.command()
def register(folder: FolderArgument) -> None:
    """Make the nodes' keys known to the SuperLink, which is up; those that are known already stay as they are."""
    with errors_for_people():
        from sims.deploy.deployed import Deployed
        from sims.deploy.register import register as register_keys

        console = Terminal()
        for left in register_keys(Deployed.read(folder), lambda line: console.print(line, soft_wrap=True)):
            print(f"warning: {left}", file=sys.stderr)


@app.command()
def up(
    local: Annotated[int, typer.Option(metavar="N", help="Number of nodes, all on this machine.")],
    config: ConfigOption = None,
    task: TaskOption = None,
    data: DataOption = None,
    method: MethodOption = None,
    rounds: RoundsOption = None,
    partition: PartitionOption = None,
    alpha: AlphaOption = None,
    finish: FinishOption = None,
    seed: SeedOption = None,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    resume: ResumeOption = False,
    from_round: FromRoundOption = None,
    trust: TrustOption = False,
    set_: SetOption = None,
) -> None:
    """Start a whole federation on this machine, run it, stop it: the result is that of `fedkd run`, bit for bit."""
    flags = {
        "task": task, "data": data, "method": method, "rounds": rounds, "seed": seed, "partition.kind": partition,
        "partition.alpha": alpha,
    }  # fmt: skip
    with errors_for_people():
        from sims.deploy.up import resume as go_on
        from sims.deploy.up import up as run
        from sims.missing import check_files
        from sims.report.show import show_report

        console = Terminal()
        if resume:
            check_alone("resume", "local", "out", "rounds", "from_round", "trust")
            if out is None:
                raise InputError("--resume takes --out RUN, the folder of the run that goes on")
            show_report(go_on(out, local, console, rounds, from_round or 0, trust), console)
            check_files(out)
            return
        if from_round or trust:
            raise InputError("--from-round and --trust take --resume: there is no run that could go on without")
        own = config.parent if config and is_split(config.parent) else None
        folder = run(_settings(config, flags, finish, set_), local, out, overwrite, console, own)
        show_report(folder, console)
        check_files(folder)


@app.command()
def run(
    folder: FolderArgument,
    out: Annotated[Path, typer.Option(help="Folder for the run to write, on the SuperLink's machine.")],
    config: ConfigOption = None,
    task: TaskOption = None,
    data: DataOption = None,
    method: MethodOption = None,
    rounds: RoundsOption = None,
    finish: FinishOption = None,
    seed: SeedOption = None,
    overwrite: OverwriteOption = False,
    resume: ResumeOption = False,
    from_round: FromRoundOption = None,
    trust: TrustOption = False,
    set_: SetOption = None,
) -> None:
    """Start a run on nodes that have their own data, and wait for its end."""
    flags = {"task": task, "data": data, "method": method, "rounds": rounds, "seed": seed}
    with errors_for_people():
        from sims.deploy.submit import submit

        console = Terminal()
        settings = _settings(config, flags, finish, set_)
        submit(folder, settings, out, overwrite, resume, console, from_round or 0, trust)
        console.print(f"done: {out}; `fedkd report {out}` makes its page", highlight=False)


@app.command()
def status(
    folder: FolderArgument,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Folder of the run. (default: the last one's started from DIR)")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Keep the table up to date until Ctrl-C.")] = False,
) -> None:
    """Say of each node whether it is online, its last round with seconds and memory, and what was refused of it."""
    with errors_for_people():
        from sims.deploy.status import show_status

        show_status(folder, out, live, Terminal())


@app.command()
def logs(
    folder: FolderArgument,
    run: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Flower's id of the run, see `fedkd deploy status`. (default: the newest)"),
    ] = None,
    node: Annotated[
        str | None, typer.Option(metavar="N", help="Say where this node's log is; N is its number or its name.")
    ] = None,
) -> None:
    """Show what the server of a run has logged, and say where nodes log."""
    with errors_for_people():
        from sims.deploy.deployed import Deployed
        from sims.deploy.running import log_of, where_nodes_log

        deployed = Deployed.read(folder)
        if node is not None:
            print(where_nodes_log(deployed.number_of(node)))
            return
        print(log_of(deployed, run, sys.stdout.isatty()))
        print(where_nodes_log(None), file=sys.stderr)


@app.command()
def stop(folder: FolderArgument) -> None:
    """Stop the run under way; it can go on later."""
    with errors_for_people():
        from sims.deploy.deployed import Deployed
        from sims.deploy.running import stop as stop_runs

        for line in stop_runs(Deployed.read(folder)):
            print(line)


@app.command()
def check(
    own: Annotated[Path, typer.Option(help="This node's examples: an .npz with x and y.")],
    state_dir: Annotated[Path, typer.Option(help="Where this node keeps its state.")],
    task: TaskOption = None,
    data: DataOption = None,
    set_: SetOption = None,
) -> None:
    """Check what a node brings, before it starts."""
    with errors_for_people():
        from sims.deploy.check import check_node

        count, odd = check_node(_settings(None, {"task": task, "data": data}, None, set_), own, state_dir)
        print(f"{own}: {count} examples, as the task wants them; state in {state_dir}")
        if odd:
            print(f"warning: {own}: {odd}")


def _settings(
    config: Path | None, flags: Mapping[str, Scalar | None], finish: str | None, set_: list[str] | None
) -> dict[str, Scalar]:
    """Settings of a file, over them those of options, over these those of ``--set``."""
    settings = read_toml(config) if config else {}
    settings |= {key: value for key, value in flags.items() if value is not None}
    settings |= parse_finish(finish) if finish is not None else {}
    return settings | dict(parse_assignment(text) for text in set_ or ())
