"""Optimizers of other people that need a word of ours before they can be compared.

Most need none, such as torch's and, once installed, those of lion_pytorch and schedulefree. A schedule
that is part of an optimizer comes along, as schedule-free's averages and Adafactor's growing memory do;
no other does. All of them at the search's protocol, 20 seeds, half decades:

    python -m studies.compare RUN --rates half-decades --final-seeds 20 --also powersign-adam \\
        torch.optim.AdamW torch.optim.NAdam torch.optim.RAdam torch.optim.Adafactor \\
        studies/others.py:Muon lion_pytorch:Lion schedulefree:AdamWScheduleFree

Nothing to run here. Read next: compare.py.
"""

import torch


class Muon:
    """Muon for matrices, filters of convolutions as rows, and Adam for the rest (Jordan et al. 2024).

    Both have one rate: Muon's steps are scaled to the size of Adam's (Liu et al. 2025), so no second
    sweep is needed.
    """

    def __init__(self, params, lr: float):
        params = list(params)
        self.matrices = [p for p in params if p.dim() >= 2]
        self.flat = [torch.nn.Parameter(p.detach().flatten(1)) for p in self.matrices]  # of one storage
        rest = [p for p in params if p.dim() < 2]
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
