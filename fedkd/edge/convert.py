"""From a .keras file to TFLite files, in a child process, for the converter can take its process down with it."""

import argparse
import json
import os
import re
import signal
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.user_code import import_module
from fedkd.base.work_folder import work_folder
from fedkd.config.edge import CALIBRATED, PRECISIONS
from fedkd.edge.child import ending, last_message, run_module
from fedkd.edge.runtime import predict

if TYPE_CHECKING:
    import keras

_MISSING_OPS = re.compile(r"^(Custom|TF Select) ops:")
_ERROR_LENGTH = 300
_COMPARED = 32  # rows on which a float32 file is held against Keras
# Modules of this project's layers, which Keras finds by registered name.
_OWN_LAYERS = ("fedkd.compress.fake_quant", "fedkd.compress.words", "fedkd.models.transformer")


@dataclass(frozen=True)
class Conversion:
    """What became of one precision.

    Args:
        precision: One of PRECISIONS.
        path: The TFLite file, or None if it failed; a file of that name from an earlier call then stays as it was.
        error: One line that says why it failed, or None.
    """

    precision: str
    path: Path | None
    error: str | None


def convert(
    model_path: Path,
    calibration: np.ndarray,
    out_dir: Path,
    precisions: Sequence[str] = PRECISIONS,
    stem: str = "student",
    modules: Sequence[str] = (),
    rows: np.ndarray | None = None,
    trust: bool = False,
) -> list[Conversion]:
    """Write `<out_dir>/<stem>_<precision>.tflite` for each precision, with the batch fixed to 1.

    One child process does them all; when it dies in one precision, a fresh child takes up the rest. A model of which
    a float32 file doesn't compute what Keras computes, within 1e-4 of the outputs' range, fails in every precision.

    Args:
        model_path: A .keras file of one input (float32, or int32 ids) and one output (logits). One that was trained
            in other floats becomes float32 first.
        calibration: Rows (n, *input_shape) that show integers the range of every activation; a hundred or so.
        out_dir: Made if missing. Each file appears whole or not at all.
        precisions: Some of PRECISIONS. Integers are so at both ends, but ids stay int32.
        stem: Start of the file names.
        modules: Python modules that define the user's own layers, for Keras looks these up by registered name.
        rows: Real rows (n, *input_shape), on the first of which a float32 file is held against Keras; those of
            `calibration` where None. Where there are none, nothing is compared.
        trust: Whether Python code that the model holds, in Lambda layers, may run.

    Returns:
        One Conversion a precision, in the order asked.

    Raises:
        InputError: `model_path` is no .keras file, a precision is unknown, or integers are asked without calibration.
    """
    _check(model_path, calibration, precisions)
    out_dir.mkdir(parents=True, exist_ok=True)
    done: list[Conversion] = []
    while len(done) < len(precisions):
        options = ["--trust"] * trust + ["--modules", *modules]
        done += _run_child(model_path, calibration, rows, out_dir / stem, options, precisions[len(done) :])
    return done


def _check(model_path: Path, calibration: np.ndarray, precisions: Sequence[str]) -> None:
    """Raise InputError on what can be seen to be wrong without starting a child."""
    if not model_path.is_file():
        raise InputError(f"{model_path} must be a .keras file, got no file there")
    if not zipfile.is_zipfile(model_path):
        raise InputError(f"{model_path} must be a .keras file, got one that is no zip archive")
    unknown = [precision for precision in precisions if precision not in PRECISIONS]
    if unknown:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {unknown[0]}")
    if (needing := set(precisions) & set(CALIBRATED)) and len(calibration) == 0:
        raise InputError(f"calibration must have at least 1 row for {min(needing)}, got 0")


def _run_child(
    model_path: Path,
    calibration: np.ndarray,
    rows: np.ndarray | None,
    prefix: Path,
    options: Sequence[str],
    precisions: Sequence[str],
) -> list[Conversion]:
    """Convert until the child ends; the precision a signal interrupted gets an error and is the last one returned."""
    # Beside the files, so that os.replace stays on one file system; removed here, for a dead child can't.
    with work_folder(prefix.parent, "convert") as work:
        np.save(Path(work, "calibration.npy"), calibration, allow_pickle=False)
        if rows is not None:
            np.save(Path(work, "rows.npy"), rows[:_COMPARED], allow_pickle=False)
        job = str(model_path), str(work), str(prefix), *precisions, *options
        child = run_module("fedkd.edge.convert", *job)
    done = [_parse(line) for line in child.stdout.splitlines()]
    left = precisions[len(done) :]
    # A signal says nothing of the other precisions; a plain exit means that no child would get any further.
    failed = left[:1] if child.returncode < 0 else left
    return done + [Conversion(precision, None, _failure_message(precision, child)) for precision in failed]


def _parse(line: str) -> Conversion:
    """Read one JSON line of the child."""
    said = json.loads(line)
    return Conversion(said["precision"], Path(said["path"]) if said["path"] else None, said["error"])


def _failure_message(precision: str, child: subprocess.CompletedProcess[str]) -> str:
    """Say how the child died and what it said last."""
    known = precision in CALIBRATED and child.returncode == -signal.SIGSEGV
    hint = " (calibration crashes on LSTM and GRU layers unless unroll=True)" if known else ""
    return f"the converter {ending(child)} in {precision}{hint}{last_message(child)}"


# From here on: what runs in the child. Only this imports TensorFlow.


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert one model and print one JSON line a precision: its name, path and error.

    Args:
        arguments: Command line: model, work directory holding calibration.npy, path prefix, precisions.
    """
    parser = argparse.ArgumentParser(prog="python -m fedkd.edge.convert")
    parser.add_argument("model", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("prefix", type=Path)
    parser.add_argument("precisions", nargs="+", choices=PRECISIONS)
    parser.add_argument("--trust", action="store_true")
    parser.add_argument("--modules", nargs="*", default=[])
    job = parser.parse_args(arguments)
    report = _claim_stdout()
    for done in convert_here(job.model, job.work, job.prefix, job.precisions, job.modules, job.trust):
        print(json.dumps(asdict(done), default=str), file=report, flush=True)


def _claim_stdout() -> TextIO:
    """Keep stdout for the report: whatever else prints there, C++ included, goes to stderr from now on."""
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return report


def convert_here(
    model_path: Path,
    work: Path,
    prefix: Path,
    precisions: Sequence[str],
    modules: Sequence[str] = (),
    trust: bool = False,
) -> Iterator[Conversion]:
    """Convert in this process, at its peril; see `convert`.

    Args:
        model_path: A .keras file of one input and one output.
        work: Scratch directory on the file system of `prefix`, holding calibration.npy, and rows.npy where a float32
            file is to be held against Keras on other rows than those.
        prefix: Path of the TFLite files up to `_<precision>.tflite`.
        precisions: Some of PRECISIONS.
        modules: See `convert`.
        trust: Likewise.

    Yields:
        A Conversion as each is done; a model that can't be loaded, or that becomes another in a float32 file, fails
        them all alike.
    """
    # Any exception is an answer here: this process exists to find out whether conversion works.
    try:
        for module in (*_OWN_LAYERS, *modules):
            import_module(module)
        model = _proven(model_path, work, trust)
    except Exception as error:
        yield from (Conversion(precision, None, _summary(error)) for precision in precisions)
        return
    from fedkd.edge.flatbuffer import flatbuffer

    for precision in precisions:
        try:
            content = flatbuffer(work / "saved_model", precision, model, lambda: _calibration(work, model))
            yield Conversion(precision, _write(content, work, Path(f"{prefix}_{precision}.tflite")), None)
        except Exception as error:
            yield Conversion(precision, None, _summary(error))


def _proven(model_path: Path, work: Path, trust: bool) -> "keras.Model":
    """Load a model, write its SavedModel, and see that a float32 file of it computes what it computes.

    A quantization-aware model is compared without its rounding, of which a last bit of float32 makes a whole step.
    """
    from fedkd.compress.fake_quant import ActivationRange
    from fedkd.compress.in_floats import in_floats
    from fedkd.edge.flatbuffer import flatbuffer
    from fedkd.edge.inference import check_outputs, export, load

    model = load(model_path, trust)
    export(model, work / "saved_model")
    rows = _compared(work, model)
    if not len(rows):
        return model
    plain, saved = model, work / "saved_model"
    if any(isinstance(layer, ActivationRange) for layer in model.layers):
        plain, saved = in_floats(model), work / "in_floats"
        export(plain, saved)
    path = _write(flatbuffer(saved, "float32", plain, lambda: rows), work, work / "proof.tflite")
    check_outputs(plain, rows, predict(path, rows))
    return model


def _compared(work: Path, model: "keras.Model") -> np.ndarray:
    """Some rows to hold a file against Keras on: those given for it, or those of calibration that fit, if any.

    Raises:
        InputError: Rows that were given for it don't fit.
    """
    given, tensor = work / "rows.npy", model.inputs[0]
    rows = np.load(given if given.is_file() else work / "calibration.npy", allow_pickle=False)[:_COMPARED]
    if rows.shape[1:] == tuple(tensor.shape[1:]):
        return rows.astype(tensor.dtype)
    if given.is_file():
        raise InputError(f"rows must have shape (n, {', '.join(map(str, tensor.shape[1:]))}), got {rows.shape}")
    return rows[:0]


def _calibration(work: Path, model: "keras.Model") -> np.ndarray:
    """Rows (n, *input_shape) in the dtype of the model's input."""
    rows, tensor = np.load(work / "calibration.npy", allow_pickle=False), model.inputs[0]
    if rows.shape[1:] != (shape := tuple(tensor.shape[1:])):
        raise InputError(f"calibration must have shape (n, {', '.join(map(str, shape))}), got {rows.shape}")
    return rows.astype(tensor.dtype)


def _write(content: bytes, work: Path, path: Path) -> Path:
    """Put the file in its place in one step."""
    half = work / path.name
    half.write_bytes(content)
    os.replace(half, path)
    return path


def _summary(error: Exception) -> str:
    """One line of an exception: the ops TFLite lacks if it names them, else its first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    missing = next((line for line in lines if _MISSING_OPS.match(line)), lines[0])
    return f"{type(error).__name__}: {missing}"[:_ERROR_LENGTH]


if __name__ == "__main__":
    main()
