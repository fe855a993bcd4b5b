"""Runs of a deployment from outside: what they log, and how they are stopped."""

from pathlib import Path

import click

from fedkd.base.errors import InputError
from fedkd.results.run_folder import is_run
from sims.deploy import flower
from sims.deploy.deployed import Deployed
from sims.deploy.status import rounds_of

_HEAD = "Using SuperLink"  # Flower's command writes this before the log


def log_of(deployed: Deployed, run: str | None, colours: bool) -> str:
    """What the ServerApp of a run has logged.

    Args:
        deployed: Where it ran.
        run: Flower's id of it; the newest where None.
        colours: Whether to keep the codes of colours.

    Raises:
        InputError: There is no such run.
        RunError: The SuperLink doesn't answer.
    """
    known = [known.id for known in flower.runs(deployed.env)]
    if not known:
        raise InputError(f"{deployed.folder}: no run yet, so there is no log; `fedkd deploy run` starts one")
    if run is not None and run not in known:
        raise InputError(f"--run must be one of the SuperLink's runs, {', '.join(known)}; got {run!r}")
    lines = flower.log_of(deployed.env, run or known[0]).splitlines()
    text = "\n".join(line for line in lines if not line.startswith(_HEAD)).strip()
    return text if colours else click.unstyle(text)


def where_nodes_log(number: int | None) -> str:
    """Say where a node's log is; that of any where it has no number."""
    which, whose = ("N", "a node's log is") if number is None else (str(number), "its log is")
    unit = f"journalctl -u fedkd-supernode@{which} (fedkd-node, where install.sh made it)"
    return f"{whose} on its own machine: {unit}, or where its start.sh was started"


def stop(deployed: Deployed) -> list[str]:
    """Stop all runs under way; a line a run.

    Raises:
        RunError: The SuperLink doesn't answer, or doesn't stop one.
    """
    under_way = [run for run in flower.runs(deployed.env) if not run.finished]
    for run in under_way:
        flower.stop(deployed.env, run.id)
    if not under_way:
        return ["no run is under way"]
    said, out = [f"stopped run {run.id}" for run in under_way], deployed.last_out
    if out is None:
        return said
    return [*said, "; ".join(filter(None, [rounds_of(out)[1], how_to_go_on(deployed, out)]))]


def how_to_go_on(deployed: Deployed, out: Path, option: str = "") -> str:
    """Say how a run of this deployment that was stopped goes on; empty where it hadn't begun.

    Args:
        deployed: Where it ran.
        out: Folder of the run.
        option: What the command has to be given besides, after a space.
    """
    try:
        if not is_run(out):
            return ""
    except PermissionError:
        pass  # it is the SuperLink's, and there for all this user knows
    return f"go on with: fedkd deploy run {deployed.folder} --out {out} --resume{option}"
