"""What goes wrong on a device, each as one line."""


class WrongInput(ValueError):
    """Something given on the command line is wrong; exit code 2."""


class UpdateFailed(RuntimeError):
    """An update came to nothing; the model that runs stays."""


class ModelRefused(UpdateFailed):
    """A signed model doesn't do on this device what its manifest says; it isn't tried for ever."""


def one_line(error: BaseException) -> str:
    """What an exception says, on one line of at most 300 characters.

    >>> one_line(KeyError("a\\nb"))
    "KeyError: 'a\\\\nb'"
    """
    said = " ".join(str(error).split())[:300]
    return said if isinstance(error, UpdateFailed | WrongInput) else f"{type(error).__name__}: {said}"
