#!/bin/sh
# prodigyopt 1.1.2 and pytorch_optimizer 4.1.0 with torch 2.14.1: parameters whose group has a learning rate of 0, as a
# scheduler sets it to freeze them, should stay as they are. prodigyopt's Prodigy allows of different rates just this
# one, as its error for others says. But then it only stops the averages: the group goes on, step after step, the way it
# went last, whatever its gradient is by now, and a group that never had another rate shrinks by the weight decay. The
# Prodigy of pytorch_optimizer takes the first group's rate for all and says nothing: with 0 for the second one the run
# is the same to the last bit. torch's AdamW and RAdam leave the group alone.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6 prodigyopt==1.1.2 pytorch_optimizer==4.1.0
cat >"$folder/freeze.py" <<'END'
import contextlib
import sys
from importlib.metadata import version

import prodigyopt
import pytorch_optimizer
import torch

names = ("prodigyopt", "pytorch_optimizer", "torch")
print(*(f"{name} {version(name)}" for name in names), file=sys.stderr)
OPTIMIZERS = {
    "torch's AdamW": (torch.optim.AdamW, 0.01),
    "torch's RAdam": (torch.optim.RAdam, 0.01),
    "prodigyopt's Prodigy": (prodigyopt.Prodigy, 1.0),
    "pytorch_optimizer's Prodigy": (pytorch_optimizer.Prodigy, 1.0),
}
STEPS = 70


def run(make, rate, frozen_from, decay=0.0, turned=False):
    """Return the second group's weights before and after each step; its rate is 0 from a step on, its slope turned."""
    first, second = (torch.nn.Parameter(torch.tensor([3.0, -2.0, 5.0])) for _ in range(2))
    with contextlib.redirect_stdout(sys.stderr):
        optimizer = make([{"params": [first]}, {"params": [second]}], lr=rate, weight_decay=decay)
    schedule = [lambda _: 1.0, lambda step: 0.0 if step >= frozen_from else 1.0]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    seen = [second.detach().clone()]
    for step in range(STEPS):
        optimizer.zero_grad()
        sign = -1 if turned and step >= frozen_from else 1
        (first.square().sum() + sign * second.square().sum()).backward()
        optimizer.step()
        scheduler.step()
        seen.append(second.detach().clone())
    return torch.stack(seen)


def word(weights):
    moves = weights.diff(dim=0).any(dim=1)
    return "moves at each step" if moves.all() else "moves" if moves.any() else "stays"


for name, (make, rate) in OPTIMIZERS.items():
    weights, turned = run(make, rate, 60), run(make, rate, 60, turned=True)
    print(f"{name}, rate 0 after 60 steps: {word(weights[60:])}", end=", ")
    print(f"the slope {'ignored' if torch.equal(weights, turned) else 'followed'}", end=", ")
    print(f"the rate {'ignored' if torch.equal(weights, run(make, rate, STEPS)) else 'noticed'}")
for name, (make, rate) in OPTIMIZERS.items():
    words = [word(run(make, rate, 0, decay=decay)) for decay in (0.0, 0.1)]
    print(f"{name}, rate always 0: {words[0]}, with weight decay {words[1]}")
END
"$folder/venv/bin/python" -W ignore "$folder/freeze.py" | tee "$folder/seen"
cat >"$folder/expected" <<'END'
torch's AdamW, rate 0 after 60 steps: stays, the slope ignored, the rate noticed
torch's RAdam, rate 0 after 60 steps: stays, the slope ignored, the rate noticed
prodigyopt's Prodigy, rate 0 after 60 steps: moves at each step, the slope ignored, the rate noticed
pytorch_optimizer's Prodigy, rate 0 after 60 steps: moves at each step, the slope followed, the rate ignored
torch's AdamW, rate always 0: stays, with weight decay stays
torch's RAdam, rate always 0: stays, with weight decay stays
prodigyopt's Prodigy, rate always 0: stays, with weight decay moves at each step
pytorch_optimizer's Prodigy, rate always 0: moves at each step, with weight decay moves at each step
END
diff "$folder/expected" "$folder/seen" && echo "as we saw it"
