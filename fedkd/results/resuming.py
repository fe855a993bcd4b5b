"""Whether a run that stopped can go on in its folder, and with which settings."""

from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.config.config import Config, Scalar
from fedkd.config.deciding import deciding, differing
from fedkd.config.settings import build, to_settings
from fedkd.config.trust import trusted_settings
from fedkd.results.run_folder import CHECKPOINT, RunFolder, is_run


def resumable(path: Path, rounds: int | None = None, from_round: int = 0, trust: bool = True) -> dict[str, Scalar]:
    """The settings of a run that can go on in its folder.

    Args:
        path: The folder.
        rounds: How many of training it should have, None for as many as it had; a finished run needs more.
        from_round: The round to go back to; 0 for the last.
        trust: Whether code that its configuration names may run; to compare settings, none does.

    Returns:
        All settings by their dotted keys, with those rounds.

    Raises:
        InputError: There is no run, or it has finished and can't be prolonged, or needn't, or its configuration names
            code.
    """
    if not is_run(path):
        raise InputError(f"{path}: no run that could go on; a run's folder holds the config.toml that fedkd wrote")
    config = build(trusted_settings(path / "config.toml", trust))
    settings = to_settings(config)
    before, asked = config.rounds, config.rounds if rounds is None else rounds
    if config.privacy.promised and (from_round or asked != before):
        promised = f"epsilon {config.privacy.epsilon:g} over {config.total_rounds} rounds"
        raise InputError(
            f"{path}: this run has promised {promised}: it goes on, but not from an earlier round, nor longer"
        )
    _check_unfinished(path, config, asked == before and not from_round)
    return settings | {"rounds": asked}


def _check_unfinished(path: Path, config: Config, as_it_was: bool) -> None:
    """Refuse a run that has finished, but for one that is to become longer and whose states are still there."""
    folder = RunFolder(path)
    again = f"`fedkd run {path / 'config.toml'}` repeats it in a new folder"
    if not (path / "summary.json").exists() or any((path / CHECKPOINT).glob("*")):
        return
    if not config.prolongable:
        why = "its finishing rounds have made another model of the shared one, so it can't be prolonged"
        if config.privacy.promised:
            why = "what it has promised its clients is spent"
        raise InputError(f"{path}: this run has finished, and {why}; {again}")
    if not any(folder.states.glob("*")):
        raise InputError(f"{path}: this run has finished, and its states are gone, so it can't be prolonged; {again}")
    if as_it_was:
        raise InputError(f"{path}: this run has finished; --rounds above {config.rounds} prolongs it, {again}")


def check_resumable(path: Path, config: Config, from_round: int = 0) -> None:
    """Say why a run can't go on in its folder.

    Args:
        path: The folder.
        config: What it should go on with.
        from_round: The round to go back to; 0 for the last.

    Raises:
        InputError: There is no run, it has finished, or it had other settings that decide a result.
    """
    before = build(resumable(path, config.rounds, from_round))
    if found := differing(deciding(before), deciding(config)):
        where = path / "config.toml"
        raise InputError(f"{where}: these settings differ: {'; '.join(found)}; a run goes on with what it had")
