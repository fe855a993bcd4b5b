"""Mutated payloads against the decoder: seeded, without end, and with laws for what is accepted."""

import json
import random
import re
import struct
import zlib
from dataclasses import dataclass, field

import numpy as np

from fedkd.base.tensors import TensorSpec
from fedkd.exchange.basis import shared_bases
from fedkd.exchange.blob import _DICTIONARY, Header, PayloadError, read_blob, write_blob
from fedkd.exchange.codec import decode, encode, largest
from tests.exchange.codings import coding

SPEC = (
    TensorSpec("conv", (3, 2, 8), 2),
    TensorSpec("bias", (8,), 0),
    TensorSpec("still", (4, 4), 1),
    TensorSpec("table", (20, 4), 1),
)
HEADER = Header(3, "ab" * 8, "fedkd")
CODINGS = [
    coding(name, bits, deflate=deflate, energy=0.6, density=0.2)
    for name, bits, deflate in [
        ("dense", 32, False), ("svd", 32, False), ("topk", 32, False), ("dense", 2, False), ("svd", 8, False),
        ("topk", 16, False), ("svd", 4, True), ("dense", 32, True), ("powersgd", 32, False),
    ]
]  # fmt: skip
BASES = shared_bases(None, SPEC, HEADER.round, 2, np.random.default_rng(0))
# Floats that are none, or the largest and smallest there are; and numbers that lengths and codes overflow at.
FLOATS = [struct.pack("<I", bits) for bits in (0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0x7F7FFFFF, 1, 1 << 31)]
NUMBERS = [
    0,
    1,
    7,
    8,
    255,
    256,
    1024,
    1025,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**53,
    2**63 - 1,
    2**63,
    2**64 - 1,
]


def originals():
    """Blobs of one update in several codings."""
    rng = np.random.default_rng(0)
    update = [rng.normal(size=s.shape).astype(np.float32) for s in SPEC]
    update[2][:] = 0
    update[3][3:] = 0
    return [encode(update, SPEC, HEADER, each, BASES) for each in CODINGS]


def inflated(blob):
    if blob[:1] != b"Z":
        return blob
    return zlib.decompressobj(zdict=_DICTIONARY).decompress(blob[1:])


def deflated(blob, level=1):
    deflater = zlib.compressobj(level, zdict=_DICTIONARY)
    return b"Z" + deflater.compress(blob) + deflater.flush()


def start(blob):
    """Where the arrays of a blob begin, where its first bytes can be believed."""
    return min(8 + int.from_bytes(blob[:8], "little"), len(blob))


@dataclass
class Fuzzer:
    """Mutants of some blobs, the same from the same seed."""

    seed: int
    blobs: list = field(default_factory=originals)

    def __post_init__(self):
        self.random = random.Random(self.seed)
        self.plain = [inflated(blob) for blob in self.blobs]
        self.ways = [
            self.flip, self.flip, self.overwrite, self.truncate, self.extend, self.splice, self.length, self.digit,
            self.number, self.text, self.swap, self.value, self.value, self.code, self.drop, self.repeat, self.inflate,
        ]  # fmt: skip

    def mutant(self):
        """One to three mutations of a blob; some of its inflated form are deflated again."""
        blob = bytearray(self.random.choice(self.blobs if self.random.random() < 0.3 else self.plain))
        for _ in range(self.random.choice((1, 1, 2, 3))):
            blob = bytearray(self.random.choice(self.ways)(blob) if blob else b"{")
        return deflated(bytes(blob)) if self.random.random() < 0.1 else bytes(blob)

    def at(self, blob):
        """A place in the blob, as often among its arrays as in its header."""
        first = self.random.choice((0, start(blob)))
        return self.random.randrange(first, len(blob)) if len(blob) > first else 0

    def flip(self, blob):
        for _ in range(self.random.randint(1, 4)):
            blob[self.at(blob)] ^= 1 << self.random.randrange(8)
        return blob

    def overwrite(self, blob):
        place = self.at(blob)
        blob[place : place + self.random.randint(1, 8)] = self.random.randbytes(self.random.randint(1, 8))
        return blob

    def truncate(self, blob):
        return blob[: self.at(blob)]

    def extend(self, blob):
        return blob + self.random.randbytes(self.random.choice((1, 4, 8, 64)))

    def splice(self, blob):
        other = self.random.choice(self.plain)
        return blob[: self.at(blob)] + other[self.at(other) :]

    def length(self, blob):
        """Another length of the header, near the right one or far from it."""
        near = int.from_bytes(blob[:8], "little") + self.random.choice((-8, -1, 1, 8))
        blob[:8] = struct.pack("<Q", self.random.choice((max(0, near) % 2**64, *NUMBERS)))
        return blob

    def digit(self, blob):
        """A digit of the header: of a shape, an offset, the round, the bits, the hash."""
        places = [m.start() for m in re.finditer(rb"\d", blob[8 : start(blob)])]
        if places:
            blob[8 + self.random.choice(places)] = self.random.choice(b"0123456789-")
        return blob

    def number(self, blob):
        """A whole number of the header becomes another; its length fits again."""
        end = start(blob)
        found = list(re.finditer(rb"\d+", blob[8:end]))
        if not found:
            return blob
        spot = self.random.choice(found)
        text = blob[8 : 8 + spot.start()] + str(self.random.choice(NUMBERS)).encode() + blob[8 + spot.end() : end]
        return bytearray(struct.pack("<Q", len(text)) + text + blob[end:])

    def text(self, blob):
        """A name, type or key of the header becomes another."""
        words = (b"forms", b"values", b"masks", b"steps", b"F32", b"I32", b"U8", b"U16", b"F64", b"F16", b"fedkd",
                 b"base", b"__metadata__", b"shape", b"x" * 5, b"[[[[", b"null")  # fmt: skip
        end = start(blob)
        text = blob[8:end].replace(self.random.choice(words), self.random.choice(words), 1)
        return bytearray(struct.pack("<Q", len(text)) + text + blob[end:])

    def swap(self, blob):
        """Two entries of the header change places, or trade their contents."""
        end = start(blob)
        try:
            table = json.loads(bytes(blob[8:end]))
            names = [*table]
            a, b = self.random.choice(names), self.random.choice(names)
            if self.random.random() < 0.5:
                table[a], table[b] = table[b], table[a]
            else:
                table[a] = table.pop(a)
        except (ValueError, AttributeError, IndexError, KeyError, TypeError):
            return blob
        text = json.dumps(table, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return bytearray(struct.pack("<Q", len(text)) + text + blob[end:])

    def value(self, blob):
        """A number of the arrays becomes NaN, Inf, the largest, the smallest, or any."""
        place = start(blob) + 4 * self.random.randrange(max(1, (len(blob) - start(blob)) // 4))
        blob[place : place + 4] = self.random.choice((*FLOATS, self.random.randbytes(4)))
        return blob

    def code(self, blob):
        """A form becomes another, of another rank."""
        place = max(start(blob), len(blob) - 4 * self.random.randint(1, 12))
        blob[place : place + 4] = struct.pack("<i", self.random.choice((-1, *range(60), 2**31 - 1)))
        return blob

    def drop(self, blob):
        place = self.at(blob)
        del blob[place : place + self.random.choice((1, 4, 8))]
        return blob

    def repeat(self, blob):
        place, size = self.at(blob), self.random.choice((1, 4, 8, 64))
        return blob[:place] + blob[place : place + size] + blob[place:]

    def inflate(self, blob):
        """A bomb: what follows, or the whole, is many zeros that are few bytes."""
        zeros = bytes(self.random.choice((10**3, 10**4, 10**5)))
        return bytearray(deflated(bytes(blob) + zeros if self.random.random() < 0.5 else zeros))


def accepted(blob):
    """Whether the decoder takes a blob; where it does, check that it is a valid update and nothing else."""
    try:
        payload = decode(blob, SPEC, BASES, HEADER)
    except PayloadError:
        return False
    assert payload.header == HEADER
    for tensor, item in zip(payload.tensors, SPEC, strict=True):
        assert (tensor.shape, tensor.dtype) == (item.shape, np.float32)
        assert np.isfinite(tensor).all()
    assert all(-1 <= rank <= min(item.matrix) for rank, item in zip(payload.ranks, SPEC, strict=True))
    # What was read writes itself, byte for byte, by the library's own hand: there is room for nothing else.
    entries, header, bits = read_blob(blob, largest(SPEC))
    assert write_blob(entries, header, bits, deflate=False) == inflated(blob)
    return True


def fuzz(count, seed):
    """Decode mutants; returns how many were accepted, and how many of these differ from the originals."""
    fuzzer = Fuzzer(seed)
    known = {*fuzzer.blobs, *fuzzer.plain}
    taken = others = 0
    for _ in range(count):
        blob = fuzzer.mutant()
        if accepted(blob):
            taken += 1
            others += inflated(blob) not in known
    return taken, others
