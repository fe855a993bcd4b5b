"""A process that runs one cell after another: TensorFlow starts once for many, and its crash doesn't end the suite."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path

from fedkd.base.errors import InputError, RunError
from fedkd.base.python import safe_path
from fedkd.config.settings import to_settings
from fedkd.results.folder_lock import remove
from sims.suite.folder import write_origin
from sims.suite.plan import Job
from sims.terminal import Terminal

_SPAWN = multiprocessing.get_context("spawn")


class Worker:
    """The suite's side of the process, which starts with this object; it knows the job the process has."""

    def __init__(self) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs,), daemon=True)
        # The process inherits this: Ctrl-C is the suite's, which then stops it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with safe_path():
                self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        theirs.close()

    @property
    def alive(self) -> bool:
        """Whether its process is."""
        return self._process.is_alive()

    def begin(self, job: Job) -> None:
        """Start a cell."""
        self.job = job
        with suppress(ConnectionError):  # the process died since; its outcome says so
            self._pipe.send(job)

    def outcome(self) -> str:
        """How the job that has ended did: empty, or what went wrong; a process that died isn't ``alive`` any more."""
        try:
            return str(self._pipe.recv())
        except (EOFError, ConnectionError):
            self._process.join()
            return f"its process {_how(self._process.exitcode or 0)}"

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    @staticmethod
    def ready(workers: Sequence["Worker"], seconds: float) -> list["Worker"]:
        """Those whose job has ended, as soon as there is one, or none after some seconds."""
        ended = wait([worker._pipe for worker in workers], seconds)
        return [worker for worker in workers if worker._pipe in ended]


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    memory = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{memory}"


def _serve(pipe: Connection) -> None:
    """Run the jobs that come, in the worker's process."""
    threading.Thread(target=_end_with_suite, daemon=True).start()
    while True:
        try:
            job: Job = pipe.recv()
        except EOFError:
            return
        pipe.send(_run(job))


def _end_with_suite() -> None:
    """A suite that was killed must leave nobody who writes into its folder."""
    suite = multiprocessing.parent_process()
    if suite is not None:
        suite.join()
        os._exit(1)


def _run(job: Job) -> str:
    """Run a cell in a fresh folder; return what went wrong, if something did."""
    _print_into(job.log)
    try:
        remove(job.folder)
        from sims.run import forget_states, run

        run(to_settings(job.config), "local", job.folder, True, False, Terminal(width=120))
        forget_states(job.folder)  # a suite has many cells
        write_origin(job.folder)
        return ""
    except (InputError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return str(error)
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        _forget()
        sys.stdout.flush()
        sys.stderr.flush()


def _print_into(log: Path) -> None:
    """Send all that the process prints to a file, also what C++ libraries print."""
    log.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _forget() -> None:
    """Let go of the cell's data, models and compiled functions, so that memory doesn't grow over cells."""
    from fedkd.protocol.resolve import forget

    forget()
    if "keras" in sys.modules:
        import keras

        keras.backend.clear_session()
    gc.collect()
