"""The exceptions that are meant for the person at the keyboard."""


class InputError(ValueError):
    """Something the user gave is wrong: its one line names the key or file, the value and the rule.

    The command line prints it without a traceback and exits with code 2.
    """


class NotFiniteError(InputError):
    """A model's outputs are NaN or infinite, so that no figure of quality can be made of them."""


class RunError(RuntimeError):
    """A run can't go on, for a reason its one line gives; the command line exits with code 1."""


class NoAnswerError(RunError):
    """Too few clients came, or sent an update that could be used."""


class StoppedError(RunError):
    """Somebody stopped a run, which can go on; the command line exits with code 130, as for Ctrl-C."""


def require(ok: bool, key: str, value: object, rule: str) -> None:
    """Raise InputError with the key, the rule and the value unless it is ok."""
    if not ok:
        raise InputError(f"{key} must be {rule}, got {value!r}")
