"""A Dask cluster in the place of the local workers, as a standard `concurrent.futures.Executor`.

    python search.py --cluster tcp://HOST:8786        # where the run folder shall be

CLUSTER.md says how to start the scheduler at HOST and the workers, also on Slurm, and what can happen.
Dask carries the tasks, gives those of a lost worker to another one, and lets workers come and go; this
file adds what pool.py does for local workers. Records are those of a local run if all processors are of
one kind. An optional extra: requirements-cluster.txt. Read next: plots/, which shows what a search did.
"""

import contextlib
import inspect
import logging
import pickle
import re
import signal
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future, InvalidStateError, wait
from functools import lru_cache, partial
from multiprocessing import current_process
from pathlib import Path
from threading import Event, Lock, Thread
from weakref import WeakSet

import results
from data import DataError
from pool import TaskError, WorkerDied

CONNECT_S = 10  # seconds to wait for the scheduler
WATCH_S = 1  # seconds until a lost one is noticed
TRIES = 5  # of a task whose outcome Dask loses, though its scheduler is there
LOST = "the Dask scheduler is lost"
TLS = "DASK_DISTRIBUTED__COMM__TLS__"
CERTIFICATES = f"tls:// needs {TLS}CA_FILE, {TLS}CLIENT__CERT and {TLS}CLIENT__KEY in the environment"
_one_at_a_time = Lock()  # tasks of a process share its random state and its CPU clock


class ClusterError(ValueError):
    """There is no cluster to work with; the message says what to do."""


# --- on a worker ----------------------------------------------------------------------------------


def carried(function: str, call: bytes) -> tuple:
    """Call a function of this file on a worker; it goes there as text, so it imports what it needs.

    Returns:
        What `run` returns, or "unfit", the worker's address and why; then where that was.
    """
    import importlib
    import os

    where = f"{os.uname().nodename}, process {os.getpid()} in {os.getcwd()}"
    try:
        return (*getattr(importlib.import_module("cluster"), function)(call), where)
    except Exception as error:  # whatever it is, it is no task's fault
        try:
            from distributed import get_worker

            address = get_worker().address
        except (ImportError, ValueError):  # it was asked outside of a task
            address = None
        return "unfit", address, f"{type(error).__name__} {error}", where


def carry(function: str, call: bytes) -> tuple:
    """Return what Dask carries: a function that every Python has, and plain data as its arguments.

    So the scheduler needs no project to pass it on, and a worker that has none says so itself. Any
    function of ours would travel as bytecode, of which a worker with another Python dies.
    """
    names = {"text": inspect.getsource(carried), "scope": {}, "function": function, "call": call}
    return eval, "exec(text, scope) or scope['carried'](function, call)", names


# Sends the worker of a process away, as text too. To wait for its end here would be to wait for oneself.
LEAVE = "[w.loop.add_callback(w.close) for w in __import__('distributed').Worker._instances]"


@lru_cache
def _conditions() -> dict:
    """Return what scores depend on here beside the rules."""
    return {name: value for name, value in results.environment(1).items() if name in results.SAME}


def try_out(call: bytes) -> tuple:
    """Return as `run` would that this worker can do such tasks, without doing one."""
    initializer, *_ = pickle.loads(call)
    initializer()
    return "done", None, _conditions()


def run(call: bytes) -> tuple:
    """Do a task on a Dask worker as pool.py would, prepared and limited.

    Returns:
        "done" or "failed", the pickled value or the traceback, and the conditions.
    """
    from distributed import get_worker

    with _one_at_a_time:
        current_process().name = str(get_worker().name)  # what a score says of where it was made
        initializer, cpu_limit_s, fn, args = pickle.loads(call)
        initializer()  # each time: Dask may run a task in a new thread, which has its own settings
        # At the limit the process dies and Dask starts another one, up to 3 times (allowed-failures).
        signal.setitimer(signal.ITIMER_PROF, cpu_limit_s)
        try:
            return "done", pickle.dumps(fn(*args)), _conditions()
        except DataError:
            raise  # it has other pictures by now
        except Exception:
            return "failed", traceback.format_exc(), _conditions()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


# --- here -----------------------------------------------------------------------------------------


def _settle(future: Future, value: object = None, error: BaseException | None = None) -> None:
    with contextlib.suppress(InvalidStateError):  # it was given up before
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


def check_certificates(security) -> None:
    """Raise ValueError if what a connection over TLS needs is not configured, or not there."""
    named = security.tls_ca_file, security.tls_client_cert, security.tls_client_key
    for text in filter(None, named):  # a path, or the certificate itself
        if "\n" not in text and not Path(text).is_file():
            raise ValueError(f"{text}, named in {TLS}..., is no file")
    if not security.get_connection_args("client")["ssl_context"]:
        raise ValueError(CERTIFICATES)


def connect(address: str):
    """Return a Dask client that is connected.

    It is made in a thread of its own, which keeps it if that fails: a client that is forgotten half-made
    prints a traceback. And whoever is asked may never answer, whatever Dask's own limit of time.
    """
    from distributed import Client

    client: Future = Future()

    def make():
        try:
            client.set_result(Client(address, timeout=CONNECT_S, set_as_default=False))
        except Exception as error:
            client.set_exception(error)
            Event().wait()

    Thread(target=make, daemon=True).start()
    if not wait([client], 2 * CONNECT_S).done:
        raise TimeoutError("whoever answers there does not speak Dask's language")
    return client.result()


class Cluster(Executor):
    """Run tasks on the workers of a Dask cluster, which may come and go.

    A worker that cannot do them, for example because it runs outside the project's folder or has other
    pictures, is sent away, and its task goes to another one.

    Args:
        address: of the scheduler, such as tcp://host:8786.
        initializer: called on a worker before each task; its errors are the worker's.
        cpu_limit_s: CPU seconds that one task may use; 0 is no limit.
        say: is told in a line who was sent away and that there are no workers.
    Raises:
        ClusterError: Dask is not installed, nobody answers at the address, or a worker that has joined
            cannot do such tasks and no other has joined.
    """

    def __init__(
        self, address: str, initializer: Callable, cpu_limit_s: float = 0.0, say: Callable = print
    ):
        if not re.fullmatch(r"((tcp|tls|ucx|wss?)://)?(\[[^]/]+\]|[^/:]+):\d+", address):
            raise ClusterError(
                f"--cluster is '{address}'; it must be an address such as tcp://HOST:8786"
            )
        try:
            from distributed import Security
        except ImportError:
            raise ClusterError("--cluster needs Dask: pip install -r requirements-cluster.txt") from None
        # A lost connection: the search says it.
        for name in ("distributed", "distributed.client", "tornado.application"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            if address.startswith("tls"):
                check_certificates(Security())
            self._client = connect(address)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ClusterError(f"no Dask scheduler at {address} ({reason})") from None
        self._address, self._setup, self._say = address, (initializer, cpu_limit_s), say
        self._executor = self._client.get_executor(pure=False)
        self._open: WeakSet[Future] = WeakSet()
        self._told, self._sent_away = set(), set()
        self._left = Event()
        asked, unfit, fit = carry(try_out.__name__, pickle.dumps(self._setup)), {}, 0
        for worker, answer in self._client.run(*asked, on_error="return").items():
            if isinstance(answer, OSError):
                continue  # it has died meanwhile
            wrong = isinstance(answer, Exception)
            what, _, about, where = ("unfit", None, answer, worker) if wrong else answer
            if what == "unfit":
                unfit[worker] = f"{where}: {about}"
            else:
                fit += 1
                self._compare(about, where)
        if unfit and not fit:
            self._client.close()
            raise ClusterError(f"a Dask worker cannot do this work: {next(iter(unfit.values()))}")
        for worker, why in unfit.items():
            self._send_away(worker, why)
        for watch in (self._watch_scheduler, self._watch_workers):
            Thread(target=watch, daemon=True).start()

    def submit(self, fn: Callable, /, *args) -> Future:
        """Queue fn(*args) for a free worker.

        It may fail with TaskError, WorkerDied or, when the scheduler is lost, ConnectionError.
        """
        if self._client.status == "closed":
            raise ConnectionError(LOST)
        future = Future()
        self._open.add(future)
        self._send(future, pickle.dumps((*self._setup, fn, args)))
        return future

    def _send(self, future: Future, call: bytes, tries: int = TRIES) -> None:
        sent = self._executor.submit(*carry(run.__name__, call))
        sent.add_done_callback(partial(self._receive, future, call, tries))

    def _receive(self, future: Future, call: bytes, tries: int, sent: Future) -> None:
        """Give a future what came of its task, or send the task again."""
        from distributed import KilledWorker

        error = ConnectionError(LOST) if sent.cancelled() else sent.exception()
        try:
            if isinstance(error, KilledWorker):
                return _settle(future, error=WorkerDied(error))
            if error is not None:
                # What is carried raises nothing, so Dask has lost it, for example with who left.
                if self._client.status == "running" and tries > 1:
                    return self._send(future, call, tries - 1)
                return _settle(future, error=error)
            what, value, about, where = sent.result()
            if what == "unfit":
                self._send_away(value, f"{where}: {about}")
                return self._send(future, call)
            self._compare(about, where)
            if what == "failed":
                return _settle(future, error=TaskError(value))
            return _settle(future, pickle.loads(value))
        except Exception as error:
            return _settle(future, error=error)

    def _send_away(self, address: str, why: str) -> None:
        """Have a worker leave for good; until it has, it may be given tasks again."""

        def end():
            with contextlib.suppress(Exception):  # it has left already
                self._client.run(eval, LEAVE, workers=[address])

        if address not in self._sent_away:
            self._sent_away.add(address)
            self._say(f"WARNING: a Dask worker cannot do this work and was sent away: {why}")
            Thread(target=end, daemon=True).start()  # Dask's own thread, which calls this, must not wait

    def _compare(self, there: dict, where: str) -> None:
        """Warn if scores of a worker may differ from those that are made here."""
        if changed := [name for name, value in _conditions().items() if there.get(name) != value]:
            what = ", ".join(f"{name} {there.get(name)}" for name in changed)
            if what not in self._told:
                self._told.add(what)
                self._say(f"WARNING: a Dask worker has another {what}: scores may differ ({where})")

    def _watch_scheduler(self) -> None:
        """Fail what is not done when the scheduler is lost.

        Dask cancels what it knows of, but forgets a result that it was just fetching and a task that
        came while it tried to connect again: those would be waited for until the end of time.
        """
        while not self._left.wait(WATCH_S):
            for future in list(self._open) if self._client.status != "running" else ():
                _settle(future, error=ConnectionError(LOST))

    def _watch_workers(self) -> None:
        """Say it when tasks wait and there is no worker."""
        alone = False
        with contextlib.suppress(Exception):  # the scheduler is lost
            while not self._left.wait(WATCH_S):
                waiting = any(not future.done() for future in list(self._open))
                was_alone, alone = alone, waiting and not self._client.nthreads()
                if alone and not was_alone:
                    self._say(f"no Dask worker at {self._address}; the search waits for some to join")

    def stop(self) -> None:
        """Leave the cluster, whose workers stay; what is queued is dropped with the connection."""
        self._left.set()
        self._client.close()
