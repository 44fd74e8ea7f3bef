#!/bin/sh
# torch 2.14.1: the same arithmetic on two tensors, compiled for a CPU. With torch._foreach_exp_ the generated code
# has two loops a tensor and a buffer of the tensor's size between them; written tensor by tensor it has one loop and no
# buffer. The neighbouring foreach operations alone are fused, so it is the exponential that parts them.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
cat >"$folder/count.py" <<'END'
import re

import torch
from torch._inductor.utils import run_and_get_code


def at_once(xs, ys):
    products = torch._foreach_mul(xs, ys)
    torch._foreach_exp_(products)
    torch._foreach_mul_(products, ys)
    torch._foreach_add_(xs, products)


def at_once_without_exp(xs, ys):
    products = torch._foreach_mul(xs, ys)
    torch._foreach_sqrt_(products)
    torch._foreach_mul_(products, ys)
    torch._foreach_add_(xs, products)


def one_by_one(xs, ys):
    for x, y in zip(xs, ys):
        x.add_((x * y).exp_().mul_(y))


for function in (at_once, at_once_without_exp, one_by_one):
    torch.compiler.reset()
    xs, ys = ([torch.rand(1000, 1000) for _ in range(2)] for _ in range(2))
    _, [code] = run_and_get_code(torch.compile(function), xs, ys)
    loops = len(re.findall(r"for\(int64_t ", code))
    buffers = len(re.findall(r"= empty_strided_cpu\(", code))
    print(f"{function.__name__}: {loops} loops, {buffers} buffers", flush=True)
END
cd "$folder"
OMP_NUM_THREADS=1 venv/bin/python -W ignore count.py 2>/dev/null | tee seen
cat >expected <<'END'
at_once: 4 loops, 2 buffers
at_once_without_exp: 2 loops, 0 buffers
one_by_one: 2 loops, 0 buffers
END
diff expected seen && echo "as we saw it"
