"""Whether a run that stopped can go on in its folder, and with which settings."""

from pathlib import Path

from fedkd.base.errors import InputError, require
from fedkd.config.config import Config, Scalar
from fedkd.config.settings import build, to_settings
from fedkd.config.trust import trusted_settings
from fedkd.results.run_folder import CHECKPOINT, is_run


def resumable(path: Path, trust: bool = True) -> dict[str, Scalar]:
    """The settings of a run that can go on in its folder.

    Args:
        path: The folder.
        trust: Whether code that its configuration names may run; to compare settings, none does.

    Raises:
        InputError: There is no run, or it has finished, or its configuration names code.
    """
    if not is_run(path):
        raise InputError(f"{path}: no run that could go on; a run's folder holds the config.toml that fedkd wrote")
    written = path / "config.toml"
    if (path / "summary.json").exists() and not any(path.glob(f"{CHECKPOINT}/*")):
        raise InputError(f"{path}: this run has finished; `fedkd run {written}` repeats it in a new folder")
    return to_settings(build(trusted_settings(written, trust)))


def check_resumable(path: Path, config: Config) -> None:
    """Say why a run can't go on in its folder.

    Raises:
        InputError: There is no run, it has finished, or it had other settings.
    """
    before = resumable(path)
    for key, value in to_settings(config).items():
        require(value == before[key], key, value, f"{before[key]!r}, as in {path / 'config.toml'}, for a run to go on")
