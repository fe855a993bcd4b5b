"""A run on a federation that is up: on real machines, whose data nobody else sees."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from fedkd.base.errors import InputError, RunError
from fedkd.config.config import Scalar
from fedkd.config.finish import rounds_in_words
from fedkd.config.settings import check_settings, to_settings
from fedkd.config.trust import trusted_settings
from fedkd.protocol.resolve import experiment_of
from fedkd.results.resuming import check_resumable
from sims.deploy import flower
from sims.deploy.app_folder import write_app
from sims.deploy.deployed import Deployed
from sims.deploy.processes import last_message
from sims.progress import watch
from sims.run import absolute


def submit(
    folder: Path,
    settings: Mapping[str, Scalar],
    out: Path,
    overwrite: bool,
    resume: bool,
    console: Console,
    from_round: int = 0,
    trust: bool = False,
) -> None:
    """Start a run on all nodes of a deployment and wait for its end.

    Args:
        folder: The one that `fedkd deploy init` wrote.
        settings: Dotted keys; unless they say otherwise, each node trains on its own data. A run that goes on has
            those it had, where its folder can be read here.
        out: Folder of the run, on the SuperLink's machine.
        overwrite: Replace the folder of an earlier run.
        resume: Go on with the run of that folder, which stopped.
        console: Where to show progress, if this is that machine.
        from_round: With ``resume``: go on after this round, one of those that are kept; 0 for the last.
        trust: Whether code that the configuration of that run names may run, though ``settings`` don't name it.

    Raises:
        InputError: The folder is no deployment's, or a setting breaks a rule.
        RunError: Flower doesn't answer, or the run failed.
    """
    if from_round and not resume:
        raise InputError(f"--from-round takes --resume, there is no run to go back in, got {from_round} without")
    deployed, out = Deployed.read(folder), out.absolute()
    given: dict[str, Scalar] = {"clients": len(deployed.names), "task": deployed.task, "partition.kind": "nodes"}
    before = out / "config.toml"
    known = resume and os.path.isfile(before)  # else it may be on another machine, or not ours to read
    given |= {**(trusted_settings(before, trust, settings) if known else {}), **settings}
    config = experiment_of(absolute(check_settings(given))).config
    if known:
        check_resumable(out, config, from_round)
    env = deployed.env
    options: dict[str, Scalar] = {"out": str(out), "engine": "deployment", "overwrite": overwrite, "resume": resume}
    run_config = {**to_settings(config), **options, "from_round": from_round}
    console.print(rounds_in_words(config), highlight=False)
    with tempfile.TemporaryDirectory() as work:
        write_app(Path(work), run_config)
        run = flower.start(env, Path(work))
    console.print(f"run {run}; stop it with: FLWR_HOME={folder.absolute() / 'admin'} flwr stop {run}", highlight=False)
    history, rounds = out / "history.jsonl", config.total_rounds
    shown = watch(history, rounds, console, config.device_files) if _visible(out) else contextlib.nullcontext()
    with shown:
        state = flower.wait_until_finished(env, run, lambda: os.path.exists(out / "summary.json"))
    if state != "finished:completed":
        handle, log = tempfile.mkstemp(prefix=f"fedkd-run-{run}-", suffix=".log")
        with open(handle, "w", encoding="utf-8") as file:
            file.write(flower.log_of(env, run))
        raise RunError(f"the run ended as {state}: {last_message(Path(log))} (log: {log})")


def _visible(out: Path) -> bool:
    """Whether a run's folder, or its absence, can be seen by this user."""
    try:
        (out / "history.jsonl").exists()
    except PermissionError:
        return False
    return True
