"""Candidates on an emulated device: the last test before one is chosen."""

from dataclasses import replace
from typing import Any

import numpy as np

from fedkd.base.errors import InputError
from fedkd.edge.budget import Check, verdict
from fedkd.edge.emulated import compare, emulate, output_scale
from fedkd.edge.runtime import predict
from sims.edge.candidate import Bench, Candidate
from sims.edge.search import Found


def emulate_best(found: Found, bench: Bench, device: str) -> None:
    """Run the best candidate on an emulated device; where that loses too much, it fails and the next best's turn comes.

    Args:
        found: The candidates; those that were run are replaced by what became of them.
        bench: Where they were measured.
        device: One of ``sims.edge.device.DEVICES``.
    """
    while (best := found.best) is not None:
        ran = _emulated(best, bench, device)
        found.candidates[found.candidates.index(best)] = ran
        if ran.usable:
            return


def _emulated(candidate: Candidate, bench: Bench, device: str) -> Candidate:
    """A candidate with its answers on an emulated device, held against the budget's drop there, too."""
    path, row, limit = bench.folder / candidate.row["path"], candidate.row, bench.budget.drop
    try:
        logits = emulate(path, bench.x)
        alike = compare(predict(path, bench.x), logits, output_scale(path))
    except InputError as error:
        row = row | {"errors": row["errors"] | {device: bench.without_folder(str(error))}}
        return _judged(candidate, row, Check("drop", 100.0 if limit is None else limit, None, device, False))
    accuracy = float(np.mean(logits.argmax(-1) == bench.y))
    row = row | {"accuracy": row["accuracy"] | {device: accuracy}}
    row |= {"emulated": {"machine": device, "accuracy": accuracy, **alike._asdict()}}
    lost = bench.points(accuracy)
    if limit is None or lost is None:
        return replace(candidate, row=row)
    return _judged(candidate, row, Check("drop", limit, lost, device, lost <= limit))


def _judged(candidate: Candidate, row: dict[str, Any], check: Check) -> Candidate:
    done = (*candidate.checks, check)
    return replace(
        candidate, row=row | {"checks": [each._asdict() for each in done], "verdict": verdict(done)}, checks=done
    )
