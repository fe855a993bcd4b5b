"""How a task is found by its name."""

from pathlib import Path

from fedkd.base import runtime
from fedkd.base.errors import InputError
from fedkd.base.user_code import hidden_module, import_function
from fedkd.config.model import ModelConfig
from fedkd.data.dataset import Dataset, checked
from fedkd.data.ranges import check_alike
from fedkd.tasks import csv_texts, digits, hugging_face, npz
from fedkd.tasks.builtin import FirstLayers
from fedkd.tasks.named import NAMED
from fedkd.tasks.task import Task

# Start of the names of tasks that were given as objects.
OBJECT = "object:"

# What `fedkd tasks` lists: each name with what it is and where its data come from.
TASKS = {
    "digits": ("scikit-learn's handwritten digits, 8x8 pixels, 10 classes", "bundled"),
    **{task.name: (task.summary, task.where) for task in NAMED.values()},
    "npz:PATH": (
        "any .npz with x_train y_train x_test y_test: images, windows of sensor data, word ids, rows of a table",
        "PATH",
    ),
    "csv:PATH": (
        "any CSV or TSV of texts and their classes, csv:PATH#text=COLUMN,label=COLUMN,client=COLUMN,test=FILE",
        "PATH",
    ),
    "hf:NAME": (
        "any data set of Hugging Face with images, texts or arrays and a label; NAME may be a folder of save_to_disk",
        "downloaded by datasets (extra `datasets`)",
    ),
    "package.module:task": ("your own function that returns a fedkd.tasks.task.Task", "yours"),
}


def load_task(name: str, models: ModelConfig, data: str = "") -> Task:
    """Find a task by a name as ``TASKS`` lists them, or by ``package.module:function`` of the user's own.

    Args:
        name: As above; a user's function takes no argument and returns a ``Task``.
        models: Sizes for the built-in models.
        data: File with the data of a named task; empty where it is bundled or to be downloaded.

    Raises:
        InputError: No such task, no data for it, or they break a rule.
    """
    if data and name not in NAMED:
        raise InputError(
            f"data must be empty with task {name!r}, which takes no file (see `fedkd tasks`), got {data!r}"
        )
    if name in NAMED:
        task = NAMED[name].load(data, models)
    elif name == "digits":
        task = digits.load(models)
    elif name.startswith("npz:"):
        task = npz.load(Path(name.removeprefix("npz:")), models)
    elif name.startswith("csv:"):
        task = csv_texts.load(name, models)
    elif name.startswith("hf:"):
        task = hugging_face.load(name.removeprefix("hf:"), models)
    elif name.startswith(OBJECT):
        raise InputError(f"task {name!r} was an object of a Python session: give it to fedkd.run(task=...) again")
    elif ":" in name:
        task = _from_python(name)
    else:
        raise InputError(f"unknown task {name!r}; known: {', '.join(TASKS)}")
    if models.pretrained and not isinstance(task.teacher, FirstLayers):
        raise InputError(f"model.pretrained must be empty with task {name!r}, which isn't one of texts")
    return checked_task(task, data)


def checked_task(task: Task, data: str = "") -> Task:
    """Return a task whose examples keep to their rules.

    Args:
        task: Any.
        data: Where its examples come from, for messages; the task's name where empty.

    Raises:
        InputError: Naming the array and the rule.
    """
    for split, examples in (("train", task.train), ("test", task.test)):
        if not isinstance(examples, Dataset):
            raise InputError(
                f"task {task.name!r}: {split} must be a fedkd.Dataset of arrays, got {type(examples).__name__}"
            )
        checked(data or task.name, split, examples, task.objective)
        if examples.unlabelled is not None:
            raise InputError(
                f"task {task.name!r}: {split} must have no unlabelled examples; train.unlabelled names them"
            )
    check_alike(data or task.name, task.train.x, task.test.x)
    row, other = task.train.x.shape[1:], task.test.x.shape[1:]
    if row != other:
        raise InputError(f"{data or task.name}: x_test must hold examples of shape {row}, as x_train does, got {other}")
    return task


def _from_python(name: str) -> Task:
    runtime.configure()  # the user's module may use TensorFlow at once
    try:
        function = import_function(name)
    except ModuleNotFoundError as error:
        raise InputError(f"task {name!r}: no module {error.name!r}; run from its folder or install it") from None
    except AttributeError as error:
        module_name, _, function_name = name.partition(":")
        if getattr(error.obj, "__name__", "") != module_name or error.name != function_name:
            raise _failed(name, error) from error  # the module's own
        raise InputError(f"task {name!r}: module {module_name!r} has no function {function_name!r}") from None
    except InputError:
        raise
    except Exception as error:
        raise _failed(name, error) from error
    try:
        task = function()
    except InputError:
        raise
    except Exception as error:
        raise _failed(name, error) from error
    if not isinstance(task, Task):
        raise InputError(f"task {name!r}: must return a fedkd.tasks.task.Task, got {type(task).__name__}")
    return task


def _failed(name: str, error: Exception) -> InputError:
    """What the user's own code raised, in one line."""
    lines = " ".join(str(error).split())[:300]
    return InputError(f"task {name!r}: {hidden_module(error) or f'{type(error).__name__}: {lines}'}")
