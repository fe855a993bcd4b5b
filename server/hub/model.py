"""The model of a run that devices shall get: its file, and what its manifest says of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clients.device.errors import ModelRefused
from clients.device.protocol.manifest import LARGEST_MODEL, Golden, Manifest
from clients.device.trial import run
from fedkd.base.errors import InputError
from fedkd.config.settings import build
from fedkd.config.trust import trusted_settings
from fedkd.edge.measure import measure
from fedkd.results.device_file import DeviceFile
from fedkd.results.run_folder import read
from fedkd.results.search import RESULT, Search, read_search
from fedkd.tasks.registry import load_task
from fedkd.tasks.task import Task
from server.hub.golden import SYNTHETIC, golden_rows

_FILE = "student_int8.tflite"  # what a run publishes
# Kernels of two processors round int8 to neighbouring steps: at most 2 apart on an emulated Raspberry Pi 4.
_STEPS = 3
# A share of the golden logits' range. Files of 8-bit kernels and float activations round these anew on each machine.
_FLOAT, _DYNAMIC = 0.002, 0.05


@dataclass(frozen=True, eq=False)
class ChosenFile:
    """A file to publish.

    Args:
        path: The .tflite.
        run: Folder of the run that it comes from.
        accuracy: As the run or its search measured it in LiteRT; None where they didn't.
    """

    path: Path
    run: Path
    accuracy: float | None


def device_file(run: Path, file: str) -> ChosenFile:
    """Find the file of a run, or of a folder of ``fedkd edge``, that devices shall get.

    Args:
        run: The folder.
        file: Name in it; empty for the int8 file of a run, or the file that a search has chosen.

    Raises:
        InputError: It is no such folder, or has no such file; or the file that isn't named loses more than it may.
    """
    if (run / RESULT).is_file():
        search = _search(run)
        return _held(run, run.absolute().parent, file or search.chosen or "", search.candidates)
    if not (run / "config.toml").is_file():
        raise InputError(f"{run}: not the folder of a run, it has no config.toml")
    known = read(run).converted_files()
    warnings = {each.path: each.warning for each in known if each.warning}
    if not file and (why := warnings.get(_FILE)):
        raise InputError(f"{run / _FILE}: isn't to be used: {why}; --file names another, or this one all the same")
    return _held(run, run, file or _FILE, known)


def _search(folder: Path) -> Search:
    try:
        return read_search(folder)
    except InputError as error:
        raise InputError(f"{folder / RESULT}: not what `fedkd edge` wrote, it is damaged: {error}") from None


def _held(folder: Path, run: Path, file: str, known: Sequence[DeviceFile]) -> ChosenFile:
    path = folder / file
    if not file or not path.is_file():
        there = ", ".join(sorted(item.name for item in folder.glob("*.tflite")))
        instead = f"--file takes one of: {there}" if there else "it has no others"
        raise InputError(f"{folder}: no device file {file or 'was chosen there'}; {instead}")
    if not 0 < path.stat().st_size <= LARGEST_MODEL:
        raise InputError(f"{path}: must have 1 to {LARGEST_MODEL:,} bytes, got {path.stat().st_size:,}")
    if not (run / "config.toml").is_file():
        raise InputError(f"{run}: not the folder of a run, it has no config.toml; the examples' task stands there")
    measured = {each.path: each.deciding for each in known}
    return ChosenFile(path, run, measured.get(path.name))


def manifest_of(found: ChosenFile, channel: str, version: int, golden: str = "", trust: bool = False) -> Manifest:
    """Describe a file, and run it as a device would on test examples of its task.

    Args:
        found: The file.
        channel: The one that devices follow.
        version: The channel's version that this becomes.
        golden: Which examples, see ``server.hub.golden.golden_rows``.
        trust: Whether code that the run's configuration names may run.

    Raises:
        InputError: The file can't be run, or isn't of its run's task; or the configuration names code.
    """
    config = build(trusted_settings(found.run / "config.toml", trust))
    task = load_task(config.task, config.model, config.data)
    if task.objective.kind != "classification":
        raise InputError(f"{found.path}: devices decide among classes, task {task.name!r} is {task.objective.kind}")
    if task.inputs is not None:
        raise InputError(f"{found.path}: devices feed rows as they were measured, task {task.name!r} standardises them")
    x = _examples(found, task, golden, config.seed)
    try:
        logits = run(found.path, x).logits
    except ModelRefused as error:
        raise InputError(f"{found.path}: can't be published: {error}") from None
    if logits.shape[1:] != (len(task.classes),):
        raise InputError(f"{found.path}: gives {logits.shape[1:]}, task {task.name!r} has {len(task.classes)} classes")
    precision = measure(found.path, x, ["litert"]).precision
    ends = _ends(found.path)
    answers = Golden(x, logits, _tolerance(logits, precision, ends["output"]["scale"]))
    content = found.path.read_bytes()
    file = {"name": found.path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return Manifest(
        channel, version, found.run.absolute().name, task.name, tuple(task.classes), file | {"precision": precision},
        ends["input"], ends["output"], ends["ram_bytes"], found.accuracy, answers,
    )  # fmt: skip


def _examples(found: ChosenFile, task: Task, golden: str, seed: int) -> np.ndarray:
    """The golden ones; what a file's input holds is only asked, for that can take the process down, once it has run."""
    if golden != SYNTHETIC:
        return golden_rows(task, golden, {}, seed)
    try:
        run(found.path, task.test.x[:1])
    except ModelRefused as error:
        raise InputError(f"{found.path}: can't be published: {error}") from None
    return golden_rows(task, golden, _ends(found.path)["input"], seed)


def _ends(path: Path) -> dict[str, Any]:
    """What goes in and comes out of a file that is known to run, and the bytes of its tensors."""
    from fedkd.edge.interpreter import ends, opened

    interpreter = opened(path)
    source, sink = ends(interpreter, path)
    tensors = interpreter.get_tensor_details()
    ram_bytes = sum(int(np.prod(item["shape"], dtype=np.int64)) * np.dtype(item["dtype"]).itemsize for item in tensors)
    given = {"dtype": source.dtype.name, "scale": float(source.scale), "zero_point": int(source.zero_point)}
    feed = {"int8": _INTEGERS, "int16": _INTEGERS}.get(source.dtype.name, f"the {source.dtype.name} numbers themselves")
    taken = {"dtype": sink.dtype.name, "scale": float(sink.scale), "zero_point": int(sink.zero_point)}
    return {"input": {"shape": list(source.shape[1:]), **given, "feed": feed}, "output": taken, "ram_bytes": ram_bytes}


_INTEGERS = "round(x / scale) + zero_point, clipped to dtype, of numbers x as the task's examples hold them"


def _tolerance(logits: np.ndarray, precision: str, scale: float) -> float:
    """How far a device's logits may be from these."""
    if scale:
        return _STEPS * scale
    return float(np.ptp(logits)) * (_DYNAMIC if precision in ("dynamic", "int4") else _FLOAT) + 1e-6
