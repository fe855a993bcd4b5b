"""A run on a federation that is up: on real machines, whose data nobody else sees."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from fedkd.config import Scalar
from fedkd.errors import RunError
from fedkd.experiment import experiment_of
from fedkd.settings import check_settings, read_toml, to_settings
from sims.deploy import flower
from sims.deploy.app_folder import write_app
from sims.deploy.folder import MARK
from sims.deploy.processes import last_words
from sims.progress import watch
from sims.run import absolute


def submit(
    folder: Path, settings: Mapping[str, Scalar], out: Path, overwrite: bool, resume: bool, console: Console
) -> None:
    """Start a run on all nodes of a deployment and wait for its end.

    Args:
        folder: That `fedkd deploy init` wrote.
        settings: Dotted keys; unless they say otherwise, each node trains on its own data.
        out: Folder of the run, on the SuperLink's machine.
        overwrite: Replace the folder of an earlier run.
        resume: Go on with the run of that folder, which stopped.
        console: Where to show progress, if this is that machine.

    Raises:
        InputError: The folder is no deployment's, or a setting breaks a rule.
        RunError: Flower doesn't answer, or the run failed.
    """
    made = read_toml(folder / MARK)
    given = {"clients": made["nodes"], "task": made["task"], "partition.kind": "nodes", **settings}
    config = experiment_of(absolute(check_settings(given))).config
    env, out = flower.environment(folder.absolute() / "admin"), out.absolute()
    options: dict[str, Scalar] = {"out": str(out), "engine": "deployment", "overwrite": overwrite, "resume": resume}
    run_config = {**to_settings(config), **options}
    with tempfile.TemporaryDirectory() as work:
        write_app(Path(work), run_config)
        run = flower.start(env, Path(work))
    console.print(f"run {run}; stop it with: FLWR_HOME={folder.absolute() / 'admin'} flwr stop {run}", highlight=False)
    with watch(out / "history.jsonl", config.total_rounds, console):
        state = flower.wait_until_finished(env, run, (out / "summary.json").exists)
    if state != "finished:completed":
        log = Path(tempfile.gettempdir()) / f"fedkd-run-{run}.log"
        log.write_text(flower.log_of(env, run), encoding="utf-8")
        raise RunError(f"the run ended as {state}: {last_words(log)} (log: {log})")
