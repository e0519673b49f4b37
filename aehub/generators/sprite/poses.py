"""Poses of a walk: points of a small latent space, and a recurrent network that walks through them.

    direction, cycle length ──> h0 ──GRU──> h1 ──GRU──> h2 ── ... ──> hN ≈ h0
                                 │           │           │
                               pose 1      pose 2      pose 3         standing: a pose of its own

A pose says how limbs are held, and nothing about whose limbs they are. Those of the material's own
steps are learnt together with the renderer, as an embedding; the recurrent network learns to visit
them in turn, at any pace.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DIRECTIONS = ("up", "left", "down", "right")
"""That characters walk in."""
N_DIRECTIONS = len(DIRECTIONS)
STEPS = (2, 64)
"""Fewest and most steps of a cycle."""
CYCLE = 8
"""Steps of the cycle that was learnt from; other lengths are resampled from it."""
N_KEY_POSES = 1 + CYCLE
"""Poses learnt for each direction: standing, and the steps of the cycle."""


class PoseNetwork(nn.Module):
    """A pose for standing and closed cycles of poses, for each direction.

    Args:
        pose: numbers of a pose latent.
        hidden: of the recurrent state.
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
        """Poses of a walk that begins with a cycle's first step.

        Args:
            direction: int64 [B], 0..3: up, left, down, right.
            n_steps: how many poses; beyond `length` the cycle goes round again.
            length: of the cycle in steps, 2 or more.

        Returns:
            [B, n_steps, pose].
        """
        facing = F.one_hot(direction, N_DIRECTIONS).float()
        angle = 2 * math.pi / length
        pace = facing.new_tensor([math.sin(angle), math.cos(angle), CYCLE / length])
        told = torch.cat([facing, pace.expand(len(facing), 3)], 1)
        state, poses = torch.tanh(self.begin(told)), []
        for _ in range(n_steps):
            state = self.cell(told, state)
            poses.append(self.pose(state))
        return torch.stack(poses, 1)

    def standing(self, direction: Tensor) -> Tensor:
        """The pose of standing: [B, 1, pose]."""
        return self.learnt[direction, :1]

    def key_weights(self, direction: Tensor, poses: Tensor) -> Tensor:
        """How near poses are to those learnt: shares [B, T, N_KEY_POSES] that sum to 1."""
        keys = self.learnt[direction][:, None]
        return torch.softmax(-(poses[:, :, None] - keys).square().sum(-1), -1)


def resample_cycle(cycle: Tensor, length: int) -> Tensor:
    """A cycle [B, CYCLE, pose] at another length: periodic linear interpolation."""
    place = torch.arange(length, dtype=torch.float32, device=cycle.device) * (CYCLE / length)
    first = place.floor().long()
    share = (place - first)[None, :, None]
    return cycle[:, first % CYCLE] * (1 - share) + cycle[:, (first + 1) % CYCLE] * share
