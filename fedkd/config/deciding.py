"""The settings that decide what a run comes to: it can go on only with those it began with."""

from collections.abc import Mapping

from fedkd.base.task_name import pathless_task
from fedkd.config.config import Config, Scalar
from fedkd.config.settings import to_settings

# What can't change a round that has ended. A run may be made longer, and get more threads.
_FREE = ("threads", "rounds")
# Paths, whose content counts instead (see ``fedkd.protocol.contents``).
_PATHS = ("data",)
# That one is given at all decides more: where models start, and whether training rows are set aside.
_OPTIONAL_FILES = ("model.pretrained", "model.teacher_weights", "model.student_weights", "edge.calibration_file")
# Younger than checkpoints that must stay good: left out where they ask for nothing, which is what runs did before.
_YOUNGER = {
    "model.student_weights": "",
    "model.pretrained": "",
    "model.teacher_layers": 0,
    "model.student_layers": 0,
    "model.freeze": "",
    "model.teacher_lora": 0,
    "model.student_lora": 0,
    "model.lora_alpha": 16.0,
    "model.lora_freeze_a": False,
    "train.class_weights": "",
    "train.engine": "tensorflow",
    "train.unlabelled": "",
    "train.unlabelled_ratio": 1,
    "train.teacher_share": 0.0,
    "train.control_variates": False,
    "exchange.sketch_size": 0.5,
    "exchange.sketch_rows": 5,
    "exchange.momentum": 0.0,
    "exchange.units": 1.0,
    "exchange.personal": "",
    "edge.words": "all",
    "edge.rounding": "nearest",
    "edge.drop": 2.0,
    "privacy.epsilon": 0.0,
    "privacy.delta": 1e-5,
    "privacy.clip": 1.0,
}


def deciding(config: Config) -> dict[str, Scalar]:
    """Settings, by their dotted keys, that a run has from its first round to its last, without any path."""
    settings = {key: value for key, value in to_settings(config).items() if key not in (*_FREE, *_PATHS)}
    settings = as_before(settings)
    settings |= {key: "given" for key in _OPTIONAL_FILES if settings.get(key)}
    if not config.train.without_labels:
        settings.pop("train.unlabelled", None)
    elif config.train.unlabelled != "nodes":
        settings["train.unlabelled"] = "given"
    if config.train.teacher_share:  # a longer run would have other stages
        settings["train.teacher_share"] = f"{config.teacher_rounds} rounds"
    if config.privacy.promised:  # which a longer run would break
        settings["privacy.epsilon"] = f"{config.privacy.epsilon:g} over {config.total_rounds} rounds"
    return settings | {"task": pathless_task(config.task)}


def as_before(settings: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Leave out the keys that older builds don't know, where they ask for what those do."""
    return {key: value for key, value in settings.items() if value != _YOUNGER.get(key)}


def differing(before: Mapping[str, Scalar], now: Mapping[str, Scalar]) -> list[str]:
    """Say which settings are others than before, each as ``KEY was X, is Y``.

    >>> differing({"seed": 0, "task": "digits"}, {"seed": 1, "task": "digits"})
    ['seed was 0, is 1']
    """
    keys = [*now, *(key for key in before if key not in now)]
    return [f"{k} was {_said(before, k)}, is {_said(now, k)}" for k in keys if before.get(k) != now.get(k)]


def _said(settings: Mapping[str, Scalar], key: str) -> str:
    return repr(settings[key]) if key in settings else "unknown"
