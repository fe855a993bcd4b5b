"""How much each channel of a model matters, judged by weights alone."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from keras import layers

from fedkd.compress.channels import Channels
from fedkd.compress.layers import inherited_traits, makes_channels
from fedkd.models.graph import Node

Scores = Mapping[int, float]
Measure = Callable[[Channels], Scores]


def l1(found: Channels) -> Scores:
    """Sum of the magnitudes of a channel's filter, as a share of its layer's mean; of joined channels the mean.

    Reference:
        Li et al., ICLR 2017, section 3.1.
    """
    return gathered((ids, _filters(node.operation)) for node, ids in found.produced())


def batch_norm_gamma(found: Channels) -> Scores:
    """Magnitude of a channel's scale in BatchNormalization, as a share of its layer's mean; ``l1`` where it has none.

    Reference:
        Liu et al., ICCV 2017 (network slimming), section 3.
    """
    norms = [node for node in found.nodes if isinstance(node.operation, layers.BatchNormalization)]
    scales = [(found.given[n.name], np.abs(np.asarray(n.operation.gamma))) for n in norms if n.operation.scale]
    return {**l1(found), **gathered(scales)}


def nisp(found: Channels) -> Scores:
    """What a channel adds to the importance of the last layer's inputs, passed back through the kernels' magnitudes.

    Reference:
        Yu et al., CVPR 2018 (NISP), eq. 8: s_k = |W_{k+1}|ᵀ s_{k+1}.
    """
    passed: dict[str, np.ndarray] = {}
    for node in reversed(found.nodes):
        own = np.full(len(found.given[node.name]), float(node.name in found.outputs))
        out = own + passed.get(node.name, 0.0)
        for source, share in zip(node.sources, _passed_back(node, found, out), strict=True):
            passed[source] = passed.get(source, np.zeros(len(share))) + share
    return gathered((ids, passed[node.name]) for node, ids in found.produced())


def dead(found: Channels) -> list[int]:
    """Channels that nothing makes or nothing reads, for all that feeds or reads them is zero.

    Without them a model computes what it did but for the constants (bias, shift) of those that nothing makes.
    """
    made, read = l1(found), nisp(found)
    return [number for number in found.removable.tolist() if not (made[number] and read[number])]


MEASURES: Mapping[str, Measure] = {"l1": l1, "batch_norm_gamma": batch_norm_gamma, "nisp": nisp}


def gathered(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[int, float]:
    """Mean of each channel's scores, every layer's divided by their mean so that layers compare.

    Args:
        pairs: Of each layer, the channels' numbers and as many scores, none of them negative.
    """
    found: dict[int, list[float]] = {}
    for ids, scores in pairs:
        shares = scores / max(float(scores.mean()), np.finfo(np.float64).tiny)
        for number, share in zip(ids.tolist(), shares.tolist(), strict=True):
            found.setdefault(number, []).append(share)
    return {number: float(np.mean(shares)) for number, shares in found.items()}


def _filters(layer: layers.Layer) -> np.ndarray:
    """Sum of magnitudes of each filter of a layer that makes channels."""
    kernel = inherited_traits(layer).kernel
    assert kernel is not None
    return kernel.filters(layer.get_weights())


def _passed_back(node: Node, found: Channels, out: np.ndarray) -> list[np.ndarray]:
    """Importance of the channels of each input, given that of the output."""
    layer, taken = node.operation, found.taken[node.name]
    kernel = inherited_traits(layer).kernel
    if kernel is not None and (makes_channels(layer) or not kernel.mixes):
        return [_shaped(kernel.passed_back(layer.get_weights(), out), taken[0])]
    if isinstance(layer, layers.BatchNormalization) and layer.scale:
        spread = np.sqrt(np.asarray(layer.moving_variance, np.float64) + layer.epsilon)
        return [_shaped(out * np.abs(np.asarray(layer.gamma)) / spread, taken[0])]
    if node.kind == "Concatenate" and sum(map(len, taken)) == len(out):
        return np.split(out, np.cumsum([len(ids) for ids in taken])[:-1])
    return [_shaped(out, ids) for ids in taken]


def _shaped(scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Scores of as many channels as there are: those of flattened places add up, those of unknown layers are spread."""
    if len(scores) % len(ids):
        return np.full(len(ids), scores.sum() / len(ids))
    return scores.reshape(-1, len(ids)).sum(axis=0)
