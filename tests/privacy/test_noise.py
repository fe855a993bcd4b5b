"""Laws of the bound on one client's update, and of the noise on the mean."""

import numpy as np
import pytest

from fedkd.base.tensors import TensorSpec, squared_norm
from fedkd.exchange.basis import shared_bases
from fedkd.exchange.clip import ClipSent
from fedkd.exchange.transforms import Context
from fedkd.privacy.noise import Noise, bounded, coordinates, of_system

SPEC = (TensorSpec("kernel", (5, 4, 12), 2), TensorSpec("bias", (12,), 0), TensorSpec("head", (12, 10), 1))
ZEROS = [np.zeros(item.shape, np.float32) for item in SPEC]


def bases_of(round_):
    return shared_bases(None, SPEC, round_, 3, np.random.default_rng(round_))


def drawn(seed=0, size=1.0):
    rng = np.random.default_rng(seed)
    return [(size * rng.normal(size=item.shape)).astype(np.float32) for item in SPEC]


def norm(update):
    return squared_norm(update) ** 0.5


@pytest.mark.parametrize("round_", [1, 2])
def test_noise_goes_to_each_coordinate_of_the_directions_and_nowhere_else(round_):
    bases, rng = bases_of(round_), np.random.default_rng(3)
    noise = Noise(0.5, rng.standard_normal, 1)
    samples = [noise.on(ZEROS, 1, SPEC, bases) for _ in range(1000)]
    energy = np.mean([squared_norm(sample) for sample in samples]) / 0.25
    count = coordinates(SPEC, bases)
    assert count == {1: 3 * 20 + 12 + 3 * 12, 2: 3 * 12 + 12 + 3 * 10}[round_]
    assert abs(energy - count) < 5 * (2 * count / 1000) ** 0.5  # a sum of squares, whose deviation is that
    for array, item, basis in zip(samples[0], SPEC, bases, strict=True):
        if basis is not None:
            assert np.linalg.matrix_rank(array.reshape(item.matrix)) == 3
            inside = basis.coordinates(array.reshape(item.matrix))
            assert np.linalg.norm(inside) == pytest.approx(np.linalg.norm(array), rel=1e-5)


def test_without_directions_noise_goes_to_all_numbers():
    assert coordinates(SPEC, None) == sum(item.size for item in SPEC)
    found = Noise(2.0, np.random.default_rng(0).standard_normal, 3).on(drawn(), 3, SPEC, None)
    added = np.concatenate([(f - d).ravel() for f, d in zip(found, drawn(), strict=True)])
    assert all(array.dtype == np.float32 for array in found)
    assert 1.8 < added.std() < 2.2


def test_the_systems_numbers_are_normal_and_never_the_same():
    first, second = of_system((200, 500)), of_system((200, 500))
    assert first.shape == (200, 500)
    assert not np.array_equal(first, second)
    assert abs(first.mean()) < 5 / 1e5**0.5
    assert abs(first.var() - 1) < 5 * (2 / 1e5) ** 0.5
    assert abs((np.abs(first) > 2).mean() - 0.0455) < 5 * (0.0455 / 1e5) ** 0.5
    assert np.isfinite(first).all()
    assert of_system(()).shape == ()


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6, 1e37])
@pytest.mark.parametrize("clip", [2.0, 1e-5])
def test_no_update_counts_for_more_than_the_bound(size, clip):
    found = bounded(drawn(size=size), [True, True, True], SPEC, None, clip)
    assert norm(found) <= clip
    assert norm(found) == pytest.approx(min(clip, norm(drawn(size=size))), rel=1e-5)


def test_the_mean_is_over_all_that_were_asked():
    found = Noise(0.0, np.random.default_rng(0).standard_normal, 4).on(drawn(), 3, SPEC, None)
    np.testing.assert_allclose(found[0], 0.75 * drawn()[0], rtol=1e-6)


def test_of_an_update_that_was_sent_whole_what_lies_in_the_directions_counts():
    bases = bases_of(1)
    found = bounded(drawn(), [True, True, False], SPEC, bases, 1e9)
    kernel, basis = drawn()[0].reshape(20, 12), bases[0]
    np.testing.assert_allclose(found[0].reshape(20, 12), kernel @ basis.vectors @ basis.vectors.T, atol=1e-5)
    np.testing.assert_array_equal(found[1], drawn()[1])
    np.testing.assert_array_equal(found[2], drawn()[2])  # came as factors, in these directions already


def test_a_client_bounds_what_it_sends_as_the_server_does():
    bases = bases_of(2)
    context = Context(SPEC, None, np.random.default_rng(0), bases=bases)
    sent, _ = ClipSent(1.5).apply(drawn(), [], context)
    inside = bounded(sent, [True, True, True], SPEC, bases, 1e9)
    assert norm(inside) == pytest.approx(1.5, rel=1e-5)
    small, _ = ClipSent(1e9).apply(drawn(), [], context)
    assert all(np.array_equal(a, b) for a, b in zip(small, drawn(), strict=True))
