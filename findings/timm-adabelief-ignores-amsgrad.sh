#!/bin/sh
# timm 1.0.31 with torch 2.14.1: by the docstring of AdaBelief `amsgrad` chooses the variant that divides by the largest
# second moment so far. With the default rectify=True it does not: the largest one is kept, in memory as large as the
# weights, but all steps divide by the current one, so the weights are the same to the last bit, with foreach and
# without. With rectify=False the argument has its effect, and in pytorch_optimizer 4.1.0 it has it with both.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 timm==1.0.31 \
    pytorch_optimizer==4.1.0
cat >"$folder/belief.py" <<'END'
import sys
from importlib.metadata import version

import pytorch_optimizer
import timm.optim
import torch

names = ("timm", "pytorch_optimizer", "torch")
print(*(f"{name} {version(name)}" for name in names), file=sys.stderr)
torch.manual_seed(0)
SLOPES = torch.randn(100, 5)
SLOPES[20] *= 100  # One outlier, which the largest second moment keeps and the current one forgets.


def go(make, **options):
    """Return the weights after each step and the names of what is kept for them."""
    weights = torch.nn.Parameter(torch.zeros(5))
    optimizer = make([weights], lr=0.01, betas=(0.9, 0.9), **options)
    seen = []
    for slope in SLOPES:
        weights.grad = slope.clone()
        optimizer.step()
        seen.append(weights.detach().clone())
    return torch.stack(seen), sorted(optimizer.state[weights])


def timm_belief(params, bound, **options):
    return timm.optim.AdaBelief(params, amsgrad=bound, **options)


def other_belief(params, bound, **options):
    return pytorch_optimizer.AdaBelief(params, ams_bound=bound, **options)


for name, make in (("timm", timm_belief), ("pytorch_optimizer", other_belief)):
    for rectify in (True, False):
        for foreach in (False, True):
            plain, _ = go(make, bound=False, rectify=rectify, foreach=foreach)
            bound, kept = go(make, bound=True, rectify=rectify, foreach=foreach)
            ratio = (bound[21:].diff(dim=0).norm() / plain[21:].diff(dim=0).norm()).item()
            word = "none" if torch.equal(plain, bound) else f"steps {ratio:.2f} times as long"
            more = "kept" if "max_exp_avg_var" in kept else "not kept"
            print(f"{name}, rectify={rectify}, foreach={foreach}: largest moment {more}, effect: {word}")
END
"$folder/venv/bin/python" -W ignore "$folder/belief.py" | tee "$folder/seen"
cat >"$folder/expected" <<'END'
timm, rectify=True, foreach=False: largest moment kept, effect: none
timm, rectify=True, foreach=True: largest moment kept, effect: none
timm, rectify=False, foreach=False: largest moment kept, effect: steps 0.44 times as long
timm, rectify=False, foreach=True: largest moment kept, effect: steps 0.44 times as long
pytorch_optimizer, rectify=True, foreach=False: largest moment kept, effect: steps 0.40 times as long
pytorch_optimizer, rectify=True, foreach=True: largest moment kept, effect: steps 0.40 times as long
pytorch_optimizer, rectify=False, foreach=False: largest moment kept, effect: steps 0.44 times as long
pytorch_optimizer, rectify=False, foreach=True: largest moment kept, effect: steps 0.44 times as long
END
diff "$folder/expected" "$folder/seen" && echo "as we saw it"
