"""A pool of worker processes behind the standard `concurrent.futures.Executor` interface.

The paper's scheme, section 3.3: the controller pushes rules to a queue, workers take them one by one
and send back what they measured. This file knows nothing of rules or of torch.

    submit(fn, ...)                 one thread each                      one process each
    ------------->  task queue  ->  thread 0  == task / answer pipe ==>  worker 0
      <- Future                 ->  thread 1  == task / answer pipe ==>  worker 1
                                ->  ...

Each worker has a pipe of its own (its task queue and its result queue), so one that is killed can
spoil nobody else's. Its thread takes the next task, sends it, and waits for the answer or for the
death of the process, whichever comes first; then it settles the Future. A task whose worker died is
tried once more in a fresh process. Workers leave when their pipe closes or their parent dies.
Read next: child.py, the function that the workers run, and search.py, which fills the queue.
"""

import atexit
import contextlib
import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future
from multiprocessing import forkserver, get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NamedTuple


class TaskError(RuntimeError):
    """The task raised in the worker; the message is the worker's traceback."""


class WorkerDied(RuntimeError):
    """The worker died of the task, twice; the message names the signal or exit code."""


class TimeLimit(WorkerDied):
    """The task used more CPU seconds than it may, and is not tried again."""


class Task(NamedTuple):
    future: Future
    call: bytes  # pickled (fn, args, kwargs)


# --- in the worker --------------------------------------------------------------------------------


def _leave_with_parent() -> None:
    wait([parent_process().sentinel])
    os._exit(1)  # also in the middle of a task: nobody waits for its answer


def _work(pipe: Connection, cpu_limit_s: float, initializer: Callable | None, initargs: tuple) -> None:
    """Answer tasks until the pipe closes."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    if initializer is not None:
        initializer(*initargs)
    while True:
        try:
            call = pipe.recv_bytes()
        except EOFError:
            return
        # CPU time, not wall time, so that a busy machine changes nothing. The kernel kills at the
        # limit (SIGPROF), even inside a C function that never returns.
        signal.setitimer(signal.ITIMER_PROF, cpu_limit_s)
        try:
            fn, args, kwargs = pickle.loads(call)
            answer = pickle.dumps((True, fn(*args, **kwargs)))
        except Exception:
            answer = pickle.dumps((False, traceback.format_exc()))
        signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send_bytes(answer)


# --- in the parent --------------------------------------------------------------------------------


class WorkerPool(Executor):
    """Run tasks on `num_workers` processes; each starts when its first task comes.

    Args:
        num_workers: processes, >= 1.
        cpu_limit_s: CPU seconds that one task may use; 0 is no limit.
        initializer, initargs: called once in each new worker.
        preload: names of modules that all workers share in memory (heavy imports).
    Raises:
        ValueError: num_workers is below 1.
    """

    # One for all pools: starting a process polls all others, and two polls at once lose an exit code.
    _lock = threading.Lock()

    def __init__(
        self, num_workers: int, cpu_limit_s: float = 0.0, initializer=None, initargs=(), preload=()
    ):
        if num_workers < 1:
            raise ValueError(f"num_workers is {num_workers}; it must be at least 1")
        # A server that has imported `preload` forks the workers: they share its memory, and inherit none
        # of the parent's threads, locks or open files.
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        # Ctrl-C is the parent's alone: the server is started with SIGINT blocked, and workers inherit
        # that. (The resource tracker unblocks it, so it must be running before.)
        resource_tracker.ensure_running()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._setup = (cpu_limit_s, initializer, initargs)
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._processes: dict[int, BaseProcess] = {}
        self._closed = self._killed = False
        self._threads = [
            threading.Thread(target=self._serve, args=(i,), daemon=True) for i in range(num_workers)
        ]
        for thread in self._threads:
            thread.start()
        atexit.register(self.kill_workers)  # a pool that was forgotten must not keep the program alive

    def submit(self, fn: Callable, /, *args, **kwargs) -> Future:
        """Queue fn(*args, **kwargs) for the next free worker; arguments and result are pickled.

        The Future's exception is TaskError, WorkerDied or TimeLimit.
        """
        task = Task(Future(), pickle.dumps((fn, args, kwargs)))
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot submit a task after shutdown")
            self._tasks.put(task)
        return task.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers leave after the queued tasks, or with `cancel_futures` after this one."""
        with self._lock:
            self._closed = True
            if cancel_futures:
                with contextlib.suppress(queue.Empty):
                    while True:
                        if (task := self._tasks.get_nowait()) and task.future.cancel():
                            task.future.set_running_or_notify_cancel()  # tells those who wait for it
            for _ in self._threads:
                self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()
            atexit.unregister(self.kill_workers)

    def kill_workers(self) -> None:
        """Stop at once: cancel queued tasks and kill the running ones."""
        with self._lock:
            self._killed = True
            for process in self._processes.values():
                process.kill()
        self.shutdown(cancel_futures=True)

    def _serve(self, number: int) -> None:
        """Be worker `number`'s thread: hand it one task after another, restart it when it dies."""
        worker = None
        while (task := self._tasks.get()) is not None:
            if not task.future.set_running_or_notify_cancel():
                continue
            for _ in range(2):
                try:
                    worker = worker or self._start(number)
                    success, value = self._exchange(*worker, task.call)
                    break
                except (WorkerDied, OSError) as error:  # OSError: no process or no pipe to be had
                    worker, success, value = None, False, error
                    if self._killed or isinstance(error, TimeLimit):
                        break
            (task.future.set_result if success else task.future.set_exception)(value)
        if worker is not None:
            process, pipe = worker
            pipe.close()
            self._exit_code(process)

    def _start(self, number: int) -> tuple[BaseProcess, Connection]:
        """Start worker `number`; return its process and our end of its pipe."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(theirs, *self._setup), name=f"worker-{number}", daemon=True
        )
        with self._lock:
            if self._killed:
                raise WorkerDied("the pool was stopped")
            process.start()
            self._processes[number] = process
        theirs.close()  # or we would not see the end of the pipe when the worker dies
        return process, ours

    def _exchange(self, process: BaseProcess, pipe: Connection, call: bytes) -> tuple[bool, object]:
        """Send a task; return (True, its value) or (False, its error); raise if the worker dies."""
        with contextlib.suppress(EOFError, OSError):  # the pipe broke because the worker died
            pipe.send_bytes(call)
            wait([pipe, process.sentinel])
            if pipe.poll():
                return self._read(pipe.recv_bytes())
        pipe.close()
        code = self._exit_code(process)
        if code == -signal.SIGPROF:
            raise TimeLimit("the task used up its CPU seconds")
        reason = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        raise WorkerDied(f"the worker ended {reason}")

    @staticmethod
    def _read(answer: bytes) -> tuple[bool, object]:
        try:
            success, value = pickle.loads(answer)
        except Exception as error:
            return False, TaskError(f"unreadable answer: {error!r}")
        return success, value if success else TaskError(value)

    @classmethod
    def _exit_code(cls, process: BaseProcess) -> int:
        """Wait until a process ends and return its exit code."""
        wait([process.sentinel])
        with cls._lock:
            process.join()
        return process.exitcode
