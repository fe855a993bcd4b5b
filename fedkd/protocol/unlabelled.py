"""Examples without labels that every client is given, on which its two models teach each other."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fedkd.base.errors import InputError
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
        InputError: The file can't be read or holds others, or nothing is left out.
    """
    source = config.train.unlabelled
    if source in ("", "nodes"):
        return task
    if source != "rest":
        return _given(task, read_unlabelled(Path(source), whole))
    rows = np.arange(len(whole.train))
    left = rows[:0] if chosen is None else np.setdiff1d(rows, chosen)
    if not len(left):
        raise InputError(
            "train.unlabelled must be an .npz file or nodes where partition.examples leaves no training example out (of"
            f" {len(rows)}), got 'rest'"
        )
    return _given(task, whole.train.x[left])


def _given(task: Task, unlabelled: np.ndarray) -> Task:
    return replace(task, train=replace(task.train, unlabelled=unlabelled))
