"""Bodies: what does not depend on the person, and what is varied while learning."""

import dataclasses
import itertools

import numpy as np
import pytest

from experiments.video.augment import AugmentConfig, varied
from experiments.video.baseline import nearest_labels, warped_distances
from experiments.video.generated import generated
from experiments.video.skeleton import (
    BONES,
    HIP_CENTRE,
    JOINTS,
    WIDTH,
    at_times,
    body_centred,
    described,
    filled,
    resampled,
    turn,
)

MOVE = generated(0).sequences[5]
STILL = AugmentConfig(
    crop=0.0, warp=0.0, turn=0.0, tilt=0.0, scale=0.0, lost=0.0, jitter=0.0
)


def test_every_joint_hangs_on_one_bone() -> None:
    assert sorted(outer for _, outer in BONES) == sorted({*range(20)} - {HIP_CENTRE})
    reached = {HIP_CENTRE}
    for inner, outer in BONES:
        assert inner in reached, JOINTS[outer]
        reached.add(outer)


def test_who_it_is_and_where_makes_no_difference() -> None:
    elsewhere = 1.7 * MOVE @ turn(0.8) + np.array([0.3, -0.2, 1.0])
    found = body_centred(elsewhere.astype(np.float32))
    np.testing.assert_allclose(found, body_centred(MOVE), atol=1e-4)


def test_hips_face_the_camera_and_the_torso_is_one_long() -> None:
    found = body_centred((MOVE @ turn(-0.5)).astype(np.float32))
    neck, left, right = map(JOINTS.index, ("neck", "left_hip", "right_hip"))
    lengths = np.linalg.norm(found[:, neck], axis=-1)
    assert np.median(lengths) == pytest.approx(1, abs=1e-5)
    across = (found[:, right] - found[:, left])[: len(found) // 4].mean(axis=0)
    assert across[0] > 0.2 and across[2] == pytest.approx(0, abs=1e-6)


def test_the_hip_centre_says_how_far_the_body_has_gone() -> None:
    drift = np.linspace(0, 1, len(MOVE), dtype=np.float32)[:, None, None] * [0, 1, 0]
    gone = body_centred((MOVE + drift).astype(np.float32))
    here = body_centred(MOVE)
    others = [k for k in range(20) if k != HIP_CENTRE]
    np.testing.assert_allclose(gone[:, others], here[:, others], atol=1e-4)
    rise = (gone - here)[:, HIP_CENTRE, 1]
    torso = np.linalg.norm(MOVE[:, JOINTS.index("neck")] - MOVE[:, HIP_CENTRE], axis=1)
    np.testing.assert_allclose(rise, drift[:, 0, 1] / np.median(torso), atol=1e-3)


def test_moments_between_frames_are_numpys() -> None:
    times = np.array([0.0, 0.25, 3.5, len(MOVE) - 1])
    found = at_times(MOVE, times)
    expected = np.interp(times, np.arange(len(MOVE)), MOVE[:, 11, 1])
    np.testing.assert_allclose(found[:, 11, 1], expected, atol=1e-6)
    assert resampled(MOVE[:1], 3).tolist() == [MOVE[0].tolist()] * 3


def test_what_was_lost_lies_between_what_was_seen() -> None:
    """Trackers write zeros where they find nobody."""
    lost = MOVE.copy()
    lost[[0, 4, 5, -1]] = 0
    between = MOVE.copy()
    between[0], between[-1] = MOVE[1], MOVE[-2]
    between[4] = (2 * MOVE[3] + MOVE[6]) / 3
    between[5] = (MOVE[3] + 2 * MOVE[6]) / 3
    np.testing.assert_allclose(body_centred(lost), body_centred(between), atol=1e-4)
    nobody = np.zeros((3, 20, 3), np.float32)
    assert not filled(nobody, np.zeros(3, bool)).any()


def test_frames_are_lost_in_one_piece_of_every_other_body() -> None:
    frames = body_centred(MOVE)
    config, lost = dataclasses.replace(STILL, lost=0.5), []
    for seed in range(40):
        found = varied(frames, len(frames), config, np.random.default_rng(seed))
        changed = np.flatnonzero(np.abs(found - frames).max(axis=(1, 2)) > 1e-5)
        lost.append(len(changed))
        if len(changed):
            assert np.ptp(changed) + 1 <= 0.5 * len(frames)
    assert 10 <= lost.count(0) <= 32 and max(lost) >= 3


def test_a_frame_is_places_and_speeds() -> None:
    found = described(np.stack([MOVE, MOVE + 1]))
    assert found.shape == (2, len(MOVE), WIDTH)
    np.testing.assert_array_equal(found[0, :, :60], MOVE.reshape(-1, 60))
    assert not found[0, 0, 60:].any()
    np.testing.assert_allclose(
        found[1, 4, 60:], 10 * (MOVE[4] - MOVE[3]).ravel(), atol=1e-4
    )


def test_no_variation_changes_nothing() -> None:
    frames = body_centred(MOVE)
    found = varied(frames, 9, STILL, np.random.default_rng(0))
    np.testing.assert_allclose(found, resampled(frames, 9), atol=1e-6)


def test_bones_change_in_length_and_not_in_direction() -> None:
    frames = body_centred(MOVE)
    config = dataclasses.replace(STILL, scale=0.2)
    found = varied(frames, len(frames), config, np.random.default_rng(1))
    stretched = set()
    for inner, outer in BONES:
        before, after = (
            x[:, outer] - (0 if inner == HIP_CENTRE else x[:, inner])
            for x in (frames, found)
        )
        ratio = (after * before).sum(-1) / (before**2).sum(-1)
        np.testing.assert_allclose(after, ratio[:, None] * before, atol=1e-5)
        assert np.ptp(ratio) < 1e-4
        stretched.add(round(float(ratio[0]), 4))
    assert len(stretched) == len(BONES) and 0.6 < min(stretched) < max(stretched) < 1.45


@pytest.mark.parametrize("seed", range(5))
def test_time_never_runs_backwards_and_stays_in_the_sequence(seed: int) -> None:
    clock = np.tile(np.arange(30, dtype=np.float32)[:, None, None], (20, 3))
    config = dataclasses.replace(STILL, crop=0.3, warp=0.9)
    found = varied(clock, 50, config, np.random.default_rng(seed))[:, HIP_CENTRE, 0]
    assert (np.diff(found) > 0).all()
    assert 0 <= found[0] <= 0.3 * 29 and 0.7 * 29 <= found[-1] <= 29


def test_the_same_draws_give_the_same_variation() -> None:
    one, same, other = (
        varied(MOVE, 8, AugmentConfig(), np.random.default_rng(k)) for k in (1, 1, 2)
    )
    assert (one == same).all() and (one != other).any()


def test_warped_distances_are_the_textbooks() -> None:
    random = np.random.default_rng(0)
    one, others = random.normal(size=(6, 3)), random.normal(size=(4, 6, 3))
    expected = []
    for other in others:
        table = np.full((7, 7), np.inf)
        table[0, 0] = 0
        for i, j in itertools.product(range(6), range(6)):
            before = min(table[i, j], table[i, j + 1], table[i + 1, j])
            table[i + 1, j + 1] = np.linalg.norm(one[i] - other[j]) + before
        expected.append(table[6, 6])
    np.testing.assert_allclose(warped_distances(one, others), expected, rtol=1e-10)


def test_the_nearest_gives_its_label() -> None:
    train = np.array([[[0.0], [0.0], [1.0]], [[3.0], [3.0], [3.0]]])
    # The same walk at another pace costs nothing.
    tested = [np.array([[0.0], [1.0], [1.0]]), np.array([[2.0], [2.5], [3.0]])]
    assert nearest_labels(train, np.array([7, 8]), tested).tolist() == [7, 8]
