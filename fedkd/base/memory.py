"""How much memory a process has had."""

from pathlib import Path


def peak_memory(pid: int | str = "self") -> int:
    """Return the peak of a process's resident memory in bytes, by Linux's ``/proc``.

    Not ``getrusage``, which counts what the process's parent held as its own.

    Args:
        pid: Which process; this one unless it is given.

    Raises:
        OSError: There is no such process, or no ``/proc``.
    """
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024
