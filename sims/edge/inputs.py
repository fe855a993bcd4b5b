"""All that decides what a search comes to: one that was cut off goes on only with what it began with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedkd.base.contents import hash_array, hash_file, hash_record
from fedkd.base.errors import InputError
from fedkd.base.versions import PACKAGES, versions
from fedkd.config.config import Config
from fedkd.config.deciding import deciding, differing
from fedkd.edge.budget import Budget
from fedkd.protocol.contents import contents_of
from sims.edge.source import Source

_MODELS = ("student.keras", "student_finished.keras", "student_aware.keras")
_CONVERTERS = ("ai-edge-litert", "tflite-micro")

Inputs = Mapping[str, Mapping[str, Any]]


def inputs_of(source: Source, budget: Budget, seed: int) -> Inputs:
    """What a search begins with: ``settings`` as they are, and ``contents`` as hashes, wherever files lie.

    Args:
        source: The model and its task.
        budget: To be met.
        seed: Of all that is drawn.
    """
    settings = {"task": source.task.name, "seed": seed, "name": source.stem}
    settings |= {f"budget.{line}": value for line, value in budget.lines.items()}
    settings |= {"runtimes": " ".join(budget.runtimes)} | versions(*PACKAGES, *_CONVERTERS)
    return {"settings": settings, "contents": _contents(source)}


def check_same(path: Path, now: Inputs) -> None:
    """Refuse to go on with other inputs.

    Args:
        path: Where those of the search that was cut off were written, as JSON.
        now: Those of this one.

    Raises:
        InputError: They differ; all that does is named.
    """
    before = json.loads(path.read_bytes())
    found = differing(before["settings"], now["settings"])
    held, given = before["contents"], now["contents"]
    found += [f"{name} differs" for name in {**held, **given} if held.get(name) != given.get(name)]
    if found:
        raise InputError(
            f"--resume: this isn't the search that was cut off: {'; '.join(found)}; give what it began with, or"
            " --overwrite instead to begin again"
        )


def _contents(source: Source) -> dict[str, str]:
    """SHA-256 (64 hex digits) by what was hashed."""
    config = source.experiment.config if source.experiment else Config()
    found = contents_of(source.task, config) | {"calibration": hash_array(source.calibration)}
    if not source.experiment:
        return {"the model": hash_file(source.path)} | found
    models = {name: hash_file(source.path / name) for name in _MODELS if (source.path / name).is_file()}
    return models | found | {"the run's settings": hash_record(deciding(config))}
