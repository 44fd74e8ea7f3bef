"""Optimizers of other people that need a word of ours before they can be compared.

Most need none, such as torch's and, once installed, those of lion_pytorch and schedulefree. All of
them at the search's protocol, 20 seeds, half decades:

    python -m studies.compare RUN --rates half-decades --final-seeds 20 --also powersign-adam \\
        torch.optim.AdamW torch.optim.NAdam torch.optim.RAdam torch.optim.Adafactor \\
        studies.others:Muon lion_pytorch:Lion schedulefree:AdamWScheduleFree \\
        evo_optimizer:EvoOptimizer "studies.others:Scheduled(optimizer='adam', total_steps=500)"

A schedule within an optimizer's step comes along, as schedule-free's averages and Adafactor's growing
memory do. What its user would have to add does not, unless one asks for it: `Scheduled`.
Nothing to run here. Read next: compare.py.
"""

import math

import torch

from rules import make_optimizer


class Muon:
    """Muon for hidden matrices, filters of convolutions as rows; Adam for the rest (Jordan et al. 2024).

    The last matrix is the head's, so it is Adam's, as the authors ask. So should embeddings be, which
    a parameter does not tell: here they are Muon's. Both have one rate: Muon's steps are scaled to the
    size of Adam's (Liu et al. 2025), so no second sweep is needed. Neither has weight decay.
    """

    def __init__(self, params, lr: float):
        params = list(params)
        matrices = [i for i, p in enumerate(params) if p.dim() >= 2][:-1]
        self.matrices = [params[i] for i in matrices]
        self.flat = [torch.nn.Parameter(p.detach().flatten(1)) for p in self.matrices]  # of one storage
        rest = [p for i, p in enumerate(params) if i not in matrices]
        how = {"weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw"}
        self.parts = [torch.optim.Muon(self.flat, lr, **how)] if self.flat else []
        self.parts += [torch.optim.Adam(rest, lr)] if rest else []
        self.params = params

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None

    def step(self) -> None:
        for p, flat in zip(self.matrices, self.flat, strict=True):
            flat.grad = None if p.grad is None else p.grad.flatten(1)
        for part in self.parts:
            part.step()


class Scheduled:
    """Another optimizer whose rate warms up and then falls along half a cosine, to 0.

    Evolving Deep Learning Optimizers (Marfinetz 2025), whose optimizer asks for the step to do so:
    lr (t + 1) / warmup_steps for t < warmup_steps, then
    lr (1 + cos(pi (t - warmup_steps) / (total_steps - warmup_steps))) / 2.

    Args:
        optimizer: a rule or a class, as everywhere.
        total_steps: of the whole training; a sweep sees its first ones only.
    """

    def __init__(self, params, lr: float, optimizer: str, total_steps: int, warmup_steps: int = 100):
        def scale(t: int) -> float:
            if t < warmup_steps:
                return (t + 1) / warmup_steps
            done = min(1.0, (t - warmup_steps) / max(1, total_steps - warmup_steps))
            return (1 + math.cos(math.pi * done)) / 2

        self.optimizer = make_optimizer(optimizer, params, lr)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, scale)

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self) -> None:
        self.optimizer.step()
        self.schedule.step()
