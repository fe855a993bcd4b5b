"""Layers that compute in float32 with the values that int8 can hold, so that training sees what rounding does.

Kernels are symmetric and use 255 of the 256 steps; those of convolutions have a scale a channel (or one, for kernels of
few values), those of dense layers and word tables one for all, as TFLite's int8 kernels want them. Activations have a
range that is learned as an average.

Reference:
    Jacob et al., CVPR 2018, sections 3 and 3.1; Krishnamoorthi, arXiv:1806.08342, 2018, sections 2.1 and 3.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops
from keras.quantizers import fake_quant_with_min_max_vars

from fedkd.base.built_in import built_in_only

_PACKAGE = "fedkd"
_SMALLEST = 1e-6  # half width of a range at the least: a kernel of zeros has a scale too


def rounded_kernel(kernel: Any, axis: int | None, bits: int = 8) -> Any:
    """Round a kernel to 2^bits - 1 steps around zero; the gradient passes as if it weren't rounded.

    Args:
        kernel: Any shape, float32.
        axis: Axis with a scale for each index; one scale for all where None.
        bits: Of a step's number, 2 to 8.
    """
    others = None if axis is None else [i for i in range(len(kernel.shape)) if i != axis]
    largest = ops.maximum(ops.max(ops.abs(kernel), axis=others), _SMALLEST)
    return rounded(kernel, -largest, largest, bits, narrow=True, axis=axis)


def rounded(x: Any, low: Any, high: Any, bits: int = 8, narrow: bool = False, axis: int | None = None) -> Any:
    """Round to 2^bits values (one less if ``narrow``) from low to high, moved so that 0 is one of them.

    The gradient passes to x within the range, to the ends beyond.

    Args:
        x: Any shape, float32.
        low: Scalar, or one number for each index of ``axis``.
        high: Likewise, above ``low``.
        bits: 2 to 16.
        narrow: Leave out the lowest value.
        axis: Axis with a range for each index.
    """
    if not built_in_only():
        return fake_quant_with_min_max_vars(x, low, high, bits, narrow_range=narrow, axis=axis)
    if axis is not None:
        shape = [1] * len(x.shape)
        shape[axis] = -1
        low, high = ops.reshape(low, shape), ops.reshape(high, shape)
    first, last = (1.0 if narrow else 0.0), 2.0**bits - 1
    scale = (high - low) / (last - first)
    zero = ops.clip(ops.floor(first - low / scale + 0.5), first, last)
    ends = ((low, first), (high, last))
    lowest, highest = (end + ops.stop_gradient((step - zero) * scale - end) for end, step in ends)
    within = ops.minimum(ops.maximum(x, lowest), highest)
    steps = ops.floor((within - lowest) / scale + 0.5)
    return within + ops.stop_gradient(steps * scale + lowest - within)


@keras.saving.register_keras_serializable(_PACKAGE)
class ActivationRange(layers.Layer):
    """Rounds what passes to 256 steps between the lowest and the highest value, averaged over training's batches.

    The range holds 0, which int8 has to hold exactly. Before the first batch of training it is empty: all comes out 0.

    Args:
        momentum: Share of the old average in the new.
        ceiling: Of the ReLU before it; None where there is none. The range never goes beyond, and so cuts as it does.
    """

    def __init__(self, momentum: float = 0.9, ceiling: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum, self.ceiling = momentum, ceiling

    def build(self, input_shape: Any) -> None:
        """Create both ends of the range."""
        self.low = self.add_weight(shape=(), initializer="zeros", trainable=False, name="low")
        self.high = self.add_weight(shape=(), initializer="zeros", trainable=False, name="high")

    def call(self, x: Any, training: bool = False) -> Any:
        """Round x, float32 of any shape; while training, move the range towards that of x first."""
        if training:
            share = ops.where(self.high > self.low, 1.0 - self.momentum, 1.0)
            highest = ops.max(x) if self.ceiling is None else ops.minimum(ops.max(x), self.ceiling)
            self.low.assign(self.low + share * (ops.minimum(ops.min(x), 0.0) - self.low))
            self.high.assign(self.high + share * (ops.maximum(highest, 0.0) - self.high))
        return rounded(x, self.low, ops.maximum(self.high, self.low + _SMALLEST))

    def compute_output_spec(self, x: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """Return the shape of what ``call`` returns: that of x."""
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return what a saved model needs to build this layer again."""
        return {**super().get_config(), "momentum": self.momentum, "ceiling": self.ceiling}


class _Convolution(layers.Layer):
    """What rounded convolutions share.

    Args:
        per_tensor: One scale for the kernel instead of one a filter.
    """

    def __init__(self, *args: Any, per_tensor: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.per_tensor = per_tensor

    def get_config(self) -> dict[str, Any]:
        """Return what a saved model needs to build this layer again."""
        return {**super().get_config(), "per_tensor": self.per_tensor}

    def rounded(self, kernel: Any) -> Any:
        """The kernel (..., filters), rounded."""
        return rounded_kernel(kernel, None if self.per_tensor else len(kernel.shape) - 1)


@keras.saving.register_keras_serializable(_PACKAGE)
class QuantConv1D(_Convolution, layers.Conv1D):
    """Conv1D whose kernel is rounded, a scale a filter.

    It is computed as Conv2D of one row: TFLite has no other, and finds the kernel's scales only beside that.
    """

    def call(self, inputs: Any) -> Any:
        """Convolve (n, steps, channels) with the rounded kernel."""
        causal = self.padding == "causal"
        before = self.dilation_rate[0] * (self.kernel_size[0] - 1) if causal else 0
        row = ops.expand_dims(ops.pad(inputs, [[0, 0], [before, 0], [0, 0]]) if causal else inputs, 1)
        out = ops.conv(
            row,
            self.rounded(ops.expand_dims(self.kernel, 0)),
            strides=(1, *self.strides),
            padding="valid" if causal else self.padding,
            dilation_rate=(1, *self.dilation_rate),
        )
        out = ops.squeeze(out, 1)
        out = out + self.bias if self.use_bias else out
        return out if self.activation is None else self.activation(out)


@keras.saving.register_keras_serializable(_PACKAGE)
class QuantConv2D(_Convolution, layers.Conv2D):
    """Conv2D whose kernel is rounded, a scale a filter."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve with the rounded kernel."""
        return super().convolution_op(inputs, self.rounded(kernel))


@keras.saving.register_keras_serializable(_PACKAGE)
class QuantDepthwiseConv2D(_Convolution, layers.DepthwiseConv2D):
    """DepthwiseConv2D whose kernel (height, width, channels, multiplier) is rounded, a scale an output channel."""

    @property
    def kernel(self) -> Any:
        """The rounded kernel."""
        height, width, channels, multiplier = self._kernel.shape
        flat = ops.reshape(self._kernel, (height, width, channels * multiplier))
        return ops.reshape(self.rounded(flat), (height, width, channels, multiplier))

    @kernel.setter
    def kernel(self, value: Any) -> None:
        self._kernel = value


@keras.saving.register_keras_serializable(_PACKAGE)
class QuantDense(layers.Dense):
    """Dense layer whose kernel is rounded, one scale for all."""

    @property
    def kernel(self) -> Any:
        """The rounded kernel."""
        return rounded_kernel(super().kernel, None)


@keras.saving.register_keras_serializable(_PACKAGE)
class QuantDenseBatchNorm(layers.Dense):
    """Dense layer and the BatchNormalization behind it as one, for a file has one kernel of both: that is rounded.

    Its steps are those of the kernel times the scale that inference has; training normalises by its batch, as ever.

    Args:
        units: See ``keras.layers.Dense``, as further ones; its activation comes after the normalisation.
        norm: The normalisation, of the last axis.
    """

    def __init__(self, units: int, norm: Any, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.norm = keras.saving.deserialize_keras_object(norm) if isinstance(norm, dict) else norm

    def build(self, input_shape: Any) -> None:
        """Create the weights of both."""
        super().build(input_shape)
        if not self.norm.built:  # one that comes from a file is
            self.norm.build((*input_shape[:-1], self.units))

    def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        """Return activation(norm(inputs @ kernel + bias)), (n, ..., units), of the kernel that the file will hold."""
        norm = self.norm
        scale = (norm.gamma if norm.scale else 1.0) / ops.sqrt(norm.moving_variance + norm.epsilon)
        bias = self.bias if self.use_bias else 0.0
        if training and norm.trainable:
            scale = ops.stop_gradient(ops.where(ops.abs(scale) < _SMALLEST, _SMALLEST, scale))
            before = ops.matmul(inputs, rounded_kernel(self.kernel * scale, None) / scale) + bias
            out = norm(before, training=True, mask=mask)
        else:
            shift = (bias - norm.moving_mean) * scale + (norm.beta if norm.center else 0.0)
            out = ops.matmul(inputs, rounded_kernel(self.kernel * scale, None)) + shift
        return out if self.activation is None else self.activation(out)

    def get_config(self) -> dict[str, Any]:
        """Return what a saved model needs to build this layer again."""
        return {**super().get_config(), "norm": keras.saving.serialize_keras_object(self.norm)}


@keras.saving.register_keras_serializable(_PACKAGE)
class QuantEmbedding(layers.Embedding):
    """Word table that is rounded, one scale for all, and looked up by a plain gather: Keras' own brings a SELECT."""

    def call(self, inputs: Any) -> Any:
        """Look up ids (n, steps); returns (n, steps, width)."""
        return tf.gather(rounded_kernel(self.embeddings, None), tf.cast(inputs, tf.int32))
