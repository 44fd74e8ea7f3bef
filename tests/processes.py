"""What tests share that start processes: waiting for them, seeing them, and a disk that is full."""

import contextlib
import resource
import signal
import sys
import time
from multiprocessing import get_context
from pathlib import Path

DEADLINE_S = 60.0  # for a busy machine; nothing here waits that long when all is well
# Children that need not import torch again; on a Mac a forked one cannot train.
CONTEXT = get_context("fork" if sys.platform == "linux" else "spawn")


def until(condition, what="it", timeout_s=DEADLINE_S):
    """Poll until `condition()` is true and return its value."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {timeout_s} s for {what}"
        time.sleep(0.01)
    return value


def processes():
    """Return the process group of every process that is not a zombie."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
            if state != "Z":
                found[int(path.parent.name)] = int(group)
    return found


def hear_interrupts():
    """Undo what nohup and background jobs of a shell pass on: an ignored SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def children(target, *args, number=1):
    """Run `target(*args)` in other processes, which do not outlive the test."""
    with contextlib.ExitStack() as stack:
        started = [CONTEXT.Process(target=target, args=args) for _ in range(number)]
        for process in started:
            process.start()
            stack.callback(process.join)
            stack.callback(process.kill)
        yield started


@contextlib.contextmanager
def full_disk(bytes_left):
    """No file may grow longer than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
