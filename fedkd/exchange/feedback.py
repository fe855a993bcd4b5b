"""Error feedback: what compression loses of an update is added to the next one (Karimireddy et al., ICML 2019)."""

import numpy as np

from fedkd.base.tensors import Spec, Weights, add, subtract
from fedkd.exchange.basis import Bases
from fedkd.exchange.blob import Header
from fedkd.exchange.codec import decode, encode
from fedkd.exchange.coding import Coding


def encode_with_feedback(
    update: Weights,
    residual: Weights,
    spec: Spec,
    header: Header,
    coding: Coding,
    bases: Bases | None,
    rng: np.random.Generator,
) -> tuple[bytes, Weights]:
    """Encode an update and what earlier ones have left behind.

    Args:
        update: float32, as the spec says.
        residual: Likewise; empty for no feedback.
        spec: The model's tensors.
        header: Of the blob.
        coding: How to compress.
        bases: Directions that the receiver knows too.
        rng: For stochastic rounding.

    Returns:
        The blob, and the residual: update + residual - what the blob decodes to.
    """
    if not residual:
        return encode(update, spec, header, coding, bases, rng), []
    wanted = add(update, residual)
    blob = encode(wanted, spec, header, coding, bases, rng)
    return blob, subtract(wanted, decode(blob, spec, bases).tensors)
