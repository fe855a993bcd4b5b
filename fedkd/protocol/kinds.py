"""Kinds of clients: which teacher those of a kind train, if any.

A kind is a class of devices of the configuration, or the clients with one builder of ``Task.teachers``; most clients
are of the kind that has no name.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from fedkd.base.errors import InputError
from fedkd.base.user_code import import_function
from fedkd.config.config import Config
from fedkd.config.device_class import DeviceClass
from fedkd.tasks.builtin import BuiltIn
from fedkd.tasks.task import Task

if TYPE_CHECKING:
    import keras


def teaches(config: Config, kind: str) -> bool:
    """Whether clients of a kind train a teacher where any do."""
    held = config.device_class(kind)
    return held is None or held.teaches


def own_teacher(config: Config, task: Task, kind: str) -> "Callable[[], keras.Model] | None":
    """Return what builds the teacher of a kind of clients; None where it is that of most clients, or they train none.

    Raises:
        InputError: The class asks for the task's teacher at another width, and the task's isn't a built-in one.
    """
    held = config.device_class(kind)
    if held is None:
        return task.teachers[int(kind)] if kind else None
    if ":" in held.teacher:
        return partial(_imported, held)
    if not held.teacher_width:
        return None
    if not isinstance(task.teacher, BuiltIn):
        raise InputError(
            f"{held.key('teacher_width')} must be 0 with task {task.name!r}, which builds its teacher itself, got"
            f" {held.teacher_width}; name a builder by {held.key('teacher')}"
        )
    return task.teacher.at_width(held.teacher_width)


def _imported(held: DeviceClass) -> "keras.Model":
    """Call the user's function; whatever goes wrong in it is told in one line."""
    import keras

    where = f"{held.key('teacher')} {held.teacher!r}"
    try:
        model = import_function(held.teacher)()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{where}: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(model, keras.Model):
        raise InputError(f"{where}: must return a keras.Model, got {type(model).__name__}")
    return model
