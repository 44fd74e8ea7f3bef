#!/bin/sh
# schedulefree 1.4.1 with torch 2.14.1: ScheduleFreeWrapper, made to wrap "any" base optimizer, steps with torch's SGD
# and Adagrad and raises KeyError at the first step with RMSprop, Adam and AdamW. It keeps its own `z` in the base's
# state, and these three make their averages only where a parameter's state is still empty.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6 schedulefree==1.4.1
cat >"$folder/wrap.py" <<'END'
import schedulefree
import torch

for base in (torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.Adam, torch.optim.AdamW):
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = schedulefree.ScheduleFreeWrapper(base([w], lr=0.1), momentum=0.9)
    optimizer.train()
    try:
        for _ in range(3):
            optimizer.zero_grad()
            w.square().sum().backward()
            optimizer.step()
        print(base.__name__, "steps")
    except Exception as error:
        print(base.__name__, repr(error))
END
"$folder/venv/bin/python" -W ignore "$folder/wrap.py" | tee "$folder/seen"
cat >"$folder/expected" <<'END'
SGD steps
RMSprop KeyError('square_avg')
Adagrad steps
Adam KeyError('exp_avg')
AdamW KeyError('exp_avg')
END
diff "$folder/expected" "$folder/seen" && echo "as we saw it"
