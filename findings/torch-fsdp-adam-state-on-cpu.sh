#!/bin/sh
# torch 2.14.1: FullyShardedDataParallel with use_orig_params=True on a CPU, two processes over gloo. What
# optim_state_dict gathers of torch.optim.Adam and optim_state_dict_to_load cuts again is not what the optimizer
# held: exp_avg comes back with other numbers, exp_avg_sq unchanged. No error, no warning; training goes on from it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
cat >"$folder/resume.py" <<'END'
import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP


def differ(rank, path):
    dist.init_process_group("gloo", f"file://{path}", rank=rank, world_size=2)
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    model = FSDP(torch.nn.Linear(512, 513), use_orig_params=True, device_id=cpu)
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(4, 512)).square().mean().backward()
        optimizer.step()
    saved = FSDP.optim_state_dict(model, optimizer)
    fresh = torch.optim.Adam(model.parameters())
    fresh.load_state_dict(FSDP.optim_state_dict_to_load(model, fresh, saved))
    for number, rows in enumerate(zip(optimizer.state.values(), fresh.state.values())):
        for name in ("exp_avg", "exp_avg_sq"):
            before, after = (row[name] for row in rows)
            if before.numel():
                same = "same" if torch.equal(before, after) else "differs"
                print(f"rank {rank}, parameter {number}, {name}: {same}", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(differ, (os.path.join(os.getcwd(), "meeting"),), nprocs=2)
END
cd "$folder"
OMP_NUM_THREADS=1 venv/bin/python -W ignore resume.py | sort | tee seen
cat >expected <<'END'
rank 0, parameter 0, exp_avg: differs
rank 0, parameter 0, exp_avg_sq: same
rank 1, parameter 0, exp_avg: differs
rank 1, parameter 0, exp_avg_sq: same
rank 1, parameter 1, exp_avg: differs
rank 1, parameter 1, exp_avg_sq: same
END
diff expected seen && echo "as we saw it"
