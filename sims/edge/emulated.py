"""Candidates on an emulated device: the last test before one is chosen."""

from dataclasses import replace
from typing import Any

from fedkd.base.errors import InputError
from fedkd.edge.budget import verdict
from fedkd.edge.emulated import compare
from fedkd.edge.measure import measure
from fedkd.edge.runtimes import EMULATED, RUNTIMES
from fedkd.results.search import Check
from sims.edge.candidate import Bench, Measured
from sims.edge.found import Found


def check_device(name: str) -> None:
    """Say why a device can't be emulated, before anything is done.

    Raises:
        InputError: It isn't known, or isn't set up, or doesn't work.
    """
    known = [each.name for each in EMULATED]
    if name not in known:
        raise InputError(f"--emulate must be {' or '.join(known)}, got {name!r}")
    RUNTIMES[name].check()


def emulate_best(found: Found, bench: Bench, device: str) -> None:
    """Run the best candidate on an emulated device; where that loses too much, it fails and the next best's turn comes.

    Args:
        found: The candidates; those that were run are replaced by what became of them.
        bench: Where they were measured.
        device: Name of one of ``fedkd.edge.runtimes.EMULATED``.
    """
    while (best := found.best(bench.metric)) is not None:
        ran = _emulated(best, bench, device)
        found.candidates[found.candidates.index(best)] = ran
        if ran.file.usable:
            return


def _emulated(candidate: Measured, bench: Bench, device: str) -> Measured:
    """A candidate with its answers on an emulated device, held against the budget's drop there, too."""
    path, file, limit = bench.folder / str(candidate.file.path), candidate.file, bench.budget.drop
    made = measure(path, bench.x, ["litert", device])
    if device in made.errors:
        errors = {**file.errors, device: bench.without_folder(made.errors[device])}
        failed = Check("drop", 100.0 if limit is None else limit, None, device, False)
        return _held(candidate, bench, failed, errors=errors)
    here, there = made.outputs["litert"], made.outputs[device]
    quality, alike = bench.metric.of(there, bench.y), bench.objective.agreement(there, here)
    apart = compare(here, there, made.output_scale)._asdict()
    known: dict[str, Any] = {
        "quality": {**file.quality, device: quality},
        "emulated": {"machine": device, "quality": quality, "agreement": alike, **apart},
    }
    lost = bench.lost(quality)
    if limit is None or lost is None:
        return replace(candidate, file=replace(file, **known))
    return _held(candidate, bench, Check("drop", limit, lost, device, lost <= limit), **known)


def _held(candidate: Measured, bench: Bench, check: Check, **known: Any) -> Measured:
    done = (*candidate.file.checks, check)
    return replace(candidate, file=replace(candidate.file, checks=done, verdict=verdict(done, bench.metric), **known))
