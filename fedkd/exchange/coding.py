"""How an update becomes small: what its matrices are reduced to, and in how many bits its numbers are written."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.user_code import import_function
from fedkd.exchange.basis import Basis
from fedkd.exchange.forms import Factors, Form, Sparse
from fedkd.exchange.svd import factorise


@dataclass(frozen=True)
class Coding:
    """Settings of one update's way over the network.

    Args:
        reduce: Makes a form of each matrix; see ``COMPRESSORS``.
        energy: Threshold T in (0, 1], of ``svd``.
        rank: K of ``powersgd``.
        density: Share of the entries that ``topk`` sends, in (0, 1].
        bits: Of a number: 32 (float32), 16, 8, 4 or 2.
        stochastic: Round at random instead of to the nearest level.
        deflate: Entropy-code the blob (zlib).
    """

    reduce: "Compressor"
    energy: float = 1.0
    rank: int = 1
    density: float = 1.0
    bits: int = 32
    stochastic: bool = False
    deflate: bool = False


# Gets a finite matrix (P, Q), float32, not all zero; the settings; directions that both sides know, if any. What it
# returns is sent where it costs fewer bits than the matrix.
Compressor = Callable[[np.ndarray, Coding, Basis | None], Form]


def dense(matrix: np.ndarray, coding: Coding, basis: Basis | None) -> Form:
    """Send all entries."""
    return matrix


def svd(matrix: np.ndarray, coding: Coding, basis: Basis | None) -> Form:
    """Send the factors of the smallest rank that keeps the energy (Wu et al. 2022, eqs 8-9)."""
    return matrix if coding.energy == 1 or min(matrix.shape) == 1 else factorise(matrix, coding.energy)


def topk(matrix: np.ndarray, coding: Coding, basis: Basis | None) -> Form:
    """Send the largest entries by magnitude (Aji & Heafield, EMNLP 2017), the first of equal ones."""
    flat = matrix.ravel()
    count = math.ceil(coding.density * flat.size)
    mask = np.zeros(flat.size, bool)
    mask[np.argsort(-np.abs(flat), kind="stable")[:count]] = True
    return Sparse(mask.reshape(matrix.shape), flat[mask])


def powersgd(matrix: np.ndarray, coding: Coding, basis: Basis | None) -> Form:
    """Send the coordinates in directions that all clients share, so that updates can be summed without decoding.

    Reference:
        Vogels et al., NeurIPS 2019; one half of the power iteration a round as in ACP-SGD (Zhang et al., ICDCS 2023).
    """
    if basis is None:
        return matrix
    if basis.side == "right":
        return Factors(matrix @ basis.vectors, basis.vectors.T, known="right")
    return Factors(basis.vectors, basis.vectors.T @ matrix, known="left")


COMPRESSORS: Mapping[str, Compressor] = {"dense": dense, "svd": svd, "topk": topk, "powersgd": powersgd}

PLAIN = Coding(dense)


def compressor(name: str) -> Compressor:
    """Find a compressor by its name, or the user's own by ``package.module:function``.

    Raises:
        InputError: No such function.
    """
    if name in COMPRESSORS:
        return COMPRESSORS[name]
    try:
        return import_function(name)
    except Exception as error:
        raise InputError(f"exchange: {name!r} can't be imported: {type(error).__name__}: {error}") from None
