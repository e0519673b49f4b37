"""Poses of a walk cycle: a small latent space, and a recurrent network that traverses it.

    direction, cycle length ──> h0 ──GRU──> h1 ──GRU──> h2 ── ... ──> hN ≈ h0
                                 │           │           │
                               pose 1      pose 2      pose 3         standing: a pose of its own

A pose describes the limbs independently of the character. The poses of the training material's
own steps are an embedding, learnt together with the renderer; the recurrent network is trained to
pass through them in order, at any cycle length.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DIRECTIONS = ("up", "left", "down", "right")
"""Directions in which characters walk."""
N_DIRECTIONS = len(DIRECTIONS)
STEPS = (2, 64)
"""Fewest and most steps of a cycle."""
CYCLE = 8
"""Steps of the cycles of the training material; other lengths are resampled from them."""
N_KEY_POSES = 1 + CYCLE
"""Learnt key poses per direction: standing, and the steps of the cycle."""


class PoseNetwork(nn.Module):
    """A pose for standing and closed cycles of poses, per direction.

    Args:
        pose: length of a pose latent.
        hidden: size of the recurrent state.
    """

    def __init__(self, pose: int, hidden: int) -> None:
        super().__init__()
        angle = torch.arange(CYCLE) * (2 * math.pi / CYCLE)
        learnt = torch.randn(N_DIRECTIONS, N_KEY_POSES, pose) * 0.7
        learnt[:, 1:, 0], learnt[:, 1:, 1] = 2 * angle.cos(), 2 * angle.sin()
        self.learnt = nn.Parameter(learnt)
        self.begin = nn.Linear(N_DIRECTIONS + 3, hidden)
        self.cell = nn.GRUCell(N_DIRECTIONS + 3, hidden)
        self.pose = nn.Linear(hidden, pose)

    def forward(self, direction: Tensor, n_steps: int, length: int) -> Tensor:
        """Poses from a cycle's first step on.

        Args:
            direction: int64 [B], 0..3: up, left, down, right.
            n_steps: number of poses; beyond `length` the cycle repeats.
            length: of the cycle in steps, 2 or more.

        Returns:
            [B, n_steps, pose].
        """
        facing = F.one_hot(direction, N_DIRECTIONS).float()
        angle = 2 * math.pi / length
        speed = facing.new_tensor([math.sin(angle), math.cos(angle), CYCLE / length])
        condition = torch.cat([facing, speed.expand(len(facing), 3)], 1)
        state, poses = torch.tanh(self.begin(condition)), []
        for _ in range(n_steps):
            state = self.cell(condition, state)
            poses.append(self.pose(state))
        return torch.stack(poses, 1)

    def standing(self, direction: Tensor) -> Tensor:
        """The pose of standing: [B, 1, pose]."""
        return self.learnt[direction, :1]

    def key_weights(self, direction: Tensor, poses: Tensor) -> Tensor:
        """Soft assignment of poses to the key poses: weights [B, T, N_KEY_POSES] that sum to 1."""
        keys = self.learnt[direction][:, None]
        return torch.softmax(-(poses[:, :, None] - keys).square().sum(-1), -1)


def resample_cycle(cycle: Tensor, length: int) -> Tensor:
    """Resample a cycle [B, CYCLE, pose] to another length by periodic linear interpolation."""
    position = torch.arange(length, dtype=torch.float32, device=cycle.device) * (CYCLE / length)
    first = position.floor().long()
    share = (position - first)[None, :, None]
    return cycle[:, first % CYCLE] * (1 - share) + cycle[:, (first + 1) % CYCLE] * share
