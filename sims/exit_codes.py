"""How commands end: exit codes, and one line for people where something went wrong."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from fedkd.base.errors import InputError, RunError, StoppedError

BAD_INPUT = 2
RUN_FAILED = 1
NOTHING_FITS = 3
INTERRUPTED = 130

# What the person at the keyboard can mend: no room, no quota, a disk that can't be written.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@contextmanager
def errors_for_people() -> Iterator[None]:
    """One line on standard error and a code: 2 for bad input, 1 for a failed run or a full disk, 130 for a stop."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None
    except StoppedError as stop:
        print(stop, file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(RUN_FAILED) from None
    except OSError as error:
        if error.errno not in _DISK:
            raise
        print(f"error: {error.filename or 'a file'} can't be written: {error.strerror}", file=sys.stderr)
        raise typer.Exit(RUN_FAILED) from None
    except KeyboardInterrupt as stop:
        print(f"interrupted {stop}".rstrip(), file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
