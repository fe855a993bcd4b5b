"""The payload: one canonical safetensors blob an update, checked against the model's own specification.

A blob holds two tensors: ``ranks`` (int32, one a tensor: K of its factors, or -1 where it is dense) and ``values``
(float32: for each tensor in order its left factor, its right factor, or its dense elements). Names and shapes are
not sent: both sides know the model. The header so costs some 300 bytes, whatever the number of tensors.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import safetensors
from safetensors.numpy import save

from fedkd.exchange.svd import Factors, compress, restore
from fedkd.tensors import Spec, TensorSpec, Weights

FORMAT = 1
DENSE = -1
HEADER_LIMIT = 1024


class PayloadError(ValueError):
    """A blob that must not be used. ``reason`` is a code for logs and histories, the text is for people."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """What a blob says of itself: the round it belongs to, the hash of the model it builds on, the method."""

    round: int
    base: str
    method: str


@dataclass(frozen=True)
class Payload:
    """A decoded blob: the update it stands for, its header, and the rank of each tensor (-1 where dense)."""

    tensors: Weights
    header: Header
    ranks: tuple[int, ...]


def encode(tensors: Sequence[np.ndarray], spec: Spec, header: Header, threshold: float | None) -> bytes:
    """Compress a list of tensors and pack it.

    Args:
        tensors: float32 arrays as the spec says: an update, or a whole model where threshold is None.
        spec: The model's tensors.
        header: Goes into the blob's metadata.
        threshold: Energy T in (0, 1], or None to send every tensor dense.

    Raises:
        PayloadError: A tensor holds NaN or Inf (its name is given) or has another shape than the spec.

    Reference:
        Wu et al. 2022, eqs 8-9.
    """
    if len(tensors) != len(spec):
        raise PayloadError("shape", f"{len(tensors)} tensors given, the model has {len(spec)}")
    for tensor, item in zip(tensors, spec, strict=True):
        if tensor.shape != item.shape:
            raise PayloadError("shape", f"{item.name} must have shape {item.shape}, got {tensor.shape}")
        if not np.isfinite(tensor).all():
            raise PayloadError("not_finite", f"{item.name} holds NaN or Inf")
    return _pack([compress(t, s, threshold) for t, s in zip(tensors, spec, strict=True)], header)


def decode(blob: bytes, spec: Spec) -> Payload:
    """Check a blob against the spec, then restore its tensors; nothing larger than the blob is allocated before.

    Raises:
        PayloadError: Its ``reason`` is one of size, header, format, rank, values, not_finite, canonical.
    """
    size = sum(item.size for item in spec)
    if len(blob) > (limit := 8 + HEADER_LIMIT + 4 * (size + len(spec))):
        raise PayloadError("size", f"{len(blob)} bytes, at most {limit} for this model")
    header, ranks, values = _unpack(blob, len(spec))
    forms, start = [], 0
    for rank, item in zip(ranks, spec, strict=True):
        form, start = _take(values, start, rank, item)
        forms.append(form)
    if start != len(values):
        raise PayloadError("values", f"{len(values)} numbers, the ranks ask for {start}")
    if not np.isfinite(values).all():
        raise PayloadError("not_finite", "the blob holds NaN or Inf")
    if _save(np.array(ranks, "<i4"), values, header) != blob:
        raise PayloadError("canonical", "the blob is not in the one form this format allows")
    with np.errstate(over="ignore"):  # an overflow becomes Inf, which is refused
        tensors = [restore(f, s) for f, s in zip(forms, spec, strict=True)]
    if not all(np.isfinite(t).all() for t in tensors):
        raise PayloadError("not_finite", "the factors' product overflows float32")
    return Payload(tensors, header, tuple(ranks))


def _pack(forms: Sequence[Factors | np.ndarray], header: Header) -> bytes:
    ranks = np.array([f.rank if isinstance(f, Factors) else DENSE for f in forms], "<i4")
    parts = [p for f in forms for p in ((f.left, f.right) if isinstance(f, Factors) else (f,))]
    values = (
        np.concatenate([p.ravel() for p in parts], dtype="<f4", casting="same_kind") if parts else np.empty(0, "<f4")
    )
    return _save(ranks, values, header)


def _save(ranks: np.ndarray, values: np.ndarray, header: Header) -> bytes:
    text = json.dumps({"format": FORMAT, **vars(header)}, sort_keys=True, separators=(",", ":"))
    # One metadata key only: safetensors keeps metadata in a hash map, whose order would change the bytes.
    return bytes(save({"ranks": ranks, "values": values}, {"fedkd": text}))


def _unpack(blob: bytes, tensors: int) -> tuple[Header, list[int], np.ndarray]:
    header = _header(blob)
    try:
        entries = dict(safetensors.deserialize(blob))
    except safetensors.SafetensorError as error:
        raise PayloadError("format", f"not a safetensors blob ({error})") from None
    if {k: (e["dtype"], len(e["shape"])) for k, e in entries.items()} != {"ranks": ("I32", 1), "values": ("F32", 1)}:
        raise PayloadError("format", "must hold ranks (int32) and values (float32), both one-dimensional")
    ranks = np.frombuffer(entries["ranks"]["data"], "<i4").tolist()
    if len(ranks) != tensors:
        raise PayloadError("rank", f"{len(ranks)} ranks, the model has {tensors} tensors")
    return header, ranks, np.frombuffer(entries["values"]["data"], "<f4")


def _header(blob: bytes) -> Header:
    length = int.from_bytes(blob[:8], "little")
    if len(blob) < 8 or length > min(HEADER_LIMIT, len(blob) - 8):
        raise PayloadError(
            "header", f"declares {length} bytes of header in a blob of {len(blob)}, at most {HEADER_LIMIT}"
        )
    try:
        fields = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"]["fedkd"])
        version = fields.pop("format")
        header = Header(**fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PayloadError("header", "the header is not that of a fedkd blob") from None
    if version != FORMAT or [type(v) for v in vars(header).values()] != [int, str, str]:
        raise PayloadError("header", f"format {FORMAT} with round, base and method expected")
    return header


def _take(values: np.ndarray, start: int, rank: int, item: TensorSpec) -> tuple[Factors | np.ndarray, int]:
    rows, columns = item.matrix
    if not DENSE <= rank <= min(rows, columns):
        raise PayloadError("rank", f"{item.name} has rank {rank}, must be from -1 to {min(rows, columns)}")
    if rank == DENSE:
        return _slice(values, start, (item.size,)), start + item.size
    middle = start + rows * rank
    left, right = _slice(values, start, (rows, rank)), _slice(values, middle, (rank, columns))
    return Factors(left, right), middle + rank * columns


def _slice(values: np.ndarray, start: int, shape: tuple[int, ...]) -> np.ndarray:
    size = math.prod(shape)
    if start + size > len(values):
        raise PayloadError("values", f"{len(values)} numbers, the ranks ask for at least {start + size}")
    return values[start : start + size].reshape(shape)
