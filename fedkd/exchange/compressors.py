"""What the matrices of an update are reduced to. Each compressor is a class that holds its own settings."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from fedkd.base.complete import complete
from fedkd.base.errors import InputError
from fedkd.base.user_code import import_function
from fedkd.config.exchange import COMPRESSORS, ExchangeConfig
from fedkd.exchange.basis import Basis
from fedkd.exchange.factors import in_directions
from fedkd.exchange.forms import Form, Sparse
from fedkd.exchange.svd import factorise


class Compressor(ABC):
    """Makes a form of each matrix. It is sent where that costs fewer bits than all entries of the matrix."""

    @abstractmethod
    def compress(self, matrix: np.ndarray, basis: Basis | None) -> Form | np.ndarray:
        """Reduce a matrix.

        Args:
            matrix: float32 (P, Q), finite, not all zero.
            basis: Directions that both sides know, if any.

        Returns:
            A form of the same shape; an array is sent dense.
        """

    @property
    def directions(self) -> int:
        """How many directions of each matrix both sides have to know, 0 for none."""
        return 0

    @property
    def leaves_out_zeros(self) -> bool:
        """Whether it is given a matrix without its rows of zeros, where leaving them out pays."""
        return False


@dataclass(frozen=True)
class DenseCompressor(Compressor):
    """Sends all entries."""

    @classmethod
    def configured(cls, exchange: ExchangeConfig, energy: float) -> Self:
        """Without settings."""
        return cls()

    def compress(self, matrix: np.ndarray, basis: Basis | None) -> Form | np.ndarray:
        """Return the matrix."""
        return matrix


@dataclass(frozen=True)
class Svd(Compressor):
    """Sends the factors of the smallest rank that keeps the energy (Wu et al. 2022, eqs 8-9).

    Args:
        energy: Threshold T in (0, 1].
    """

    energy: float

    @classmethod
    def configured(cls, exchange: ExchangeConfig, energy: float) -> Self:
        """With the round's energy threshold."""
        return cls(energy)

    @property
    def leaves_out_zeros(self) -> bool:
        """Always: they add nothing to the energy."""
        return True

    def compress(self, matrix: np.ndarray, basis: Basis | None) -> Form | np.ndarray:
        """Return the factors, or the matrix where all of the energy is to be kept."""
        return matrix if self.energy == 1 or min(matrix.shape) == 1 else factorise(matrix, self.energy)


@dataclass(frozen=True)
class TopK(Compressor):
    """Sends the largest entries by magnitude (Aji & Heafield, EMNLP 2017), the first of equal ones.

    Args:
        density: Their share of all entries, in (0, 1].
    """

    density: float

    @classmethod
    def configured(cls, exchange: ExchangeConfig, energy: float) -> Self:
        """With ``exchange.density``."""
        return cls(exchange.density)

    def compress(self, matrix: np.ndarray, basis: Basis | None) -> Form | np.ndarray:
        """Return the largest entries."""
        flat = matrix.ravel()
        count = math.ceil(self.density * flat.size)
        mask = np.zeros(flat.size, bool)
        mask[np.argsort(-np.abs(flat), kind="stable")[:count]] = True
        return Sparse(mask.reshape(matrix.shape), flat[mask])


@dataclass(frozen=True)
class NonZero(Compressor):
    """Sends the entries that aren't zero: of a broadcast those that were found in a sketch."""

    @classmethod
    def configured(cls, exchange: ExchangeConfig, energy: float) -> Self:
        """Without settings."""
        return cls()

    def compress(self, matrix: np.ndarray, basis: Basis | None) -> Form | np.ndarray:
        """Return these entries."""
        mask = matrix != 0
        return Sparse(mask, matrix[mask])


@dataclass(frozen=True)
class PowerSgd(Compressor):
    """Sends the coordinates in directions that all clients share, so that updates can be summed without decoding.

    Args:
        rank: K, the number of directions.

    Reference:
        Vogels et al., NeurIPS 2019; one half of the power iteration per round as in ACP-SGD (Zhang et al., ICDCS 2023).
    """

    rank: int

    @classmethod
    def configured(cls, exchange: ExchangeConfig, energy: float) -> Self:
        """With ``exchange.rank``."""
        return cls(exchange.rank)

    @property
    def directions(self) -> int:
        """K."""
        return self.rank

    def compress(self, matrix: np.ndarray, basis: Basis | None) -> Form | np.ndarray:
        """Return the factor that isn't known, or the matrix where no directions are."""
        return matrix if basis is None else in_directions(basis.coordinates(matrix), basis)


@dataclass(frozen=True)
class RoundSettings(ExchangeConfig):
    """What a compressor of the user's own gets: all of ``exchange.*``, and the round's energy threshold in (0, 1]."""

    energy: float = 1.0


Function = Callable[[np.ndarray, RoundSettings, Basis | None], Form | np.ndarray]


@dataclass(frozen=True)
class OwnCompressor(Compressor):
    """Calls a function of the user's own.

    Args:
        function: Gets a matrix as ``compress`` does, the settings, and the directions that both sides know, if any.
        settings: Of the round.
    """

    function: Function
    settings: RoundSettings

    def compress(self, matrix: np.ndarray, basis: Basis | None) -> Form | np.ndarray:
        """Call the function."""
        return self.function(matrix, self.settings, basis)


# What makes a compressor of the settings and of the round's energy threshold in (0, 1].
Factory = Callable[[ExchangeConfig, float], Compressor]

FACTORIES: Mapping[str, Factory] = complete(
    COMPRESSORS,
    {
        "svd": Svd.configured,
        "dense": DenseCompressor.configured,
        "topk": TopK.configured,
        "powersgd": PowerSgd.configured,
        "sketch": NonZero.configured,
    },
)


def compressor(name: str, exchange: ExchangeConfig, energy: float) -> Compressor:
    """Make a compressor by its name, or of the user's own function by ``package.module:function``.

    Raises:
        InputError: No such function.
    """
    if name in FACTORIES:
        return FACTORIES[name](exchange, energy)
    try:
        function = import_function(name)
    except Exception as error:
        raise InputError(f"exchange: {name!r} can't be imported: {type(error).__name__}: {error}") from None
    return OwnCompressor(function, RoundSettings(**vars(exchange), energy=energy))
