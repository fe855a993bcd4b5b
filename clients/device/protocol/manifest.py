"""The manifest of a model: what it is for, how to feed it, and what it must answer. JSON, signed with the model."""

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FORMAT = 1
LARGEST_MANIFEST = 4 << 20
LARGEST_MODEL = 256 << 20
LARGEST_VERSION = (1 << 63) - 1
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DTYPES = {"float32": np.dtype("<f4"), "int32": np.dtype("<i4")}


@dataclass(frozen=True, eq=False)
class Golden:
    """Examples that a device runs before it trusts a model.

    Args:
        x: float32 or int32 (n, *input shape), as ``feed`` of the manifest says.
        logits: float32 (n, classes), what the publisher's LiteRT answered, dequantized.
        tolerance: Largest difference of a logit: processors round differently.
    """

    x: np.ndarray
    logits: np.ndarray
    tolerance: float

    def difference(self, found: np.ndarray) -> float:
        """Largest difference of a logit; infinite where shapes differ or one isn't finite."""
        if found.shape != self.logits.shape or not np.isfinite(found).all():
            return math.inf
        return float(np.abs(found - self.logits).max())

    def agreement(self, found: np.ndarray) -> float:
        """Share of the examples that are decided alike."""
        return float(np.mean(found.argmax(-1) == self.logits.argmax(-1)))


@dataclass(frozen=True, eq=False)
class Manifest:
    """A model in one version of a channel.

    Args:
        channel: What devices follow.
        version: The channel's, from 1.
        run: Name of the run it comes from.
        task: What it was trained for.
        labels: Name of each class.
        file: ``name``, ``bytes``, ``sha256`` and ``precision`` of the .tflite.
        input: ``shape`` of an example, ``dtype``, ``scale``, ``zero_point``, and ``feed``, in words.
        output: ``dtype``, ``scale`` and ``zero_point``.
        ram_bytes: All of the file's tensors at once, an upper bound of what running it takes.
        accuracy: Share of the test set that it classifies rightly; None where nobody measured it.
        golden: Examples with their answers.
    """

    channel: str
    version: int
    run: str
    task: str
    labels: tuple[str, ...]
    file: Mapping[str, Any]
    input: Mapping[str, Any]
    output: Mapping[str, Any]
    ram_bytes: int
    accuracy: float | None
    golden: Golden

    def pack(self) -> bytes:
        """Write the manifest: the same manifest, the same bytes.

        Raises:
            ValueError: A number of it isn't finite, or an array of no dtype that devices read.
        """
        golden = {
            "x": _packed(self.golden.x),
            "logits": _packed(self.golden.logits),
            "tolerance": self.golden.tolerance,
        }
        fields = {**vars(self), "labels": list(self.labels), "golden": golden, "format": FORMAT}
        return json.dumps(fields, sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"

    def unfit(self, flash_bytes: int, ram_bytes: int) -> str:
        """Why the model doesn't fit into what a device gives, 0 for no limit; empty where it does."""
        needed = (("flash", int(self.file["bytes"]), flash_bytes), ("RAM", self.ram_bytes, ram_bytes))
        for what, needs, has in needed:
            if has and needs > has:
                return f"{self.channel} {self.version} needs {needs:,} bytes of {what}, this device gives {has:,}"
        return ""


def unpack(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        ValueError: It is none, or of another format; in one line.
    """
    if len(data) > LARGEST_MANIFEST:
        raise ValueError(f"a manifest has at most {LARGEST_MANIFEST:,} bytes, got {len(data):,}")
    try:
        fields = json.loads(data)
        if fields.pop("format") != FORMAT:
            raise ValueError(f"its format must be {FORMAT}; a newer fedkd-device reads others")
        golden = fields.pop("golden")
        x, logits = _unpacked(golden["x"]), _unpacked(golden["logits"])
        held = Golden(x, logits, float(golden["tolerance"]))
        found = Manifest(**fields | {"labels": tuple(fields["labels"]), "golden": held})
        _check(found)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"no manifest of a model: {' '.join(str(error).split())[:200]}") from None
    return found


def digest(data: bytes) -> str:
    """SHA-256, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def check_channel(name: str) -> str:
    """Return a channel's name if it is one: letters, digits, ``-``, ``_`` and ``.``, not at the start.

    Raises:
        ValueError: It isn't.
    """
    if not (_PLAIN.fullmatch(name) and len(name) <= 64):
        raise ValueError(
            f"a channel must be 1 to 64 of a-z, A-Z, 0-9, -, _ and ., not one of these first, got {name!r}"
        )
    return name


def _check(found: Manifest) -> None:
    """Raise ValueError where fields contradict each other."""
    check_channel(found.channel)
    examples, classes = len(found.golden.x), len(found.labels)
    rules = {
        "version must be a whole number from 1 and below 2^63": type(found.version) is int
        and 1 <= found.version <= LARGEST_VERSION,
        "ram_bytes must be a whole number from 0 and below 2^63": type(found.ram_bytes) is int
        and 0 <= found.ram_bytes <= LARGEST_VERSION,
        "its file must have a plain name: a-z, A-Z, 0-9, -, _ and .": _PLAIN.fullmatch(str(found.file.get("name", ""))),
        "its file must have a size within the limit": 0 < int(found.file.get("bytes", 0)) <= LARGEST_MODEL,
        "its file must have a SHA-256": len(str(found.file.get("sha256", ""))) == 64,
        "golden examples must be of the input's shape": examples > 0
        and list(found.golden.x.shape[1:]) == list(found.input.get("shape", ())),
        "golden answers must be (examples, labels)": found.golden.logits.shape == (examples, classes),
        "golden examples and answers must be finite": bool(
            np.isfinite(found.golden.x).all() and np.isfinite(found.golden.logits).all()
        ),
        "tolerance must be finite and not negative": 0 <= found.golden.tolerance < math.inf,
    }
    for rule, kept in rules.items():
        if not kept:
            raise ValueError(rule)


def _packed(array: np.ndarray) -> dict[str, Any]:
    if array.dtype.name not in _DTYPES:
        raise ValueError(f"golden examples must be {' or '.join(_DTYPES)}, got {array.dtype}")
    raw = np.ascontiguousarray(array, _DTYPES[array.dtype.name]).tobytes()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "base64": base64.b64encode(raw).decode()}


def _unpacked(fields: Mapping[str, Any]) -> np.ndarray:
    raw = base64.b64decode(fields["base64"], validate=True)
    return np.frombuffer(raw, _DTYPES[fields["dtype"]]).reshape([int(size) for size in fields["shape"]])
