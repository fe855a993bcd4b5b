"""Examples without labels that every client is given, on which its two models teach each other."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fedkd.base.errors import InputError, require
from fedkd.config.config import Config
from fedkd.tasks.own import read_unlabelled
from fedkd.tasks.task import Task


def with_unlabelled(whole: Task, task: Task, chosen: np.ndarray | None, config: Config) -> Task:
    """Give a task's training examples those without labels that ``train.unlabelled`` asks for.

    Args:
        whole: With all of its examples, which say how others must look.
        task: The same with those that the experiment uses.
        chosen: The rows of ``whole`` that are used; None for all.
        config: What is asked for.

    Raises:
        InputError: The file can't be read or holds others, nothing is left out, or a ratio is set for none.
    """
    source, ratio = config.train.without_labels, config.train.unlabelled_ratio
    rule = "1 where there are none (train.unlabelled is empty or none)"
    require(bool(source) or ratio == 1, "train.unlabelled_ratio", ratio, rule)  # a method may say where they are from
    if source == "nodes" and config.partition.kind != "nodes":
        raise InputError(
            "train.unlabelled must be rest, an .npz file or none where"
            f" partition.kind = {config.partition.kind!r} deals the examples, got 'nodes'"
        )
    if source in ("", "nodes"):
        return task
    if source != "rest":
        return _given(task, read_unlabelled(Path(source), whole))
    rows = np.arange(len(whole.train))
    left = rows[:0] if chosen is None else np.setdiff1d(rows, chosen)
    if not len(left):
        raise InputError(
            "train.unlabelled must be an .npz file, nodes or none where"
            f" partition.examples leaves no training example out (of {len(rows)}), got 'rest'"
        )
    return _given(task, whole.train.x[left])


def _given(task: Task, unlabelled: np.ndarray) -> Task:
    return replace(task, train=replace(task.train, unlabelled=unlabelled))
