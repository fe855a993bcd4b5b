"""How an update becomes small: what reduces its matrices, and in how many bits its numbers are written."""

from dataclasses import dataclass

from fedkd.exchange.compressors import Compressor, DenseCompressor
from fedkd.exchange.quantize import FLOAT


@dataclass(frozen=True)
class Coding:
    """Settings of one update's way over the network.

    Args:
        compressor: Makes a form of each matrix.
        bits: Of a number: 32 (float32), 16, 8, 4 or 2.
        stochastic: Round at random instead of to the nearest level.
        deflate: Entropy-code the blob (zlib).
    """

    compressor: Compressor
    bits: int = FLOAT
    stochastic: bool = False
    deflate: bool = False


PLAIN = Coding(DenseCompressor())
