"""A run on a federation that is up: on real machines, whose data nobody else sees."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from fedkd.base.errors import InputError, RunError, StoppedError
from fedkd.config.config import Config, Scalar
from fedkd.config.finish import rounds_in_words
from fedkd.config.settings import check_settings, to_settings
from fedkd.config.trust import trust_option, trusted_settings
from fedkd.protocol.resolve import experiment_of
from fedkd.results.resuming import check_resumable
from sims.deploy import flower
from sims.deploy.app_folder import write_app
from sims.deploy.deployed import Deployed
from sims.deploy.processes import last_message
from sims.deploy.running import how_to_go_on
from sims.deploy.waiting import Waiting
from sims.progress import watch
from sims.run import absolute, how_far


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
        StoppedError: Somebody stopped the run.
        KeyboardInterrupt: This command was stopped; the run goes on.
    """
    deployed, out = Deployed.read(folder), out.absolute()
    config = _config_of(deployed, settings, out, resume, from_round, trust)
    options: dict[str, Scalar] = {"out": str(out), "engine": "deployment", "overwrite": overwrite, "resume": resume}
    run_config = {**to_settings(config), **options, "from_round": from_round}
    console.print(rounds_in_words(config), highlight=False)
    deployed.remember_run(out)
    waiting = Waiting(deployed, out / "history.jsonl", console)
    with tempfile.TemporaryDirectory() as work:
        write_app(Path(work), run_config)
        run = flower.start(deployed.env, Path(work))
    console.print(f"run {run}; `fedkd deploy stop {folder}` stops it", highlight=False, soft_wrap=True)
    history, rounds = out / "history.jsonl", config.total_rounds
    shown = watch(history, rounds, console, config.device_files) if _visible(out) else contextlib.nullcontext()
    try:
        with shown:
            done = partial(os.path.exists, out / "summary.json")
            state = flower.wait_until_finished(deployed.env, run, done, waiting.heard)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"but run {run} goes on: `fedkd deploy stop {folder}` stops it") from None
    _check_completed(state, deployed, run, config, out)


def _config_of(
    deployed: Deployed, settings: Mapping[str, Scalar], out: Path, resume: bool, from_round: int, trust: bool
) -> Config:
    """The whole configuration of a run: what is given, what it had before, and what the deployment says."""
    if from_round and not resume:
        raise InputError(f"--from-round takes --resume, there is no run to go back in, got {from_round} without")
    given: dict[str, Scalar] = {"clients": len(deployed.names), "task": deployed.task, "partition.kind": "nodes"}
    before = out / "config.toml"
    known = resume and os.path.isfile(before)  # else it may be on another machine, or not ours to read
    given |= {**(trusted_settings(before, trust, settings) if known else {}), **settings}
    config = experiment_of(absolute(check_settings(given))).config
    if known:
        check_resumable(out, config, from_round)
    return config


def _check_completed(state: str, deployed: Deployed, run: str, config: Config, out: Path) -> None:
    """Raise what a run's end means that wasn't a good one."""
    if state == "finished:completed":
        return
    if state == "finished:stopped":
        by = "stopped by `fedkd deploy stop` or `flwr stop`"
        again = how_to_go_on(deployed, out, trust_option(to_settings(config)))
        far = f" {how_far(out, config.total_rounds)}" if _visible(out) else ""
        raise StoppedError(f"{by}{far}; {again}" if again else f"{by} before it began; start it again")
    handle, log = tempfile.mkstemp(prefix=f"fedkd-run-{run}-", suffix=".log")
    with open(handle, "w", encoding="utf-8") as file:
        file.write(flower.log_of(deployed.env, run))
    raise RunError(f"the run ended as {state}: {last_message(Path(log))} (log: {log})")


def _visible(out: Path) -> bool:
    """Whether a run's folder, or its absence, can be seen by this user."""
    try:
        (out / "history.jsonl").exists()
    except PermissionError:
        return False
    return True
