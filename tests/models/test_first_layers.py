"""Laws of students made of their teacher's first layers."""

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.models import cnn, temporal, transformer
from fedkd.models.first_layers import first_layers, hidden_layers, take_first_layers


def names(teacher, student):
    return [(source.name, target.name) for source, target in first_layers(teacher, student)]


def test_transformer_gets_its_teachers_first_layers():
    """The norm after the student's last layer is the one its teacher applies there: that before its third layer."""
    teacher, student = transformer.teacher(5, 9, 2, 4), transformer.student(5, 9, 2, 4)
    parts = [f"layer{i}_{part}" for i in (0, 1) for part in ("norm0", "attention", "norm1", "dense0", "dense1")]
    expected = [(name, name) for name in ("embedding", *parts)] + [("layer2_norm0", "last_norm")]
    assert names(teacher, student) == expected
    head = student.get_layer("logits").get_weights()
    take_first_layers(teacher, student)
    for source, target in expected:
        for a, b in zip(teacher.get_layer(source).weights, student.get_layer(target).weights, strict=True):
            assert np.array_equal(a, b)
    assert np.array_equal(student.get_layer("logits").get_weights()[0], head[0])


def test_students_of_one_convolution_a_block_pass_over_the_teachers_second():
    shape = (8, 8, 1)
    pairs = names(cnn.teacher(shape, 3, 4), cnn.student(shape, 3, 4))
    assert pairs == [("block0_conv0", "block0_conv0"), ("block1_conv0", "block1_conv0")]


def test_heads_are_in_no_pair_even_where_they_fit():
    teacher, student = temporal.student((16, 2), 3, 4), temporal.student((16, 2), 3, 4)
    assert names(teacher, student) == [("block0_conv", "block0_conv"), ("block1_conv", "block1_conv")]
    assert len(hidden_layers(student)) == 2


def test_layers_that_fit_nowhere_are_refused_with_both_shapes():
    teacher, student = temporal.teacher((16, 2), 3, 8), temporal.student((16, 2), 3, 4)
    with pytest.raises(
        InputError, match=r"\(9, 2, 4\), \(4,\) against block0_conv: \(9, 2, 8\), \(8,\).*student_width"
    ):
        take_first_layers(teacher, student)
