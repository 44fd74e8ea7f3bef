"""One thread a test process: the tensors here are small, and two processes share the cores."""

import os
from multiprocessing import forkserver

os.environ["OMP_NUM_THREADS"] = "1"  # of torch, imported later, and of what tests start
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a process that has used a GPU cannot fork one that trains

if "PYTEST_XDIST_WORKER" in os.environ:
    # The first pool of a process decides what all its workers need not import: here, what a search does.
    forkserver.set_forkserver_preload(["child", "torch._dynamo"])
    forkserver.ensure_running()
