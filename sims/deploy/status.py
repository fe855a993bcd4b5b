"""What ``fedkd deploy status`` shows: the run under way or the last one, then a row a node."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from fedkd.base.errors import InputError, RunError
from fedkd.results.round import Round
from fedkd.results.run_folder import RunFolder
from server.hub.status import ago
from sims.deploy import flower
from sims.deploy.deployed import Deployed
from sims.deploy.fleet import ONLINE, Member, fleet
from sims.report.table import size

# Seconds between two looks; each takes two of Flower's commands, with a second or more of a core.
_EVERY = 5.0
_STYLES = {ONLINE: "green", "offline": "yellow", "not registered": "red"}
# Of a table that no terminal bounds.
_WIDTH = 240


def show_status(folder: Path, out: Path | None, live: bool, console: Console) -> None:
    """Print what the nodes of a deployment do, once or until Ctrl-C.

    Args:
        folder: The one that `fedkd deploy init` wrote.
        out: Folder of the run whose rounds count; the last one's that was started from here where None.
        live: Keep showing it.
        console: Where to print.

    Raises:
        InputError: The folder is no deployment's, or ``live`` isn't for what the console is.
        RunError: The SuperLink doesn't answer.
    """
    deployed = Deployed.read(folder)
    if not console.is_terminal:
        if live:
            raise InputError("--live is for a terminal; without it `fedkd deploy status` prints its table once")
        console.width = _WIDTH
    if not live:
        console.print(_look(deployed, out))
        return
    try:
        with Live(_look(deployed, out), console=console, auto_refresh=False) as shown:
            while True:
                time.sleep(_EVERY)
                shown.update(_look_again(deployed, out), refresh=True)
    except KeyboardInterrupt:
        return


def _look_again(deployed: Deployed, out: Path | None) -> RenderableType:
    try:
        return _look(deployed, out)
    except RunError as error:  # a SuperLink that is started again is back soon
        return Text(str(error))


def _look(deployed: Deployed, out: Path | None) -> RenderableType:
    out = out or deployed.last_out
    history, where = rounds_of(out)
    members = fleet(deployed.names, deployed.ids, flower.nodes(deployed.env), history)
    runs = flower.runs(deployed.env)
    run = f"run {runs[0].id}: {runs[0].status}" if runs else "no run yet"
    return Group(Text(f"{run}; {where}"), Text(), table_of(members, time.time()))


def rounds_of(out: Path | None) -> tuple[tuple[Round, ...], str]:
    """The rounds of a run that have ended, and how many these are, in words.

    Args:
        out: Its folder; None where it isn't known.
    """
    if out is None:
        return (), "--out RUN shows its rounds"
    try:
        if not (out / "history.jsonl").is_file():
            return (), f"no round has ended in {out}"
        history = RunFolder(out).history
    except PermissionError:
        return (), f"{out} can't be read by this user, so no rounds are shown"
    if not history:
        return (), f"no round has ended in {out}"
    return history, f"{history[-1].number} of {history[-1].rounds} rounds are in {out}"


def table_of(members: Sequence[Member], now: float) -> Table:
    """A row a node.

    Args:
        members: The nodes.
        now: Seconds since 1970.
    """
    right = [Column(name, justify="right") for name in ("round", "seconds", "memory", "refused")]
    node = Column("node", justify="right"), Column("name", overflow="fold")
    classed = any(member.device_class for member in members)
    kind, last = (["class"] if classed else []), Column("last refusal", overflow="fold")
    table = Table(*node, *kind, "state", "since", *right, last, box=None)
    for member in members:
        table.add_row(
            "–" if member.number is None else str(member.number),
            Text(member.name),
            *([Text(member.device_class or "–")] if classed else []),
            Text(member.state, style=_STYLES.get(member.state, "")),
            "–" if member.since is None else ago(now - member.since),
            "–" if member.round is None else str(member.round),
            "–" if member.seconds is None else f"{member.seconds:.1f}",
            "–" if member.peak_bytes is None else size(member.peak_bytes),
            str(member.refusals),
            Text(member.why),
        )
    return table
