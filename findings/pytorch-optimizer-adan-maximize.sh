#!/bin/sh
# pytorch_optimizer 4.1.0 with torch 2.14.1: by the docstrings `maximize` maximizes the objective instead of minimizing
# it. So to maximize -f should be to minimize f, and is, to the last bit, with torch's AdamW, AdaBelief and Lion. Adan
# goes elsewhere from the second step on: what it keeps for the gradient before the first one is not negated, the first
# one is. So its first difference of gradients, which starts from 0 in the paper (arXiv 2208.06677), is twice the
# gradient, and the averages carry that on for dozens of steps, with foreach and without.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6 pytorch_optimizer==4.1.0
cat >"$folder/climb.py" <<'END'
import sys
from importlib.metadata import version

import torch
from pytorch_optimizer import AdaBelief, Adan, Lion

print("pytorch_optimizer", version("pytorch_optimizer"), "torch", torch.__version__, file=sys.stderr)
START = torch.tensor([1.0, -2.0, 4.0])


def go(steps, make, maximize, **options):
    """Return the weights before and after each step, the optimizer's state and the last slope of the sum of squares."""
    w = torch.nn.Parameter(START.clone())
    optimizer = make([w], lr=0.01, maximize=maximize, **options)
    weights = [START]
    for _ in range(steps):
        optimizer.zero_grad()
        slope = 2 * w.detach().clone()
        (-w.square().sum() if maximize else w.square().sum()).backward()
        optimizer.step()
        weights.append(w.detach().clone())
    return weights, optimizer.state[w], slope


for make in (torch.optim.AdamW, AdaBelief, Lion):
    (down, *_), (up, *_) = go(30, make, False), go(30, make, True)
    print(f"{make.__name__}: {'the same' if all(map(torch.equal, down, up)) else 'differs'}")
for foreach in (False, True):
    (down, *_), (up, *_) = (go(30, Adan, maximize, foreach=foreach) for maximize in (False, True))
    same = [torch.allclose(one, other, rtol=0, atol=1e-6) for one, other in zip(down, up)]
    share = (up[-1] - START).norm() / (down[-1] - START).norm()
    print(f"Adan, foreach={foreach}: differs from step {same.index(False)} on, {share:.2f} of the way after step 30")
for maximize in (False, True):
    _, state, slope = go(1, Adan, maximize, betas=(0.98, 0.92, 0.99))
    ratio = (state["exp_avg_diff"] / (1 - 0.92) / slope).abs().tolist()
    print(f"Adan, maximize={maximize}: first difference over gradient", *(f"{x:.2f}" for x in ratio))
END
"$folder/venv/bin/python" -W ignore "$folder/climb.py" | tee "$folder/seen"
cat >"$folder/expected" <<'END'
AdamW: the same
AdaBelief: the same
Lion: the same
Adan, foreach=False: differs from step 2 on, 0.88 of the way after step 30
Adan, foreach=True: differs from step 2 on, 0.88 of the way after step 30
Adan, maximize=False: first difference over gradient 0.00 0.00 0.00
Adan, maximize=True: first difference over gradient 2.00 2.00 2.00
END
diff "$folder/expected" "$folder/seen" && echo "as we saw it"
