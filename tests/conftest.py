"""One thread a test process: the tensors here are small, and two processes share the cores."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # of the programs that tests start

import torch

torch.set_num_threads(1)
