import numpy as np
import pytest

from analysis.published.image_codes import COARSE, WIDTH, decode, encode


def losses(seed: int, images: int = 10_000) -> np.ndarray:
    """Losses as of a network with about 88 % accuracy."""
    margin = np.random.default_rng(seed).normal(3, 2.5, images)
    return np.logaddexp(0, -1.3 * margin).astype(np.float16)


def test_the_mean_over_images_stays():
    values = losses(0)
    codes, levels = encode(values)
    assert len(codes) == len(values)
    assert len(levels) <= 256
    assert abs(decode(codes, levels).astype(float).mean() - values.astype(float).mean()) < 1e-4


def test_a_value_moves_within_its_bin():
    values = losses(1)
    moved = np.sqrt(decode(*encode(values)).astype(float)) - np.sqrt(values.astype(float))
    assert np.abs(moved).max() <= WIDTH + 1e-3


def test_paired_differences_keep_their_spread():
    """What intervals are made of: the standard deviation of a difference over images."""
    first, second = losses(2), losses(2) + np.abs(np.random.default_rng(3).normal(0, 0.3, 10_000)).astype(np.float16)
    exact = (first.astype(float) - second.astype(float)).std()
    found = (decode(*encode(first)).astype(float) - decode(*encode(second)).astype(float)).std()
    assert found == pytest.approx(exact, rel=0.02)


def test_coarse_bins_serve_mixed_networks():
    """Their losses differ from the chord's by some tenths of a nat an image, and the difference keeps its spread."""
    chord = losses(6).astype(float)
    mixed = (np.sqrt(chord) + np.random.default_rng(7).normal(0, 0.15, 10_000)) ** 2
    rounded = decode(*encode(mixed.astype(np.float16), COARSE)).astype(float)
    assert rounded.mean() == pytest.approx(mixed.mean(), abs=2e-4)
    exact = (mixed - chord).std()
    assert (rounded - chord).std() == pytest.approx(exact, rel=0.05)
    assert exact < 0.4


def test_encoding_again_changes_nothing():
    codes, levels = encode(losses(4))
    again, same = encode(decode(codes, levels))
    assert again == codes
    assert np.array_equal(same, levels)


def test_few_different_values_are_kept_as_they_are():
    shares = np.random.default_rng(5).choice(np.float16([0, 0.25, 0.5, 1]), 1000)
    assert np.array_equal(decode(*encode(shares)), shares)


def test_very_different_values_fit_into_a_byte():
    values = np.concatenate([np.linspace(0, 60_000, 5000), [65504.0]]).astype(np.float16)
    codes, levels = encode(values)
    assert len(levels) <= 256
    assert decode(codes, levels).astype(float).mean() == pytest.approx(values.astype(float).mean(), rel=1e-3)


@pytest.mark.parametrize("value", [-0.5, np.nan])
def test_values_that_are_no_losses_are_refused(value):
    with pytest.raises(ValueError, match="expected losses"):
        encode(np.array([value, 1.0], dtype=np.float16))
