"""The command ``fedkd bench``."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from fedkd.base.errors import InputError
from fedkd.config.config import Scalar
from sims.bench.report import as_markdown, report, show
from sims.exit_codes import errors_for_people
from sims.terminal import Terminal

app = typer.Typer(no_args_is_help=True, help="Measure speed and memory, as ratios to this machine's matrix products.")

CLIENTS = (10, 100, 1000)
TINY = ("keyword_spotting", "visual_wake_words", "image_classification", "anomaly_detection")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
DataOption = Annotated[str, typer.Option(help="File with the data of a named task, where it needs one.")]
RepeatsOption = Annotated[int, typer.Option(min=1, help="Runs of each; the median counts.")]


@app.command()
def engine(
    clients: Annotated[list[int] | None, typer.Option(help="10, 100 or 1000; may be repeated. (default: 100)")] = None,
    work: Annotated[
        list[str] | None,
        typer.Option(help="fedavg, fedkd or, alone, text; may be repeated. (default: fedavg and fedkd)"),
    ] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Of each run; the first, which compiles, isn't counted.")] = 4,
    repeats: RepeatsOption = 3,
    peers: Annotated[
        bool, typer.Option(help="Also run other simulators on the fedavg work, a loop in torch on text.")
    ] = False,
    environments: Annotated[
        Path, typer.Option(help="Where the peers' virtual environments are made and kept (some 6 GB).")
    ] = Path(".peers"),
    pretrained: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Of text: a Hugging Face folder. (default: random weights)")
    ] = None,
    frozen: Annotated[bool, typer.Option("--frozen", help="Of text: its tables stay as they are.")] = False,
    against: Annotated[Path | None, typer.Option(metavar="CHECKOUT", help="Of text: another build of fedkd.")] = None,
    json: JsonOption = False,
) -> None:
    """Client updates a second through ServerApp, grid and ClientApp, and of a loop by hand, against the floor."""
    counts, works = clients or [100], work or ["fedavg", "fedkd"]

    def measure() -> dict[str, Any]:
        from sims.bench.compare import engine_report, text_report

        folder = environments if peers else None
        if works == ["text"]:
            return text_report(pretrained, frozen, against and against.absolute(), folder, rounds, repeats)
        return engine_report(counts, works, rounds, repeats, folder)

    with errors_for_people():
        _known("--clients", counts, CLIENTS)
        _known("--work", works, ("fedavg", "fedkd", "text"))
        if "text" in works and works != ["text"]:
            raise InputError(f"--work text must be alone, got {', '.join(works)}")
        _check_checkout(against)
        if works != ["text"] and (pretrained or frozen or against):
            raise InputError("--pretrained, --frozen and --against must be left out without --work text")
        _show(measure, json)


@app.command()
def svd(repeats: RepeatsOption = 5, json: JsonOption = False) -> None:
    """Milliseconds to the singular vectors that an energy of 0.95 needs, by three ways, on one core."""
    with errors_for_people():
        _show(partial(_measure, "svd", threads=1, repeats=repeats), json)


@app.command()
def codec(repeats: RepeatsOption = 20, json: JsonOption = False) -> None:
    """Megabytes a second through encode and decode, on one core."""
    with errors_for_people():
        _show(partial(_measure, "codec", threads=1, repeats=repeats), json)


@app.command()
def kernels(json: JsonOption = False) -> None:
    """What FedKD's rule sends of a kernel of full rank and of a 3x3 convolution, and how much of them it loses."""
    with errors_for_people():
        _show(partial(_measure, "kernels", threads=1), json)


@app.command()
def profile(
    task: Annotated[
        str, typer.Option(help="See `fedkd tasks`. (default: the works of `fedkd bench engine`, and their operations)")
    ] = "",
    data: DataOption = "",
    repeats: RepeatsOption = 10,
    json: JsonOption = False,
) -> None:
    """Where the time of a client's round goes: its parts, and the operations of its training, on one core."""
    with errors_for_people():
        where = _absolute(data)
        _show(partial(_measure, "profile", threads=1, repeats=repeats, task=task, data=where), json)


@app.command()
def step(
    task: Annotated[str, typer.Option(help="See `fedkd tasks`.")] = "digits",
    data: DataOption = "",
    repeats: RepeatsOption = 10,
    json: JsonOption = False,
) -> None:
    """A training step by a file in LiteRT beside TensorFlow's compiled one, and how far their updates are apart."""
    with errors_for_people():
        where = _absolute(data)
        _show(partial(_measure, "step", threads=1, repeats=repeats, task=task, data=where), json)


@app.command()
def grid(
    clients: Annotated[int, typer.Option(help="10, 100 or 1000.")] = 1000,
    repeats: RepeatsOption = 1,
    json: JsonOption = False,
) -> None:
    """What a round costs besides the clients' work: messages, strategy, coding on the server."""
    with errors_for_people():
        _known("--clients", [clients], CLIENTS)
        _show(partial(_measure, "grid", clients=clients, repeats=repeats), json)


@app.command()
def scale(
    rounds: Annotated[int, typer.Option(min=2, help="Of each run; the first, which compiles, isn't counted.")] = 6,
    json: JsonOption = False,
) -> None:
    """Memory, disk and time with 100 000 clients of which 100 train a round, against 100 clients in all."""
    with errors_for_people():
        _show(partial(_measure, "scale", rounds=rounds), json)


@app.command()
def link(
    task: Annotated[str, typer.Option(help="See `fedkd tasks`.")] = "uci_har",
    data: DataOption = "",
    method: Annotated[
        list[str] | None, typer.Option(help="May be repeated. (default: fedkd and fedavg_teacher)")
    ] = None,
    clients: Annotated[int, typer.Option(min=1, help="Nodes, each behind a link of its own.")] = 3,
    examples: Annotated[int, typer.Option(min=0, help="Training examples of all nodes together, 0 for all.")] = 600,
    kbits: Annotated[int, typer.Option(min=1, help="Of each link, each way, in kbit/s.")] = 250,
    milliseconds: Annotated[int, typer.Option(min=0, help="Delay of each link, each way.")] = 200,
    json: JsonOption = False,
) -> None:
    """Seconds of a round of a real federation over slow links: the kernel's where root may have them."""
    with errors_for_people():
        from sims.bench.link import rows

        where = _absolute(data)
        settings: dict[str, Scalar] = {"task": task, "data": where, "clients": clients, "partition.kind": "iid"}
        methods = method or ["fedkd", "fedavg_teacher"]
        with Terminal(stderr=True).status("two rounds of each method over slow links, which takes minutes"):
            found = rows({**settings, "partition.examples": examples}, methods, kbits, milliseconds)
        show({"bench": "link", "kbits": kbits, "milliseconds": milliseconds, "rows": found}, json, Terminal())


@app.command()
def node(
    task: Annotated[str, typer.Option(help="See `fedkd tasks`.")] = "digits",
    data: DataOption = "",
    against: Annotated[
        Path | None, typer.Option(metavar="CHECKOUT", help="Another build. (default: this one's nodes with TensorFlow)")
    ] = None,
    install: Annotated[bool, typer.Option("--install", help="Install both, too, for their room on disk.")] = False,
    repeats: RepeatsOption = 1,
    json: JsonOption = False,
) -> None:
    """Memory, processor and seconds that a node's processes take in a round of `fedkd deploy up`, with three nodes."""
    with errors_for_people():
        from fedkd.config.model import ModelConfig
        from fedkd.tasks.registry import load_task
        from sims.bench.machine import describe
        from sims.bench.node import installed, rows, sides

        if not Path("/proc/self/status").exists():
            raise InputError("bench node must run on Linux: it reads /proc")
        where = _absolute(data)
        load_task(task, ModelConfig(), where)  # before minutes have passed
        _check_checkout(against)
        compared = sides(against.absolute() if against else None)
        with Terminal(stderr=True).status("four federations or more, which takes some minutes"):
            found = rows(task, where, compared, repeats)
            here = compared[1].source
            sources = {compared[0].name: compared[0].source, compared[1].name: here / "clients" / "node"}
            disk = installed(sources) if install else [{}, {}]
        joined = [row | room for row, room in zip(found, disk, strict=True)]
        show({"bench": "node", "rows": joined, "machine": describe()}, json, Terminal())


@app.command()
def tiny(
    network: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(TINY)}; may be repeated. (default: all)")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table for a document.")] = False,
    json: JsonOption = False,
) -> None:
    """The four networks of MLPerf Tiny made small in three ways: cost, bytes, arena, and what int8 changes."""
    with errors_for_people():
        _known("--network", network or [], TINY)
        if markdown and json:
            raise InputError("--markdown and --json must not be given together; choose one")
        result = _run_tiny(network or list(TINY))
        if markdown:
            print(as_markdown(result["rows"]))
        else:
            show(result, json, Terminal())


def _absolute(data: str) -> str:
    """Path of a data file for processes that run elsewhere; empty where there is none."""
    return str(Path(data).absolute()) if data else ""


def _check_checkout(against: Path | None) -> None:
    if against is not None and not (against / "fedkd").is_dir():
        raise InputError(f"--against must be a checkout of fedkd, got {str(against)!r}")


def _run_tiny(networks: list[str]) -> dict[str, Any]:
    from fedkd.base import runtime
    from sims.bench.machine import describe

    with Terminal(stderr=True).status("training and converting, which takes some minutes a network"):
        runtime.configure()  # before anything else imports TensorFlow
        from sims.bench.tiny import rows

        return {"bench": "tiny", "rows": rows(networks), "machine": describe()}


def _measure(bench: str, threads: int = 0, **options: int | str) -> dict[str, Any]:
    """Measure the machine, on all cores where ``threads`` is 0, and then ``sims.bench.BENCH`` against it."""
    from sims.bench.machine import matmul_gflops

    rate = matmul_gflops(threads)
    return report(bench, rate, import_module(f"sims.bench.{bench}").rows(rate, **options))


def _show(measure: Callable[[], dict[str, Any]], json: bool) -> None:
    from fedkd.base import runtime
    from sims.bench.machine import describe

    with Terminal(stderr=True).status("measuring; other work on this machine falsifies it"):
        runtime.configure()  # before anything else imports TensorFlow
        result = measure()
    show({**result, "machine": describe()}, json, Terminal())


def _known(option: str, given: list[Any], known: tuple[Any, ...]) -> None:
    for value in given:
        if value not in known:
            raise InputError(f"{option} must be one of {', '.join(map(str, known))}, got {value!r}")
