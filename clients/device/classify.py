"""Classify examples with the current model; where it fails, with the one before."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clients.device import trial
from clients.device.errors import ModelRefused, UpdateFailed, WrongInput
from clients.device.protocol.manifest import Manifest
from clients.device.state import Generation, State

_MANY = 0.1  # share of an example's numbers, from which on cutting them off makes another example of it


def classify(state: State, rows: Path | None, passed: set[str] | None = None) -> dict[str, Any]:
    """Classify the rows of a file, or the golden examples where there is none.

    Args:
        state: The device's folder.
        rows: A .npy of one example, or several.
        passed: Names of models that answered their golden examples in this process; one that did is added.

    Returns:
        For JSON: the model, the median latency in milliseconds, an answer for each row, what failed before, and a
        warning where the model's input can't hold what it was given.

    Raises:
        WrongInput: The file doesn't hold examples of the model.
        UpdateFailed: There is no model that runs.
    """
    failed: dict[str, tuple[Generation, str]] = {}
    for held in list(state.candidates()):
        try:
            answer, warning = _answer(held, rows, set() if passed is None else passed)
        except ModelRefused as error:
            failed[f"version {held.manifest.version}: {error}"] = held, str(error)
            continue
        except WrongInput:
            if failed:
                continue  # the one before takes something else
            raise
        for broken, why in failed.values():
            _judge(state, broken, why)
        more = {"failed": list(failed), "warning": warning}
        return _described(held.manifest, answer) | {key: value for key, value in more.items() if value}
    raise UpdateFailed("; ".join(["no model runs on this device", *failed]))


def _answer(held: Generation, rows: Path | None, passed: set[str]) -> tuple[trial.Answer, str]:
    """Run a model, which has to answer as when it was tried: LiteRT, or the machine, may be another one since.

    Returns:
        The answer, and a warning of examples that the model's input can't hold; empty where it holds them.
    """
    x = examples(rows, held.manifest)
    warning = _beyond(x, held.manifest.input)
    if rows is not None and held.name in passed:
        return trial.run(held.model, x), warning
    answer, _ = trial.check_golden(held.model, held.manifest)
    passed.add(held.name)
    return answer if rows is None else trial.run(held.model, x), warning


def _judge(state: State, model: Generation, why: str) -> None:
    """Give a model up that doesn't even answer its golden examples any more, now that another one runs."""
    try:
        trial.check_golden(model.model, model.manifest)
    except ModelRefused:
        state.fall_back(model, why)


def examples(path: Path | None, manifest: Manifest) -> np.ndarray:
    """Read examples as a model takes them, (n, *shape).

    Raises:
        WrongInput: They are none, or of another shape or kind.
    """
    if path is None:
        return manifest.golden.x
    try:
        x = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError, MemoryError, zipfile.BadZipFile) as error:
        raise WrongInput(f"--input {path}: must be a .npy of numbers: {error}") from None
    shape, kinds = tuple(manifest.input["shape"]), "iu" if manifest.input["dtype"] == "int32" else "fiu"
    if not isinstance(x, np.ndarray) or x.dtype.kind not in kinds or not np.isfinite(x).all():
        raise WrongInput(f"--input {path}: must hold {'integers' if kinds == 'iu' else 'finite numbers'}")
    if x.shape == shape:
        return x[np.newaxis]
    if x.shape[1:] != shape or not len(x):
        raise WrongInput(f"--input {path}: must have shape {shape}, or (n, ...) of that, got {x.shape}")
    return x


def _beyond(x: np.ndarray, end: Mapping[str, Any]) -> str:
    """Say how many examples have many numbers that an integer input can't hold and cuts off; empty where none has."""
    if end["dtype"] not in ("int8", "int16"):
        return ""
    scale, limits = end["scale"], np.iinfo(end["dtype"])
    low, high = ((limit - end["zero_point"]) * scale for limit in (limits.min, limits.max))
    shares = ((x < low - scale) | (x > high + scale)).reshape(len(x), -1).mean(-1)
    if not (count := int((shares > _MANY).sum())):
        return ""
    return (
        f"{count} of {len(x)} examples have more than {_MANY:.0%} of their numbers beyond {low:.3g} to {high:.3g}, all"
        " that the model's input holds: their answers mean nothing; give examples scaled as those of its training"
    )


def _described(manifest: Manifest, answer: trial.Answer) -> dict[str, Any]:
    chosen = answer.logits.argmax(-1)
    answers = [
        {"label": manifest.labels[index], "class": int(index), "logit": round(float(row[index]), 4)}
        for index, row in zip(chosen, answer.logits, strict=True)
    ]
    model = {"channel": manifest.channel, "version": manifest.version, "sha256": manifest.file["sha256"]}
    return {"model": model, "latency_ms": round(answer.latency_ms, 4), "answers": answers}
