"""Channels scaled before their kernels are rounded to few bits, so that those that carry much are rounded finely.

Reference:
    Lin et al., MLSys 2024 (AWQ: activation-aware weight quantization for on-device LLM compression and acceleration).
"""

import keras
import numpy as np

from fedkd.compress.compensate import output_error
from fedkd.compress.dense_kernels import DenseKernel, copied, dense_kernels
from fedkd.compress.grid import FOUR, rounded
from fedkd.compress.moments import Moment, Moments, moment_of
from fedkd.compress.scalable import Scalable, scalable
from fedkd.models.graph import functional

_EXPONENTS = np.linspace(0.0, 1.0, 21)  # 0 leaves all as it is
_LEAST = 1e-4  # of the largest magnitude: less is as good as never there


def awq(model: keras.Model, shown: Moments) -> keras.Model:
    """Return a copy of a model whose dense kernels are what the precision int4 has them: multiples of a step an output.

    Channels are scaled, see ``awq_scaled``, and kernels rounded to the nearest multiples of the step, up to that of
    their largest number, of which the outputs change least were the channels independent of each other.

    Args:
        model: Functional or Sequential; not changed.
        shown: What its kernels read, of ``moments``.

    Raises:
        InputError: The moments are of another model, a kernel isn't finite, or there is none of 1,024 numbers or more.

    Reference:
        Lin et al., MLSys 2024, sections 3.2 and, for the steps, 4.1 (clipping).
    """
    whole, places = _copied(model)
    scales = {kernel.name: by for place in places for by in [_scale(place, shown)] for kernel in place.readers}
    for kernel in dense_kernels(whole):
        second = moment_of(shown, kernel).second
        kernel.assign(_rounded(kernel.matrix(), second, scales.get(kernel.name, np.ones(kernel.inputs))))
    return whole


def awq_scaled(model: keras.Model, shown: Moments) -> keras.Model:
    """Return a copy of a model that computes the same, with channels scaled for kernels to be rounded to 4 bits.

    Channels behind a normalisation, behind a dense layer with a ReLU or none, and between the values and the output of
    attention are divided by a power of their mean magnitude, and the kernels that alone read them multiplied. Of 21
    powers each such place has the one of which rounding changes the outputs least. Other places, such as behind GELU or
    where a residual path reads the channels, too, stay as they are.

    Args:
        model: Functional or Sequential; not changed.
        shown: What its kernels read, of ``moments``.

    Raises:
        InputError: See ``awq``.

    Reference:
        Lin et al., MLSys 2024, section 3.2, eqs 4-5; in the place of examples, second moments say what is lost.
    """
    whole, places = _copied(model)
    for place in places:
        _scale(place, shown)
    return whole


def _copied(model: keras.Model) -> tuple[keras.Model, list[Scalable]]:
    whole = copied(functional(model))
    dense_kernels(whole)
    return whole, scalable(whole)


def _scale(place: Scalable, shown: Moments) -> np.ndarray:
    """Scale a place, and return by how much, float64 (inputs,)."""
    held = [(kernel, moment_of(shown, kernel)) for kernel in place.readers if kernel.worth]
    by = _best(held)
    place.scale(by)
    return by


def _best(held: list[tuple[DenseKernel, Moment]]) -> np.ndarray:
    """What the rows of kernels that read the same are multiplied by so that rounding changes least."""
    magnitude = held[0][1].magnitude
    magnitude = np.maximum(magnitude, _LEAST * magnitude.max())
    best, least = np.ones(len(magnitude)), np.inf
    for exponent in _EXPONENTS if magnitude.all() else ():
        tried = magnitude**exponent
        tried = tried / np.sqrt(tried.max() * tried.min())
        error = sum(_lost(kernel.matrix(), moment.second, tried) for kernel, moment in held)
        if error < least:
            best, least = tried, error
    return best


def _lost(matrix: np.ndarray, second: np.ndarray, by: np.ndarray) -> float:
    """What rounding changes in the outputs of a kernel whose rows are scaled."""
    return output_error(_rounded(matrix * by[:, None], second, by) / by[:, None] - matrix, second)


def _rounded(scaled: np.ndarray, second: np.ndarray, by: np.ndarray) -> np.ndarray:
    """A kernel of scaled rows (inputs, outputs) as multiples of steps; ``second`` is of the inputs before scaling."""
    numbers, steps = rounded(scaled.T.astype(np.float32), FOUR, np.diag(second) / by**2)
    return np.asarray((numbers * steps[:, None]).T)
