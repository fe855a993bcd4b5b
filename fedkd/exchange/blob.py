"""The container of a payload: one canonical safetensors blob with a small header, deflated or not."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors

from fedkd.config.exchange import BITS
from fedkd.exchange.quantize import FLOAT

FORMAT = 2
HEADER_LIMIT = 1024
_PIECE = 2**16  # least bytes that are inflated at a time

# What a blob may hold; what is empty is left out.
_DTYPES = {"forms": "<i4", "masks": "|u1", "steps": "<u2", "used": "|u1", "whole": "<f4"}
_NAMES = {"<i4": "I32", "|u1": "U8", "<f4": "F32", "<u2": "U16"}
_ORDER = ("F32", "I32", "U16", "U8")  # of types in a safetensors blob; arrays of one type go by their names
_DEFLATED = b"Z"  # never the first byte of a safetensors blob, whose header has a multiple of 8 bytes
# What all headers have in common, so that a deflated one costs some 60 bytes. Part of the format.
_DICTIONARY = (
    rb'{"__metadata__":{"fedkd":"{\"base\":\"0123456789abcdef\",\"bits\":2,\"format\":2,\"method\":\"fedkd_plus\",\"round\":1}"},'
    b'"forms":{"dtype":"I32","shape":[10],"data_offsets":[0,40]},"masks":{"dtype":"U8","shape":[100],"data_offsets":[0,100]},'
    b'"steps":{"dtype":"U16","shape":[50],"data_offsets":[40,140]},"values":{"dtype":"U8","shape":[999],"data_offsets":[140,1139]}}'
)


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


def write_blob(entries: Mapping[str, np.ndarray], header: Header, bits: int, deflate: bool) -> bytes:
    """Write one-dimensional arrays and the header as one blob."""
    blob = _save(entries, header, bits)
    if not deflate:
        return blob
    deflater = zlib.compressobj(9, zdict=_DICTIONARY)
    return _DEFLATED + deflater.compress(blob) + deflater.flush()


def read_blob(blob: bytes, limit: int) -> tuple[dict[str, np.ndarray], Header, int]:
    """Undo ``write_blob``; at most ``limit`` bytes are inflated.

    Returns:
        All arrays, empty ones too, the header, and the bits of a number.

    Raises:
        PayloadError: Its ``reason`` is one of size, deflate, header, format, canonical.
    """
    blob = _inflated(blob, limit)
    header, bits = _header(blob)
    try:
        found = dict(safetensors.deserialize(blob))
    except safetensors.SafetensorError as error:
        raise PayloadError("format", f"not a safetensors blob ({error})") from None
    dtypes = _DTYPES | {"values": "<f4" if bits == FLOAT else "|u1"}
    for name, entry in found.items():
        if name not in dtypes or (entry["dtype"], len(entry["shape"])) != (_NAMES[dtypes[name]], 1):
            raise PayloadError("format", f"must hold one-dimensional {', '.join(dtypes)}, got {name}")
    entries = {name: np.frombuffer(found[name]["data"] if name in found else b"", d) for name, d in dtypes.items()}
    start = _start(entries, header, bits)
    if blob[: len(start)] != start:
        raise PayloadError("canonical", "the blob is not in the one form this format allows")
    return entries, header, bits


def _save(entries: Mapping[str, np.ndarray], header: Header, bits: int) -> bytes:
    """Return what safetensors would write, without the two further copies that it makes of the arrays."""
    return b"".join(
        [_start(entries, header, bits), *(np.ascontiguousarray(entries[n]).data for n in _ordered(entries))]
    )


def _ordered(entries: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the arrays that aren't empty, in the order in which they are in a blob."""
    held = (name for name, array in entries.items() if array.size)
    return sorted(held, key=lambda name: (_ORDER.index(_NAMES[entries[name].dtype.str]), name))


def _metadata(header: Header, bits: int) -> str:
    return json.dumps({"format": FORMAT, "bits": bits, **vars(header)}, sort_keys=True, separators=(",", ":"))


def _start(entries: Mapping[str, np.ndarray], header: Header, bits: int) -> bytes:
    """Return all that a blob holds before the arrays' bytes.

    One key of metadata only: safetensors keeps metadata in a hash map, whose order would change the bytes.
    """
    table: dict[str, Any] = {"__metadata__": {"fedkd": _metadata(header, bits)}}
    offset = 0
    for name in _ordered(entries):
        array, end = entries[name], offset + entries[name].nbytes
        kind = _NAMES[array.dtype.str]
        table[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _inflated(blob: bytes, limit: int) -> bytes:
    deflated = blob[:1] == _DEFLATED
    if len(blob) > limit + deflated * (limit // 1000 + 64):  # more than deflating adds to what it can't shrink
        raise _too_large(limit)
    if deflated:
        try:
            return _inflate(memoryview(blob)[1:], limit)
        except zlib.error as error:
            raise PayloadError("deflate", f"not a deflated blob ({error})") from None
    return blob


def _inflate(rest: memoryview | bytes, limit: int) -> bytes:
    """Inflate in a few pieces: zlib alone would take more than twice the room of what it inflates."""
    inflate, most = zlib.decompressobj(zdict=_DICTIONARY), max(_PIECE, limit // 8)
    pieces, room = [], limit + 1
    while room and (piece := inflate.decompress(rest, min(room, most))):
        pieces.append(piece)
        room, rest = room - len(piece), inflate.unconsumed_tail
    if not room:
        raise _too_large(limit)
    if not inflate.eof or inflate.unused_data:
        raise PayloadError("deflate", "the deflated blob is cut short, or bytes follow it")
    return b"".join(pieces)


def _too_large(limit: int) -> PayloadError:
    return PayloadError("size", f"more than {limit} bytes, the most this model can need")


def _header(blob: bytes) -> tuple[Header, int]:
    length = int.from_bytes(blob[:8], "little")
    if len(blob) < 8 or length > min(HEADER_LIMIT, len(blob) - 8):
        raise PayloadError(
            "header", f"declares {length} bytes of header in a blob of {len(blob)}, at most {HEADER_LIMIT}"
        )
    try:
        fields = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"]["fedkd"])
        version, bits = fields.pop("format"), fields.pop("bits")
        header = Header(**fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PayloadError("header", "the header is not that of a fedkd blob") from None
    if version != FORMAT or [type(v) for v in (*vars(header).values(), bits)] != [int, str, str, int]:
        raise PayloadError("header", f"format {FORMAT} with round, base, method and bits expected")
    if bits not in BITS:
        raise PayloadError("header", f"bits must be one of {', '.join(map(str, BITS))}, got {bits}")
    return header, bits
