"""A run as it was read: all that its report, its comparison with others and its search for device files begin with."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.config.config import Scalar
from fedkd.config.settings import flatten
from fedkd.objectives.metric import ACCURACY, F1, Scale
from fedkd.results.class_figures import ByClass
from fedkd.results.confusion import Confusion
from fedkd.results.device_file import DeviceFile
from fedkd.results.partition import Partition
from fedkd.results.round import Round
from fedkd.results.summary import Quality, Summary
from fedkd.results.task_record import LARGEST_CLASS, TaskRecord

_SUMMED = ("up_bytes", "down_bytes", "seconds")  # of a client, over its rounds
_OLD = {metric.name: metric for metric in (ACCURACY, F1)}  # of run folders without task.json


@dataclass(frozen=True)
class RunRecord:
    """One run as it lies on the disk.

    Args:
        path: The folder.
        summary: What the run wrote at its end; None for a run that was interrupted.
        history: The rounds that have ended, in order.
        partition: Who held what, where the run wrote it.
        config: The resolved configuration, verbatim.
        task: What the run wrote of its task; None for an older run.
        confusion: Which classes the model that ships takes for which; None where that isn't known.
    """

    path: Path
    summary: Summary | None
    history: Sequence[Round]
    partition: Partition | None = None
    config: str = ""
    task: TaskRecord | None = None
    confusion: Confusion | None = None

    @property
    def settings(self) -> dict[str, Scalar]:
        """The configuration by dotted keys.

        Raises:
            InputError: It isn't a TOML file.
        """
        try:
            return flatten(tomllib.loads(self.config))
        except tomllib.TOMLDecodeError:
            raise InputError(f"{self.path / 'config.toml'}: not a TOML file") from None

    @property
    def task_key(self) -> str:
        """The task as its user wrote it, paths made absolute."""
        return str((self.summary and self.summary.task) or self.settings.get("task") or "an unknown task")

    @property
    def classifies(self) -> bool:
        """Whether its outputs are exclusive classes; runs from before tasks said so had no others."""
        return self.task is None or self.task.objective == "classification"

    @property
    def name(self) -> str:
        """The run's name: the summary's, or the folder's."""
        return str((self.summary and self.summary.name) or self.path.resolve().name)

    @property
    def metrics(self) -> Sequence[Scale]:
        """How the run's figures are read, the deciding metric first."""
        if self.summary and self.summary.metrics:
            return self.summary.metrics
        if self.task:
            return self.task.metrics
        names = dict.fromkeys(name for row in self.history for name in row.shared)
        return tuple(_OLD.get(name, Scale(name, name)) for name in names) or (ACCURACY,)

    @property
    def metric(self) -> Scale:
        """The deciding metric."""
        return self.metrics[0]

    @property
    def baseline_label(self) -> str:
        """What the model does that has learnt nothing."""
        return self.task.baseline_label if self.task else LARGEST_CLASS

    @property
    def ships(self) -> bool:
        """Whether a whole model is shared; where none is, what is said of one is the mean of the clients' own."""
        try:
            settings = self.settings
        except InputError:
            return True
        return settings.get("exchange.shared") != "none" and not settings.get("exchange.personal")

    @property
    def shared_name(self) -> str:
        """What the shared model is called: a student has teachers, a method without them shares just a model."""
        taught = any(row.teacher_mean is not None for row in self.history)
        return "Student (shared)" if taught else "Shared model"

    @property
    def clients(self) -> int:
        """Clients of the federation: the summary's, the partition's, or all that ever took part."""
        if self.summary and self.summary.clients:
            return self.summary.clients
        if self.partition:
            return len(self.partition.counts)
        seen = {client for row in self.history for client in row.participants}
        return max(1, len(seen))

    @property
    def quality(self) -> Quality:
        """The summary's figures by the deciding metric; those measured last for a run without them."""
        if self.summary and self.summary.quality:
            return self.summary.quality
        name = self.metric.name
        return Quality(
            shared=last_known(row.shared.get(name) for row in self.history),
            teacher_mean=last_known(row.teacher_mean for row in self.history),
            teacher_std=last_known(row.teacher_std for row in self.history),
        )

    @property
    def by_class(self) -> ByClass:
        """The summary's figures of classes of devices; of a run without one those of the last round that has any."""
        if self.summary is not None:
            return self.summary.by_class
        measured = [
            row for row in self.history if any(held.shared_personal is not None for held in row.by_class.values())
        ]
        return next((row.by_class for row in reversed(measured or self.history)), {})

    def shared_figure(self, metric: Scale) -> float | None:
        """The shared model's figure by any metric as it is in the end, of what ships; None where it isn't known."""
        if metric.name == self.metric.name:
            return self.quality.shipped
        if self.quality.finished is not None and self.history:
            return self.history[-1].shared.get(metric.name)
        others = self.summary.others if self.summary else {}
        return others[metric.name].shared if metric.name in others else None

    @property
    def traffic(self) -> Mapping[str, float | None]:
        """The summary's traffic, or what the rounds so far add up to."""
        if self.summary is not None or not self.history:
            return self.summary.traffic if self.summary else {}
        up, down = (sum(sizes) for sizes in zip(*((row.up_bytes, row.down_bytes) for row in self.history), strict=True))
        return {"up_bytes_per_client": up / self.clients, "down_bytes_per_client": down / self.clients}

    def bytes_per_client(self) -> list[float]:
        """Bytes a client has sent and received up to the end of each round, the mean over all clients."""
        totals = accumulate(row.up_bytes + row.down_bytes for row in self.history)
        return [total / self.clients for total in totals]

    def client_figures(self) -> dict[int, dict[str, float]]:
        """What is known of each client that took part, by its partition id, ascending.

        Returns:
            ``rounds``, how many of its updates were averaged, and ``refused``; sums over rounds of ``up_bytes``,
            ``down_bytes`` and ``seconds``; of all else that rounds hold of clients what was reported last.
        """
        found: dict[int, dict[str, float]] = {}
        for row in self.history:
            for place, client in enumerate(row.participants):
                held = found.setdefault(client, {"rounds": 0, "refused": 0})
                held["rounds"] += 1
                for name, figures in row.clients.items():
                    if (figure := figures[place]) is not None:
                        held[name] = figure + (held.get(name, 0) if name in _SUMMED else 0)
            for entry in row.refused:
                whose = entry.get("client") if isinstance(entry, dict) else None
                if isinstance(whose, int):
                    found.setdefault(whose, {"rounds": 0, "refused": 0})["refused"] += 1
        return dict(sorted(found.items()))

    def ranked_tensors(self) -> dict[str, int]:
        """Full rank of every tensor that could be sent as factors, in the model's order; vectors never are."""
        ranks = {name: rank[2] for row in reversed(self.history) for name, rank in row.ranks.items()}
        return {name: int(full) for name, full in ranks.items() if full and full > 1}

    def converted_files(self) -> list[DeviceFile]:
        """The device files that could be made and run."""
        return [file for file in (self.summary.files if self.summary else ()) if file.made]


def last_known(figures: Iterable[float | None]) -> float | None:
    """The last figure that was measured, None where there is none yet."""
    return next((figure for figure in reversed(list(figures)) if figure is not None), None)
