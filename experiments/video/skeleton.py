"""A tracked person: twenty joints, and what of them does not depend on who it is.

Where somebody stands, how tall they are and which way they face says nothing about
what they do. So the joints are given relative to the hips, in lengths of the torso, and
turned about the vertical until the hips face the camera. NumPy only.
"""

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[
    np.float32
]  # [T, 20, 3]: metres: x to the person's right, y up, z away

# In the order of MSR Action3D.
JOINTS = (
    *("left_shoulder", "right_shoulder", "neck", "spine", "left_hip", "right_hip"),
    *("hip_centre", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hand", "right_hand", "left_knee", "right_knee", "left_ankle"),
    *("right_ankle", "left_foot", "right_foot", "head"),
)
_PARENTS = {
    **{"spine": "hip_centre", "neck": "spine", "head": "neck"},
    **{"left_shoulder": "neck", "left_elbow": "left_shoulder"},
    **{"left_wrist": "left_elbow", "left_hand": "left_wrist"},
    **{"right_shoulder": "neck", "right_elbow": "right_shoulder"},
    **{"right_wrist": "right_elbow", "right_hand": "right_wrist"},
    **{"left_hip": "hip_centre", "left_knee": "left_hip"},
    **{"left_ankle": "left_knee", "left_foot": "left_ankle"},
    **{"right_hip": "hip_centre", "right_knee": "right_hip"},
    **{"right_ankle": "right_knee", "right_foot": "right_ankle"},
}
# The bones, from the hips outwards: pairs of joints, the inner one first.
BONES = tuple(
    (JOINTS.index(parent), JOINTS.index(child)) for child, parent in _PARENTS.items()
)
HIP_CENTRE, NECK = JOINTS.index("hip_centre"), JOINTS.index("neck")
_LEFT_HIP, _RIGHT_HIP = JOINTS.index("left_hip"), JOINTS.index("right_hip")
WIDTH = 2 * 3 * len(JOINTS)  # numbers that describe a frame


def body_centred(frames: Frames) -> Frames:
    """Joints relative to the hips, in torso lengths, the hips facing the camera.

    In the place of the hip centre, which would be zero, stands how far it has moved
    since the first frame. The body is turned by one angle, that of its first frames:
    turning round is part of what somebody does. Frames without a body are filled in.

    Args:
        frames: a sequence [T, 20, 3] of at least one frame.
    """
    frames = filled(frames, (frames != 0).any(axis=(1, 2)))
    hips = frames[:, HIP_CENTRE]
    torso = np.median(np.linalg.norm(frames[:, NECK] - hips, axis=-1))
    centred = frames - hips[:, None]
    centred[:, HIP_CENTRE] = hips - hips[0]
    across = frames[:, _RIGHT_HIP] - frames[:, _LEFT_HIP]
    first = across[: max(1, len(frames) // 4)].mean(axis=0)
    turned = centred @ turn(float(np.arctan2(first[2], first[0])))
    return (turned / max(torso, 1e-3)).astype(np.float32)


def filled(frames: Frames, tracked: NDArray[np.bool_]) -> Frames:
    """Replace frames that were lost by what lies between those before and after.

    Args:
        frames: [T, 20, 3].
        tracked: [T], whether a frame is to be trusted; if none is, all stay.
    """
    seen = np.flatnonzero(tracked)
    if len(seen) in (0, len(frames)):
        return frames
    return at_times(
        frames[seen], np.interp(np.arange(len(frames)), seen, range(len(seen)))
    )


def turn(angle: float) -> NDArray[np.float64]:
    """The matrix that turns rows (x, y, z) about the vertical, from z towards x."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])


def at_times(frames: Frames, times: NDArray[np.floating]) -> Frames:
    """The joints at moments between frames, by linear interpolation.

    Args:
        frames: a sequence [T, ...].
        times: [N], in frames, from 0 to T - 1.
    """
    before = np.clip(np.floor(times).astype(int), 0, len(frames) - 1)
    after = np.minimum(before + 1, len(frames) - 1)
    share = (times - before).astype(np.float32).reshape(-1, *[1] * (frames.ndim - 1))
    return (frames[before] * (1 - share) + frames[after] * share).astype(np.float32)


def resampled(frames: Frames, count: int) -> Frames:
    """The same movement in `count` frames, whatever time it took."""
    return at_times(frames, np.linspace(0, len(frames) - 1, count))


def described(frames: Frames) -> NDArray[np.float32]:
    """What is read of every frame: where the joints are, and how fast they move.

    Args:
        frames: body-centred sequences [..., N, 20, 3].

    Returns:
        [..., N, 120]: positions, and their change since the frame before, tenfold.
    """
    speed = np.diff(frames, axis=-3, prepend=frames[..., :1, :, :])
    both = np.concatenate([frames, 10 * speed], axis=-2)
    return both.reshape(*both.shape[:-2], WIDTH).astype(np.float32)
