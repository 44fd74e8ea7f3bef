"""A Dask cluster in the place of the local workers, as a standard `concurrent.futures.Executor`.

    python -m dask scheduler                                          # on one machine, HOST
    python -m dask worker tcp://HOST:8786 --nworkers -1 --nthreads 1  # on every one: a worker a core
    python search.py --cluster tcp://HOST:8786                        # where the run folder shall be

On a Slurm cluster, after `pip install dask-jobqueue`, in a Python session on the login
node, in this folder:

    from dask_jobqueue import SLURMCluster
    slurm = SLURMCluster(cores=16, processes=16, memory="32GB", walltime="24:00:00", queue="PARTITION")
    slurm.scale(jobs=6)                 # 96 workers of one thread
    print(slurm.scheduler_address)      # for search.py --cluster, while the session lives

All run in this folder, with the same versions. Every machine prepares its own data: `--data` is a path
on each of them. Records are those of a local run if all processors are of one kind. Dask carries the
tasks, gives those of a lost worker to another one, and lets workers come and go; this file adds what
pool.py does for local workers. An optional extra: requirements-cluster.txt.
Read next: plots/, which shows what a search did.
"""

import contextlib
import importlib
import logging
import re
import signal
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future, InvalidStateError
from functools import partial
from multiprocessing import current_process
from threading import Event, Lock, Thread
from weakref import WeakSet

from pool import TaskError, WorkerDied

CONNECT_S = 10  # seconds to wait for the scheduler
WATCH_S = 1  # seconds until a lost one is noticed
LOST = "the Dask scheduler is lost"
_one_at_a_time = Lock()  # tasks of a process share its random state and its CPU clock


class ClusterError(ValueError):
    """There is no cluster to work with; the message says what to do."""


def _run(initializer: Callable, cpu_limit_s: float, fn: Callable, args: tuple) -> object:
    """Run a task on a Dask worker as pool.py would: prepared, limited, failing with TaskError."""
    from distributed import get_worker

    with _one_at_a_time:
        current_process().name = str(get_worker().name)  # what a score says of where it was made
        initializer()  # each time: Dask may run a task in a new thread, which has its own settings
        # At the limit the process dies and Dask starts another one, up to 3 times (allowed-failures).
        signal.setitimer(signal.ITIMER_PROF, cpu_limit_s)
        try:
            return fn(*args)
        except Exception:
            raise TaskError(traceback.format_exc()) from None
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


def _settle(future: Future, outcome: Future | None = None) -> None:
    """Give a future the outcome of Dask's own; without one, or with a cancelled one, all is lost."""
    lost = outcome is None or outcome.cancelled()
    error = ConnectionError(LOST) if lost else outcome.exception()
    with contextlib.suppress(InvalidStateError):  # it was given up before
        if error is None:
            future.set_result(outcome.result())
        else:
            from distributed import KilledWorker

            future.set_exception(WorkerDied(error) if isinstance(error, KilledWorker) else error)


class Cluster(Executor):
    """Run tasks on the workers of a Dask cluster.

    Args:
        address: of the scheduler, such as tcp://host:8786.
        initializer: called on a worker before each task; its errors end the search, not the task.
        cpu_limit_s: CPU seconds that one task may use; 0 is no limit.
    Raises:
        ClusterError: Dask is not installed, nobody answers at the address, or a worker that has joined
            runs outside the project's folder.
    """

    def __init__(self, address: str, initializer: Callable, cpu_limit_s: float = 0.0):
        if not re.fullmatch(r"((tcp|tls|ucx|wss?)://)?[^/:]+:\d+", address):
            raise ClusterError(
                f"--cluster is '{address}'; it must be an address such as tcp://HOST:8786"
            )
        try:
            from distributed import Client
        except ImportError:
            raise ClusterError("--cluster needs Dask: pip install -r requirements-cluster.txt") from None
        # A lost connection: the search says it.
        for name in ("distributed", "distributed.client", "tornado.application"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            self._client = Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ClusterError(f"no Dask scheduler at {address} ({reason})") from None
        try:  # or it would die of every task, and the search would wait for ever
            self._client.run(importlib.import_module, __name__)
        except ImportError as error:
            self._client.close()
            raise ClusterError(f"a Dask worker is not in the project's folder ({error})") from None
        self._executor = self._client.get_executor(pure=False)
        self._setup = (initializer, cpu_limit_s)
        self._open: WeakSet[Future] = WeakSet()
        self._left = Event()
        Thread(target=self._watch, daemon=True).start()

    def submit(self, fn: Callable, /, *args) -> Future:
        """Queue fn(*args) for a free worker.

        It may fail with TaskError, WorkerDied or, when the scheduler is lost, ConnectionError.
        """
        if self._client.status == "closed":
            raise ConnectionError(LOST)
        future = Future()
        self._open.add(future)
        self._executor.submit(_run, *self._setup, fn, args).add_done_callback(partial(_settle, future))
        return future

    def _watch(self) -> None:
        """Fail what is not done when the scheduler is lost.

        Dask cancels what it knows of, but forgets a result that it was just fetching and a task that
        came while it tried to connect again: those would be waited for until the end of time.
        """
        while not self._left.wait(WATCH_S):
            for future in list(self._open) if self._client.status != "running" else ():
                _settle(future)

    def stop(self) -> None:
        """Leave the cluster, whose workers stay; what is queued is dropped with the connection."""
        self._left.set()
        self._client.close()
