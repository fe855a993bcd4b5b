"""How a run goes on in its folder: from which state, and whether it is still the run that it was."""

import logging
from dataclasses import replace

from fedkd.base.errors import InputError
from fedkd.config.settings import to_toml
from fedkd.protocol.experiment import Experiment
from fedkd.results.run_folder import CHECKPOINT, RunFolder
from server.checkpoint import Checkpoint, RunProgress
from server.given import Given, given_of

log = logging.getLogger("fedkd.server")


def go_on(experiment: Experiment, folder: RunFolder, from_round: int = 0) -> RunProgress | None:
    """Find what a run goes on from, and make its folder that of a run under way; a refusal leaves it as it was.

    Args:
        experiment: As it is now.
        folder: The run's, or that of one that begins.
        from_round: The round to go back to, whose later ones are forgotten; 0 for the last.

    Returns:
        What the last round, or that one, ended with; None where none has ended yet.

    Raises:
        InputError: Settings, examples or files differ, no checkpoint is whole, there is none of that round, or the run
            can't become as long as it should.
    """
    states = Checkpoint(folder.states, experiment.fingerprint)
    if states.empty and not from_round:
        return None
    now, before = given_of(experiment), None if states.empty else states.began_with()
    if before:
        now.check_same(before, folder.path)
    progress = states.load(from_round)
    if progress is None:
        raise InputError(f"--from-round must be {_named(states.rounds)}, got {from_round}")
    if before:
        _check_length(experiment, before, progress.state.round, folder)
        if warning := now.changed_versions(before):
            log.warning("%s", warning)
    _reopen(experiment, before, progress, folder, from_round)
    log.warning("going on after round %d of %d", progress.state.round, experiment.config.total_rounds)
    return _with_trained(progress, experiment)


def check_spent_once(experiment: Experiment, folder: RunFolder) -> None:
    """Refuse to repeat a round whose model clients may have: with other noise it would tell them more than it may.

    A round that is in the history and of which there is no file ended as the server did, so nobody has its model.

    Raises:
        InputError: The state after a later round than the one that could be gone on from is damaged, or lost.
    """
    states = Checkpoint(folder.states, experiment.fingerprint)
    ended = folder.history if (folder.path / "history.jsonl").is_file() else ()
    whole, told = max(states.rounds, default=0), max((row.number for row in ended), default=0)
    if states.newest > whole or told > whole + 1:
        raise InputError(
            f"{folder.path}: the state after round {max(states.newest, told)} is damaged or lost, and what that round"
            " has told stays told: a run that keeps privacy.epsilon goes on after its last round alone; begin a new one"
        )


def _named(rounds: list[int]) -> str:
    kept = " or ".join(map(str, rounds))
    return f"one of the rounds that are kept, {kept}" if rounds else "left out: no round of this run is kept"


def _check_length(experiment: Experiment, before: Given, done: int, folder: RunFolder) -> None:
    """Refuse another number of rounds where a run can't have it any more."""
    rounds = experiment.config.rounds
    if rounds == before.rounds:
        return
    if done > before.rounds:
        raise InputError(
            f"{folder.path}: rounds can't become {rounds}: finishing rounds have begun after round {before.rounds} and"
            " made another model of the shared one; begin a new run, or go back by --from-round"
        )
    if rounds <= done:
        raise InputError(f"rounds must be above {done}, the last round of {folder.path}, got {rounds}")


def _reopen(
    experiment: Experiment, before: Given | None, progress: RunProgress, folder: RunFolder, from_round: int
) -> None:
    """Have the folder be that of a run which goes on with this state: its settings, no later states, no summary."""
    config, done = experiment.config, progress.state.round
    folder.reopen()
    if from_round:
        Checkpoint(folder.path / CHECKPOINT, experiment.fingerprint).forget_after(done)
    note = ""
    if before and before.rounds != config.rounds:
        note = (
            f"After round {done} rounds became {config.rounds}, before it was {before.rounds}; a run with this file in"
            " one go comes to something else where a schedule depends on rounds."
        )
    if note or to_toml(config) not in (folder.path / "config.toml").read_text(encoding="utf-8"):
        folder.write_config(config, note)


def _with_trained(progress: RunProgress, experiment: Experiment) -> RunProgress:
    """Training that has become longer hasn't ended yet."""
    return progress if progress.state.round >= experiment.config.rounds else replace(progress, trained=[])
