"""What model surgery knows of each kind of layer: one table. A kind that isn't there stays as it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras import layers

from fedkd.compress.fake_quant import QuantConv1D, QuantConv2D, QuantDense, QuantDepthwiseConv2D, QuantEmbedding
from fedkd.compress.kernels import Depthwise, Kernel, Mixing, Separable

KEEPS, JOINS, CONCATENATES, FLATTENS = "keeps", "joins", "concatenates", "flattens"
OUTPUT, INPUT, NOTHING = "output", "input", "nothing"
NEW, SAME, FIXED = "new", "same", "fixed"


@dataclass(frozen=True)
class LayerTraits:
    """A kind of layer, or of a plain operation.

    Args:
        layer: Its class; None where the name of the class is enough, as for operations behind ``x + y``.
        kernel: How its kernels join channels; None where it has none, or where its channels have to stay.
        size: Name of its setting that counts the channels which it makes.
        channels: What becomes of channels without a kernel: KEEPS, JOINS those of all its inputs, CONCATENATES, or
            FLATTENS; empty where all that it reads have to stay.
        macs: The places that each number of its kernels meets once, of its OUTPUT or INPUT; NOTHING where it looks
            its numbers up; empty where they can't be counted.
        folds: Whether it can take in a BatchNormalization behind it.
        twin: Its class in training that sees int8.
        apart: Whether it is two layers there, a depthwise and a pointwise one.
        per_filter: Whether its int8 kernel has a scale for each filter.
        scale: The scale of what comes out in int8: NEW, the SAME as of what went in, or FIXED by TFLite; empty where it
            isn't known.
        pairwise: Whether TFLite has it for exactly two tensors, and computes a ReLU behind it along with it.
        relu: Whether it is a ReLU.
        fused: Whether TFLite computes it along with the kernel before it.
    """

    layer: type[layers.Layer] | None = None
    kernel: Kernel | None = None
    size: str = "filters"
    channels: str = ""
    macs: str = ""
    folds: bool = False
    twin: type[layers.Layer] | None = None
    apart: bool = False
    per_filter: bool = False
    scale: str = ""
    pairwise: bool = False
    relu: bool = False
    fused: bool = False

    @property
    def rounded(self) -> bool:
        """Whether training that sees int8 rounds its kernels that mix or weigh what they read."""
        return self.kernel is not None and (self.twin is not None or self.apart)


def _convolution(
    layer: type[layers.Layer], kernel: Kernel, twin: type[layers.Layer] | None = None, apart: bool = False
) -> LayerTraits:
    return LayerTraits(layer, kernel, macs=OUTPUT, folds=True, twin=twin, apart=apart, per_filter=True)


_UNKNOWN = LayerTraits()
_PASSES = LayerTraits(channels=KEEPS, scale=SAME)
_SUM = LayerTraits(channels=JOINS, scale=NEW, pairwise=True)
_RELU = LayerTraits(channels=KEEPS, scale=NEW, relu=True, fused=True)
_NEW_VALUES = LayerTraits(channels=KEEPS, scale=NEW)

# By the names of classes.
TRAITS: Mapping[str, LayerTraits] = {
    "Conv1D": _convolution(layers.Conv1D, Mixing(), QuantConv1D),
    "Conv2D": _convolution(layers.Conv2D, Mixing(), QuantConv2D),
    "DepthwiseConv1D": _convolution(layers.DepthwiseConv1D, Depthwise()),
    "DepthwiseConv2D": _convolution(layers.DepthwiseConv2D, Depthwise(), QuantDepthwiseConv2D),
    "SeparableConv1D": _convolution(layers.SeparableConv1D, Separable()),
    "SeparableConv2D": _convolution(layers.SeparableConv2D, Separable(), apart=True),
    "Conv1DTranspose": LayerTraits(layers.Conv1DTranspose, macs=INPUT, folds=True),
    "Conv2DTranspose": LayerTraits(layers.Conv2DTranspose, macs=INPUT, folds=True),
    "Dense": LayerTraits(layers.Dense, Mixing(), size="units", macs=OUTPUT, folds=True, twin=QuantDense),
    # TFLite's gather from a table keeps its scale.
    "Embedding": LayerTraits(layers.Embedding, macs=NOTHING, twin=QuantEmbedding, scale=SAME),
    "BatchNormalization": LayerTraits(channels=KEEPS, scale=NEW, fused=True),
    "ReLU": _RELU,
    "Relu": _RELU,
    "Relu6": _RELU,
    "LeakyReLU": _NEW_VALUES,
    "LeakyRelu": _NEW_VALUES,
    "GlobalAveragePooling1D": _NEW_VALUES,
    "GlobalAveragePooling2D": _NEW_VALUES,
    # What its rounding is depends on its function.
    "Activation": LayerTraits(channels=KEEPS, fused=True),
    "ActivationRange": LayerTraits(channels=KEEPS),
    "Identity": LayerTraits(fused=True),
    "Softmax": LayerTraits(scale=FIXED),
    "InputLayer": LayerTraits(scale=FIXED),
    # From ids to rows of a table, which are no numbers to be rounded.
    "RowOfWord": LayerTraits(scale=FIXED),
    "Add": _SUM,
    "Subtract": _SUM,
    "Multiply": _SUM,
    "Average": LayerTraits(channels=JOINS),
    "Maximum": LayerTraits(channels=JOINS),
    "Minimum": LayerTraits(channels=JOINS),
    "Concatenate": LayerTraits(channels=CONCATENATES, scale=NEW),
    "Flatten": LayerTraits(channels=FLATTENS, scale=SAME),
    "Reshape": LayerTraits(scale=SAME),
    "Permute": LayerTraits(scale=SAME),
    "Transpose": LayerTraits(scale=SAME),
    "Dropout": _PASSES,
    "SpatialDropout1D": _PASSES,
    "SpatialDropout2D": _PASSES,
    "GaussianNoise": _PASSES,
    "GaussianDropout": _PASSES,
    "AlphaDropout": _PASSES,
    # Augmentation, which a file doesn't have.
    "RandomFlip": _PASSES,
    "RandomRotation": _PASSES,
    "RandomTranslation": _PASSES,
    "RandomZoom": _PASSES,
    "RandomContrast": _PASSES,
    "RandomBrightness": _PASSES,
    # TFLite's poolings keep their scale, that of averages included.
    "MaxPooling1D": _PASSES,
    "MaxPooling2D": _PASSES,
    "AveragePooling1D": _PASSES,
    "AveragePooling2D": _PASSES,
    "GlobalMaxPooling1D": _PASSES,
    "GlobalMaxPooling2D": _PASSES,
    "Cropping1D": _PASSES,
    "Cropping2D": _PASSES,
    "ZeroPadding1D": _PASSES,
    "ZeroPadding2D": _PASSES,
    "UpSampling1D": _PASSES,
    "UpSampling2D": _PASSES,
}
_BY_CLASS = {traits.layer: traits for traits in TRAITS.values() if traits.layer}


def traits_of(operation: Any) -> LayerTraits:
    """What is known of exactly this kind of layer: a subclass may do something else."""
    found = TRAITS.get(type(operation).__name__, _UNKNOWN)
    return found if found.layer in (None, type(operation)) else _UNKNOWN


def inherited_traits(operation: Any) -> LayerTraits:
    """What is known of a layer by its class or the one it derives from, such as of the twins that round."""
    return next((_BY_CLASS[each] for each in type(operation).__mro__ if each in _BY_CLASS), _UNKNOWN)


def makes_channels(layer: Any) -> bool:
    """Whether a layer computes new channels from all of its input's."""
    kernel = inherited_traits(layer).kernel
    return kernel is not None and kernel.mixes and getattr(layer, "groups", 1) == 1
