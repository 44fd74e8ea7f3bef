#!/bin/sh
# torch 2.14.1 on an x86 processor: on one thread, float32, torch.log of 100,000 zeros takes several times as long as of
# 100,000 positive numbers, and so does torch.exp of numbers whose exponential overflows. torch.sigmoid does not care.
# Results are right in all cases: minus infinity, infinity.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
cat >"$folder/time.py" <<'END'
import statistics
import time

import torch

torch.set_num_threads(1)


def seconds(function, x):
    taken = []
    for _ in range(101):
        start = time.process_time()
        function(x)
        taken.append(time.process_time() - start)
    return statistics.median(taken)


plain = torch.linspace(0.1, 1.1, 100_000)
cases = {"log of zeros": (torch.log, 0 * plain), "exp that overflows": (torch.exp, 1e30 * plain)}
cases |= {"sigmoid of zeros": (torch.sigmoid, 0 * plain), "sigmoid of 1e30": (torch.sigmoid, 1e30 * plain)}
for name, (function, special) in cases.items():
    ratio = seconds(function, special) / seconds(function, plain)
    print(name, "more than four times" if ratio > 4 else "less than twice" if ratio < 2 else f"{ratio:.2f}")
END
"$folder/venv/bin/python" "$folder/time.py" | tee "$folder/seen"
cat >"$folder/expected" <<'END'
log of zeros more than four times
exp that overflows more than four times
sigmoid of zeros less than twice
sigmoid of 1e30 less than twice
END
diff "$folder/expected" "$folder/seen" && echo "as we saw it"
