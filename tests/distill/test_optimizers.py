"""Laws of optimisers as pure functions: they take Keras' own steps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fedkd.base.errors import InputError
from fedkd.distill.optimizers import PureOptimizer, known_optimizers, optimizer_factory

# On TensorFlow Keras' ScheduleFreeAdamW reads its old momentum after overwriting it. Nadam, which can't be pure, isn't
# among the known ones.
NAMES = sorted(set(known_optimizers()) - {"schedulefreeadamw"})
SHAPES = [(6, 4), (4,), ()]


def rng(seed=0):
    return np.random.default_rng(seed)


def arrays(seed):
    return [rng(seed).normal(size=shape).astype(np.float32) for shape in SHAPES]


def assert_takes_the_steps_of(make, steps=4):
    """Against ``apply`` on variables; both in compiled functions, as training has it."""
    theirs, own = make(0.01), PureOptimizer(make(0.01), [keras.Variable(value) for value in arrays(0)])
    variables = [keras.Variable(value) for value in arrays(0)]
    theirs.build(variables)
    values, moments = [tf.constant(v) for v in arrays(0)], own.initial()
    step = tf.function(lambda m, g, v: own.step(m, g, v, tf.constant(1.0)))
    for i in range(1, steps + 1):
        gradients = [tf.constant(g) for g in arrays(i)]
        theirs.apply(gradients, variables)
        values, moments = step(moments, gradients, values)
        for value, variable in zip(values, variables, strict=True):
            np.testing.assert_allclose(value, variable.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_every_optimiser_of_keras_takes_its_own_steps(name):
    assert_takes_the_steps_of(optimizer_factory(name))


@pytest.mark.parametrize(
    "options",
    [{"clipnorm": 0.5}, {"global_clipnorm": 0.5}, {"clipvalue": 0.1}, {"weight_decay": 0.1}],
)
def test_options_of_keras_work(options):
    assert_takes_the_steps_of(lambda rate: keras.optimizers.SGD(rate, momentum=0.9, **options))


def test_rate_scales_the_learning_rate():
    optimizer = PureOptimizer(keras.optimizers.SGD(0.1), [keras.Variable(np.zeros(2))])
    (value,), _ = optimizer.step(optimizer.initial(), [tf.ones(2)], [tf.zeros(2)], tf.constant(0.5))
    np.testing.assert_allclose(value, [-0.05, -0.05])


def test_unknown_optimiser_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"train\.optimizer must be one of adadelta, .*got 'adan'"):
        optimizer_factory("adan")


@pytest.mark.parametrize(
    "name, words",
    [("nowhere:make", "No module named 'nowhere'"), (":f", "Empty module"), ("math:sqrt", "must return .*got float")],
)
def test_own_function_that_makes_no_optimiser_is_refused_in_one_line(name, words):
    with pytest.raises(InputError, match=f"train.optimizer '{name}': .*{words}"):
        optimizer_factory(name)(0.5)


def test_own_function_makes_an_optimiser():
    assert optimizer_factory("keras.optimizers:Lion")(0.5).learning_rate == 0.5


def test_constraints_of_the_variables_are_kept_to():
    variable = keras.Variable(np.array([[3.0], [4.0]]))
    variable.constraint = keras.constraints.MaxNorm(1.0)
    optimizer, still = PureOptimizer(keras.optimizers.SGD(0.1), [variable]), tf.zeros((2, 1))
    (value,), _ = optimizer.step(optimizer.initial(), [still], [tf.constant([[3.0], [4.0]])], tf.constant(1.0))
    np.testing.assert_allclose(value, [[0.6], [0.8]], rtol=1e-5)


def test_schedule_is_refused():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    with pytest.raises(InputError, match=r"got SGD with a schedule; use train\.decay"):
        PureOptimizer(keras.optimizers.SGD(schedule), [keras.Variable(np.zeros(2))])


def test_optimiser_that_cannot_be_made_pure_is_refused():
    with pytest.raises(InputError, match="Nadam can't serve many clients"):
        PureOptimizer(keras.optimizers.Nadam(0.1), [keras.Variable(np.zeros(2))])
