"""A run's figures by flat names, ``group/name``, as every tracker logs them."""

from collections.abc import Mapping

from fedkd.results.device_file import DeviceFile
from fedkd.results.round import Round

Figures = dict[str, float]


def round_figures(row: Round) -> Figures:
    """What is known of a round as a whole; keys of quality are those of ``history.jsonl``.

    >>> round_figures(Round(1, 2, "train", shared={"mae": 0.5}, loss={"student": None}))["quality/shared_mae"]
    0.5
    """
    teachers = {"mean": row.teacher_mean, "std": row.teacher_std, "personal": row.teacher_personal}
    groups: dict[str, Mapping[str, float | None]] = {
        "quality": {
            **{f"shared_{name}": value for name, value in row.shared.items()},
            **{f"teacher_{name}": value for name, value in (teachers | dict(row.teacher_others)).items()},
        },
        "loss": {f"loss_{role}": value for role, value in row.loss.items()},
        "bytes": {"up_bytes": row.up_bytes, "down_bytes": row.down_bytes},
        "time": {"seconds": row.seconds, "elapsed": row.elapsed},
        "norm": {f"norm_{name}": value for name, value in row.norms.items()},
        "clients": {"averaged": len(row.participants), "refused": len(row.refused), "behind": len(row.behind)},
        "schedule": {"sparsity": row.sparsity, "energy": row.energy, "finishing": row.phase == "finish"},
    }
    return {
        f"{group}/{name}": float(value)
        for group, figures in groups.items()
        for name, value in figures.items()
        if value is not None
    }


def client_figures(row: Round) -> dict[int, Figures]:
    """What is known of each participant of a round, by its partition id; names have no group.

    >>> client_figures(Round(1, 2, "train", participants=[3], clients={"examples": [40], "seconds": [None]}))
    {3: {'examples': 40.0}}
    """
    return {
        client: {name: float(value) for name, figures in row.clients.items() if (value := figures[place]) is not None}
        for place, client in enumerate(row.participants)
    }


def file_figures(file: DeviceFile) -> Figures:
    """What is known of a device file; names have no group, quality is that in each runtime."""
    known = {
        "flash_bytes": file.flash_bytes,
        "gzip_bytes": file.gzip_bytes,
        "macs": file.macs,
        "parameters": file.parameters,
        "sparsity": file.sparsity,
        **{f"quality_{runtime}": value for runtime, value in file.quality.items()},
        **{f"agreement_{runtime}": value for runtime, value in file.agreement.items()},
    }
    return {name: float(value) for name, value in known.items() if value is not None}
