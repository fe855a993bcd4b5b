"""The cells of a suite, run side by side by processes that are used again."""

from collections import deque
from collections.abc import Sequence

from sims.suite.plan import Job
from sims.suite.progress import SuiteProgress
from sims.suite.worker import Worker

POLL = 0.25  # seconds between two looks at what the cells write


def run_cells(jobs: Sequence[Job], count: int, progress: SuiteProgress) -> dict[str, str]:
    """Run cells; one that fails, or takes its process with it, doesn't keep the others from theirs.

    Args:
        jobs: What to run.
        count: How many side by side.
        progress: Told when cells begin and end.

    Returns:
        What went wrong, by the names of the cells that failed.
    """
    queue, idle, busy = deque(jobs), list[Worker](), list[Worker]()
    failures: dict[str, str] = {}
    try:
        while queue or busy:
            while queue and len(busy) < count:
                busy.append(_worker(idle))
                busy[-1].begin(queue[0])
                progress.begin(queue.popleft())
            for worker in Worker.ready(busy, POLL):
                busy.remove(worker)
                if error := worker.outcome():
                    failures[worker.job.cell.name] = error
                progress.end(worker.job, error)
                idle.append(worker)
            progress.look()
    finally:
        for worker in [*busy, *idle]:
            worker.stop()
    return failures


def _worker(idle: list[Worker]) -> Worker:
    """An idle worker whose process lives, else a new one: it may have died since its last cell, or with it."""
    while idle:
        worker = idle.pop()
        if worker.alive:
            return worker
        worker.stop()
    return Worker()
