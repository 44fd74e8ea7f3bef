"""A physics-informed network: it learns the path of a damped oscillator from the equation of motion.

    python search.py --task tasks/oscillator.py --preset laptop --samples 100

x'' + 4 x' + 100 x = 0 with x(0) = 1, x'(0) = 0 (Raissi et al. 2019 have the idea). The loss is the
residual at random times, so its gradient takes derivatives of derivatives. The score is how far the
path is from the true one, as a power of ten: it has no bound on either side, and much noise.
"""

import math

import numpy as np
import torch
from torch import nn

from training import Task

DAMPING, STIFFNESS, BATCH, STEPS = 2.0, 100.0, 32, 60


def truth(t: torch.Tensor) -> torch.Tensor:
    """Return the path, in closed form."""
    omega = math.sqrt(STIFFNESS - DAMPING**2)
    return torch.exp(-DAMPING * t) * (torch.cos(omega * t) + DAMPING / omega * torch.sin(omega * t))


class Oscillator(Task):
    score_name, lower_is_better, epochs = "log10 error", True, 6

    def model(self):
        layers = nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1)
        return nn.Sequential(*layers)

    def batches(self, model, seed, epoch):
        rng = np.random.default_rng([seed, epoch])
        for _ in range(STEPS):
            times = torch.from_numpy(rng.random((BATCH, 1), np.float32))
            yield torch.cat([torch.zeros(1, 1), times])

    def loss(self, model, t):
        t = t.requires_grad_()
        x = model(t)
        [speed] = torch.autograd.grad(x.sum(), t, create_graph=True)
        [acceleration] = torch.autograd.grad(speed.sum(), t, create_graph=True)
        residual = (acceleration + 2 * DAMPING * speed + STIFFNESS * x) / STIFFNESS
        return residual.square().mean() + (x[0, 0] - 1) ** 2 + (speed[0, 0] / 10) ** 2

    @torch.no_grad()
    def score(self, model):
        t = torch.linspace(0, 1, 200).unsqueeze(1)
        return (model(t) - truth(t)).square().mean().sqrt().log10()

    def trivial(self):
        t = torch.linspace(0, 1, 200)
        return truth(t).square().mean().sqrt().log10()  # of standing still at 0
