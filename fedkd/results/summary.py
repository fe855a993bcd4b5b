"""What a run has shown in the end: ``summary.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fedkd.base.errors import InputError
from fedkd.objectives.metric import ACCURACY, F1, Scale, read_scale
from fedkd.results import class_figures
from fedkd.results.class_figures import ByClass
from fedkd.results.device_file import DeviceFile
from fedkd.results.json_fields import numbers, table

_FURTHER = ("shared", "teacher_mean", "finished")  # what is known by metrics that don't decide


@dataclass(frozen=True)
class Quality:
    """How good a run's models are by one metric; None for what wasn't measured.

    Args:
        shared: The shared model; where none is shared, the mean of the clients' own.
        teacher_mean: Mean over clients of their teachers.
        teacher_std: Standard deviation of the same.
        teacher_personal: Mean over clients of their teachers on what these have held out.
        baseline: What a model reaches that has learnt nothing.
        finished: The shared model as it is after finishing rounds, of which device files are made.
    """

    shared: float | None = None
    teacher_mean: float | None = None
    teacher_std: float | None = None
    teacher_personal: float | None = None
    baseline: float | None = None
    finished: float | None = None

    @property
    def shipped(self) -> float | None:
        """The shared model as it is in the end, whether or not there were finishing rounds."""
        return self.shared if self.finished is None else self.finished


@dataclass(frozen=True)
class Summary:
    """The summary of a run; None for what an older run didn't write.

    Args:
        name: The run's.
        method: By which it trained.
        task: On what.
        seed: Of everything random.
        engine: Which ran the clients.
        rounds: Of training.
        finish_rounds: After them.
        clients: Of the federation.
        shared: The model that is, whole: ``student``, ``teacher``, ``both`` or ``none``.
        parameters: Counts by ``teacher`` and ``student``.
        metrics: How the task's figures are read, the deciding one first.
        quality: By the deciding metric, at the end of training, and of what ships; None where it isn't known.
        others: By the names of the other metrics; of these only ``shared``, ``teacher_mean``, ``finished`` are known.
        by_class: Figures of each class of devices at the end of training, by its name; empty where there are none.
        traffic: Bytes per client, see ``server.results.traffic``.
        speed: ``seconds`` and ``client_updates_per_second``.
        privacy: What the run has promised its clients, and kept: ``epsilon`` of all its rounds, ``delta``, ``clip``,
            ``noise_multiplier``, in what ``neighbours`` differ, and from where its ``noise`` was; empty where nothing.
        shared_sha256: Of the shared model at the end of training, 64 hex digits; None where none is shared.
        versions: Of the packages that computed it, by name.
        files: A row for each device file.
    """

    name: str | None = None
    method: str | None = None
    task: str | None = None
    seed: int | None = None
    engine: str | None = None
    rounds: int | None = None
    finish_rounds: int = 0
    clients: int | None = None
    shared: str | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)
    metrics: Sequence[Scale] = ()
    quality: Quality | None = None
    others: Mapping[str, Quality] = field(default_factory=dict)
    by_class: ByClass = field(default_factory=dict)
    traffic: Mapping[str, float | None] = field(default_factory=dict)
    speed: Mapping[str, float | None] = field(default_factory=dict)
    privacy: Mapping[str, float | str] = field(default_factory=dict)
    shared_sha256: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[DeviceFile] = ()

    @property
    def metric(self) -> Scale:
        """The deciding metric."""
        return self.metrics[0] if self.metrics else ACCURACY

    @property
    def named_others(self) -> list[tuple[Scale, Quality]]:
        """The other metrics that were measured, each with its figures."""
        return [(metric, self.others[metric.name]) for metric in self.metrics[1:] if metric.name in self.others]

    @property
    def shipped_others(self) -> list[tuple[Scale, float]]:
        """Other metrics of the shared model as it is in the end; one that is known of an earlier one is left out."""
        finished = self.quality is not None and self.quality.finished is not None
        known = [(metric, held.finished if finished else held.shared) for metric, held in self.named_others]
        return [(metric, value) for metric, value in known if value is not None]

    def to_json(self) -> dict[str, Any]:
        """The file's object."""
        return {
            **{key: getattr(self, key) for key in _PLAIN},
            "parameters": dict(self.parameters),
            "metrics": [metric.to_json() for metric in self.metrics],
            "quality": self.quality and asdict(self.quality),
            "others": {name: {key: getattr(held, key) for key in _FURTHER} for name, held in self.others.items()},
            **class_figures.to_json(self.by_class),
            "traffic": dict(self.traffic),
            "speed": dict(self.speed),
            **({"privacy": dict(self.privacy)} if self.privacy else {}),
            "shared_sha256": self.shared_sha256,
            "versions": dict(self.versions),
            "edge": [file.to_json() for file in self.files],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str = "summary.json") -> "Summary":
        """Undo ``to_json``, also of files that were written before tasks owned their metrics.

        Args:
            data: The file's object.
            where: The file, for what is said of one that is wrong.

        Raises:
            InputError: A field is of another kind.
        """
        if "metrics" not in data:
            data = _with_metrics(data, where)
        others = table(data, "others", where)
        measured = table(data, "quality", where)
        files = data.get("edge") or []
        if not isinstance(files, list):
            raise InputError(f"{where}: edge must be a list of objects, got {str(files)[:40]!r}")
        return cls(
            **{key: data.get(key) for key in _PLAIN if key != "finish_rounds"},
            finish_rounds=data.get("finish_rounds") or 0,
            parameters=table(data, "parameters", where),
            metrics=read_metrics(data["metrics"], where),
            quality=_quality(measured, where) if measured else None,
            others={name: _quality(table(others, name, where), where) for name in others},
            by_class=class_figures.from_json(data, where),
            traffic=numbers(table(data, "traffic", where), where),
            speed=numbers(table(data, "speed", where), where),
            privacy=_privacy(table(data, "privacy", where), where),
            shared_sha256=data.get("shared_sha256"),
            versions={name: str(found) for name, found in table(data, "versions", where).items()},
            files=tuple(DeviceFile.from_json(file, where) for file in files),
        )


_FIGURES = tuple(item.name for item in fields(Quality))
_PLAIN = ("name", "method", "task", "seed", "engine", "rounds", "finish_rounds", "clients", "shared")


def read_metrics(rows: Any, where: str) -> tuple[Scale, ...]:
    """Read how figures are read, as ``summary.json`` and ``task.json`` say it.

    Raises:
        InputError: They don't say it.
    """
    try:
        return tuple(read_scale(row) for row in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: metrics must be objects with name, label, unit and better ({error!r})") from None


def _privacy(held: Mapping[str, Any], where: str) -> dict[str, float | str]:
    words = {key: str(held[key]) for key in ("neighbours", "noise") if key in held}
    figures = numbers({key: held[key] for key in held if key not in words}, where)
    return {key: value for key, value in figures.items() if value is not None} | words


def _quality(held: Mapping[str, Any], where: str) -> Quality:
    return Quality(**numbers({key: held.get(key) for key in _FIGURES}, where))


def _with_metrics(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Say in today's keys what an old summary says: its metrics were accuracy and, of two classes, F1."""
    accuracy = table(data, "accuracy", where)
    f1 = {"shared": data.get("f1_positive"), "teacher_mean": data.get("teacher_f1")}
    found: dict[str, Any] = dict(data)
    if accuracy:
        found["quality"] = accuracy | {"baseline": accuracy.get("majority")}
    known = f1 != dict.fromkeys(f1)
    metrics = (ACCURACY, F1) if known else (ACCURACY,)
    return found | {"metrics": [metric.to_json() for metric in metrics], "others": {F1.name: f1} if known else {}}
