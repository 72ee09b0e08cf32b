"""Movements of nobody: what the smoke run and the tests learn from."""

import numpy as np

from experiments.video.data import SUBSETS, Movements
from experiments.video.skeleton import JOINTS

# Metres, of somebody 1.7 m tall who stands 2.5 m before the camera.
_STANDING = {
    **{"head": (0, 0.65, 0), "neck": (0, 0.4, 0), "spine": (0, 0.05, 0)},
    **{"hip_centre": (0, 0, 0), "left_hip": (-0.1, -0.05, 0)},
    **{"right_hip": (0.1, -0.05, 0), "left_shoulder": (-0.18, 0.38, 0)},
    **{"right_shoulder": (0.18, 0.38, 0), "left_elbow": (-0.22, 0.1, 0)},
    **{"right_elbow": (0.22, 0.1, 0), "left_wrist": (-0.23, -0.12, 0)},
    **{"right_wrist": (0.23, -0.12, 0), "left_hand": (-0.23, -0.2, 0)},
    **{"right_hand": (0.23, -0.2, 0), "left_knee": (-0.1, -0.5, 0)},
    **{"right_knee": (0.1, -0.5, 0), "left_ankle": (-0.1, -0.9, 0)},
    **{"right_ankle": (0.1, -0.9, 0), "left_foot": (-0.1, -0.95, -0.1)},
    **{"right_foot": (0.1, -0.95, -0.1)},
}
_ARM = ("right_elbow", "right_wrist", "right_hand")
_CLASSES = SUBSETS["AS2"]


def generated(seed: int, each: int = 3) -> Movements:
    """An arm that waves in eight ways, named after eight actions.

    Args:
        seed: decides sizes, places, lengths and noise.
        each: how many sequences of every action.
    """
    random = np.random.default_rng(seed)
    body = np.array([_STANDING[joint] for joint in JOINTS])
    arm = [JOINTS.index(joint) for joint in _ARM]
    sequences, labels = [], np.repeat(np.arange(len(_CLASSES)), each)
    for label in labels:
        length = int(random.integers(14, 22))
        share = np.linspace(0, 1, length)[:, None, None]
        direction = np.eye(3)[label % 3]
        waves = np.sin(np.pi * (1 + label // 3) * share) * direction
        frames = np.repeat(body[None], length, axis=0)
        frames[:, arm] += waves * np.array([0.2, 0.4, 0.5])[:, None]
        frames *= random.uniform(0.9, 1.1)
        frames += random.normal(0, 0.005, frames.shape)
        frames += np.array([0, 0, 2.5]) + random.normal(0, 0.2, 3)
        sequences.append(frames.astype(np.float32))
    people = np.arange(len(labels)) % each + 1
    return Movements(sequences, labels, people, _CLASSES)
