"""A pool of worker processes behind the standard `concurrent.futures.Executor` interface.

The paper's scheme, section 3.3: workers take rules from a queue and send back what they measured.

    submit(fn, ...)                 one thread each                      one process each
    ------------->  task queue  ->  thread 0  == task / answer pipe ==>  worker 0
      <- Future                 ->  thread 1  == task / answer pipe ==>  worker 1
                                ->  ...

Each worker has a pipe of its own, so one that is killed can spoil nobody else's. Its thread waits for
its turn, takes a task, sends it, and waits for the answer or the death of the process. A task whose
worker died is tried once more. Workers leave when their pipe closes or their parent dies. Read next:
results.py, where scores are written.
"""

import atexit
import contextlib
import ctypes
import errno
import gc
import math
import os
import pickle
import queue
import resource
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Lock, Semaphore, Thread
from weakref import WeakSet

READY = b"ready"  # a worker's first word, if all is well


class TaskError(RuntimeError):
    """The task raised in the worker; the message is the worker's traceback."""

    status = "error"  # what records call it

    @property
    def reason(self) -> str:
        """What the task raised, the first line of it."""
        lines = str(self).strip().splitlines()
        frame = max((i for i, line in enumerate(lines) if line.startswith("  File ")), default=-1)
        return next((line for line in lines[frame + 1 :] if not line.startswith(" ")), lines[-1])


class WorkerDied(RuntimeError):
    """The worker died of the task, twice; the message names the signal or exit code."""

    status = "crashed"
    reason = property(str)


class TimeLimit(WorkerDied):
    """The task used more CPU seconds than it may, and is not tried again."""

    status = "timeout"


def usable_cores() -> int:
    """Return how many cores this process may use: those it may run on, or what a container grants."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, cpu_quota())))


def cpu_quota(proc: Path = Path("/proc/self")) -> float:
    """Return how many cores' time the process's control groups grant, infinity if they set no limit.

    The least of its own group's limit and those above, as far as they are seen: cgroup version 1 or 2.
    """
    quotas = [math.inf]
    with contextlib.suppress(OSError):  # no Linux
        groups = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]
        for mount in (proc / "mountinfo").read_text().splitlines():
            place, _, system = mount.partition(" - ")
            # Split at each blank, for the source of a mount may be empty.
            (root, point), (kind, _, options) = place.split(" ")[3:5], system.split(" ")[:3]
            name = {"cgroup2": "", "cgroup": "cpu"}.get(kind)
            if name is None or name not in ["", *options.split(",")]:
                continue
            for own in (Path(path) for _, names, path in groups if name in names.split(",")):
                # A container may see its own group as the root of what is mounted.
                below = own.relative_to(root) if own.is_relative_to(root) else Path()
                quotas += [_quota(Path(point) / part) for part in (below, *below.parents)]
    return min(quotas)


def _quota(group: Path) -> float:
    """Return the limit that the files of one control group set."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError):  # it has no such file, or no limit: max
            quota, period = map(int, " ".join((group / name).read_text() for name in names).split())
            return quota / period if quota > 0 else math.inf
    return math.inf


def _work(pipe: Connection, cpu_limit_s: float, initializer: Callable | None) -> None:
    """Be a worker process: answer tasks until the pipe closes."""
    gc.freeze()  # what the server imported: to look through it for garbage would copy 40 MB of it

    def leave_with_parent():
        wait([parent_process().sentinel])
        os._exit(1)  # also in the middle of a task: nobody waits for its answer

    Thread(target=leave_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError):  # reset, if closed before it read all
        try:
            if initializer is not None:
                initializer()
        except Exception as error:
            return pipe.send_bytes(f"{type(error).__name__} {error}".encode())
        pipe.send_bytes(READY)
        while True:
            call = pipe.recv_bytes()
            # CPU time, not wall time, so that a busy machine changes nothing. The kernel kills at the
            # limit (SIGPROF), even inside a C function that never returns.
            signal.setitimer(signal.ITIMER_PROF, cpu_limit_s)
            try:
                fn, args, kwargs = pickle.loads(call)
                answer = pickle.dumps((True, fn(*args, **kwargs)))
            except Exception:
                answer = pickle.dumps((False, TaskError(traceback.format_exc())))
            signal.setitimer(signal.ITIMER_PROF, 0)
            pipe.send_bytes(answer)
            with contextlib.suppress(AttributeError):  # glibc alone keeps freed memory until told
                ctypes.CDLL(None).malloc_trim(0)


def _way(code: int) -> str:
    """Return how a process ended."""
    return f"signal {-code}, {signal.strsignal(-code)}" if code < 0 else f"exit code {code}"


def _in_words(error: Exception) -> str:
    """Return why a process or thread cannot start, and where to look."""
    number, text = getattr(error, "errno", None), str(error) or type(error).__name__
    if "AF_UNIX" in text:
        return (
            f"the path of a socket in {tempfile.gettempdir()} is too long; set TMPDIR to a shorter one"
        )
    if number in (errno.EMFILE, errno.ENFILE):
        return f"{text}; `ulimit -n` says how many may be open"
    if number == errno.EAGAIN or "new thread" in text:
        return f"{text}; `ulimit -u`, or the container, limits processes and threads"
    if number == errno.ENOMEM or isinstance(error, MemoryError):
        return f"{text}; memory is short"
    if isinstance(error, EOFError | ConnectionError):
        return "the process that starts workers has ended; is memory short?"
    return text


class WorkerPool(Executor):
    """Run tasks on `num_workers` processes; each starts when its first task comes.

    Args:
        num_workers: processes, >= 1, and no more than open files are allowed for, else ValueError.
        cpu_limit_s: CPU seconds that one task may use; 0 is no limit.
        initializer: called once in each new worker.
        preload: names of modules that all workers share in memory (heavy imports).
        at_once: tasks that may run at the same time; None is as many as usable cores.
    """

    _lock = Lock()  # one for all pools: to start a process polls the others, two polls lose an exit code

    def __init__(self, num_workers: int, cpu_limit_s=0.0, initializer=None, preload=(), at_once=None):
        if num_workers < 1:
            raise ValueError(f"num_workers is {num_workers}; it must be at least 1")
        files, (soft, hard) = 100 + 3 * num_workers, resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and files > soft:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
            except ValueError:
                what = f"{num_workers} workers need {files} open files"
                raise ValueError(f"{what}; {hard} are allowed") from None
        # A server that has imported `preload` forks the workers: they share its memory, not our locks.
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        self._setup = (cpu_limit_s, initializer)
        self._tasks: queue.SimpleQueue[tuple[Future, bytes] | None] = queue.SimpleQueue()
        self._futures: WeakSet[Future] = WeakSet()
        self._turns = Semaphore(at_once or usable_cores())
        self._workers: dict[int, tuple] = {}  # number -> process, our end of its pipe
        self._closed = self._killed = False
        self._threads = [Thread(target=self._serve, args=(i,), daemon=True) for i in range(num_workers)]
        try:
            resource_tracker.ensure_running()  # it unblocks signals, which the threads block
            for thread in self._threads:
                thread.start()
        except (OSError, RuntimeError) as error:
            self._threads = [thread for thread in self._threads if thread.ident]  # those that run
            self.stop()
            raise ValueError(f"{num_workers} workers cannot start: {_in_words(error)}") from None
        atexit.register(self.stop)  # a pool that was forgotten must not keep the program alive

    def submit(self, fn: Callable, /, *args, **kwargs) -> Future:
        """Queue fn(*args, **kwargs); it may fail with TaskError, WorkerDied, TimeLimit or OSError."""
        future, call = Future(), pickle.dumps((fn, args, kwargs))
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot submit a task after shutdown")
            self._futures.add(future)
            self._tasks.put((future, call))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers leave after the queued tasks, or with `cancel_futures` after this one."""
        with self._lock:
            self._closed = True
        for future in list(self._futures) if cancel_futures else ():
            future.cancel()  # does nothing to those that run
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def stop(self) -> None:
        """Stop at once: cancel queued tasks and kill the running ones."""
        with self._lock:
            self._killed = True
            for process, _ in self._workers.values():
                process.kill()
        self.shutdown(cancel_futures=True)

    def _serve(self, number: int) -> None:
        """Be worker `number`'s thread: hand it one task after another."""
        # What ends a program is the main thread's alone: the server and the workers, which are started
        # from here, inherit these signals blocked. Else a batch system that signals all processes would
        # make crashes of the rules in training.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        while True:
            with self._turns:  # first, and then the oldest task, so that none waits behind later ones
                if (task := self._tasks.get()) is None:
                    break
                future, call = task
                if not future.set_running_or_notify_cancel():
                    continue
                for _ in range(2):
                    success, value = self._exchange(number, call)
                    if success or self._killed or isinstance(value, TaskError | TimeLimit):
                        break
            (future.set_result if success else future.set_exception)(value)
        if number in self._workers:
            self._end(number)

    def _exchange(self, number: int, call: bytes) -> tuple[bool, object]:
        """Give worker `number` a task; return (True, the value) or (False, the error)."""
        try:
            # An idle worker says nothing, so a pipe with something to read is broken.
            if number in self._workers and self._workers[number][1].poll():
                self._end(number)  # it died while idle, which counts as no try
            process, pipe = self._workers.get(number) or self._start(number)
        except Exception as error:  # no task's fault
            if number in self._workers:
                self._end(number)
            return False, OSError(f"no worker can start: {_in_words(error)}")
        with contextlib.suppress(OSError, EOFError):  # the pipe breaks when the worker dies
            pipe.send_bytes(call)
            wait([pipe, process.sentinel])
            if pipe.poll():
                answer = pipe.recv_bytes()
                try:
                    return pickle.loads(answer)
                except BaseException as error:  # reading it may run anything, SystemExit included
                    return False, TaskError(f"unreadable answer: {error!r}")
        code = self._end(number)
        if code == -signal.SIGPROF:
            return False, TimeLimit("the task used up its CPU seconds")
        return False, WorkerDied(f"the worker ended with {_way(code)}")

    def _start(self, number: int) -> tuple:
        """Start worker `number`; return its process and our end of its pipe, once it is ready."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, *self._setup), daemon=True)
        process.name = f"worker-{number}"
        with theirs, self._lock:  # our copy of its end closes, or we would not see the pipe break
            try:
                process.start()
            except (OSError, EOFError):  # the server was killed: the next start begins with a new one
                time.sleep(1)  # until the system is done with the old one
                process.start()
            self._workers[number] = process, ours
            if self._killed:
                process.kill()
        try:
            word = ours.recv_bytes()
        except (OSError, EOFError):
            way = _way(self._end(number))
            script = "does a script lack `if __name__ == '__main__':`, or is it on stdin?"
            what = f"it ended with {way} before it was ready; is memory short, or {script}"
            raise OSError(what) from None
        if word != READY:
            raise OSError(word.decode())
        return process, ours

    def _end(self, number: int) -> int:
        """Wait until worker `number` has left; return its exit code."""
        process, pipe = self._workers[number]
        pipe.close()
        wait([process.sentinel])
        with self._lock:
            process.join()
            del self._workers[number]
        return process.exitcode
