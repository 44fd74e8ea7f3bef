"""One part of a checkout measured, in a process of its own inside the checkout's folder.

against.py runs this file here and there, also in commits that never had it. So it knows where names
lived earlier, and scripts by their command lines. It prints a line of JSON: a number for each quantity,
and for each rule its score. Read next: against.py.
"""

import contextlib
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

STEPS, EPOCHS = 20, 6  # of a training whose steps are timed; the first epoch does not count
BATCHES = 8  # of a controller, of which two do not count
PROPOSERS = "loop", "search", "proposer"  # where what proposes rules stands, and stood
FULL = 10_000  # images in an epoch; in one of fewer no rate is stopped


def find(name: str, *modules: str):
    """Return what the first of some modules that has it calls so."""
    for module in modules:
        try:
            return getattr(import_module(module), name)
        except (ModuleNotFoundError, AttributeError) as error:
            if isinstance(error, ModuleNotFoundError) and not module.startswith(error.name):
                raise  # something that the module needs
    raise LookupError(f"no {name} in {', '.join(modules)}")


def cpu_s(fn: Callable, *args) -> float:
    """Return the CPU seconds of a call."""
    start_s = time.process_time()
    fn(*args)
    return time.process_time() - start_s


def child(asked: dict, **settings):
    """Return the config of a child on the pictures that are asked for."""
    config, resolve = find("ChildConfig", "child"), find("resolve_precision", "child")
    return config(dataset=asked["dataset"], data=asked["data"], precision=resolve("auto"), **settings)


def step(asked: dict) -> dict:
    """Return the time of a training step, of the child with strides and of the paper's."""
    training, found = find("Training", "training", "child"), {}  # it was in child.py once
    for downsample in ("stride", "pool"):
        config = child(asked, downsample=downsample, epoch_size=100 * STEPS, num_validation=1)
        mine = training("sign_g sign_m id id mul | r1 g exp id mul", 1e-3, config, 0)
        times = [cpu_s(mine.epoch) / STEPS for _ in range(EPOCHS)]
        found[f"step: {downsample}, ms"] = 1e3 * statistics.median(times[1:])
    return found


def score(asked: dict) -> dict:
    """Score rules by the protocol; return their mean time, and each one's score, None if it failed."""
    evaluate = find("evaluate_rule", "training", "child")
    sizes = {name: asked[name] for name in ("epoch_size", "num_validation")}
    config = child(asked, downsample="stride", **sizes)
    evaluate("g g id id left", child(asked, epoch_size=100, num_validation=1), 0)  # to warm up
    done = {rule: evaluate(rule, config, asked["round"]) for rule in asked["rules"]}
    scores = {rule: result.accuracy for rule, result in done.items()}
    return {"score: a rule, s": statistics.mean(x.cpu_s for x in done.values()), "scores": scores}


def parent(asked: dict) -> dict:
    """Return the time of a batch: sampling of 16 candidates a rule, their identity, TRPO's update."""
    settings = find("ProposerConfig", *PROPOSERS)
    make_space, make = (find(f"make_{what}", *PROPOSERS) for what in ("space", "proposer"))
    identity, found = [], {}
    with contextlib.suppress(LookupError):  # earlier versions have one for all
        identity = [find("Child", "child")().identity()]
    for depth in (1, 2):
        config = settings(iterations=depth, candidates=16, max_kl=0.01)
        mine = make(config, make_space(config), *identity)
        times = [cpu_s(lambda: mine.tell(mine.ask(5), [1, 2, 3, 4, 5])) for _ in range(BATCHES)]  # noqa: B023
        found[f"parent: a batch, depth {depth}, ms"] = 1e3 * statistics.mean(times[2:])
    return found


def micro(asked: dict) -> dict:
    """Return the time of a rule and seed of NOS-Bench's child."""
    measure, rules = find("measure", "nosbench.micro", "micro"), asked["micro_rules"]
    measure(rules[:1], 0)
    return {"micro: a rule, ms": 1e3 * cpu_s(measure, rules, 0) / len(rules)}


# --- a search from outside ------------------------------------------------------------------------


def flags(asked: dict, *more: str) -> list[str]:
    """Return the flags of a search in the paper's space with a child of the sizes asked for."""
    names = ("dataset", "data", "epoch_size", "num_validation", "workers")
    return [f"--{name.replace('_', '-')}={asked[name]}" for name in names] + list(more)


def records(folder: str) -> list[dict]:
    """Return the whole lines of a run's records."""
    path = Path(folder, "records.jsonl")
    return [json.loads(x) for x in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


@contextlib.contextmanager
def running(*command: str) -> Iterator[tuple[subprocess.Popen, Callable[[], str]]]:
    """Run Python; yield its process, and what tells the last line that it wrote to standard error."""
    with tempfile.TemporaryFile("w+") as errors:

        def last() -> str:
            errors.seek(0)
            return (errors.read().strip().splitlines() or [f"{command[0]} failed"])[-1]

        yield (
            subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=errors),
            last,
        )


def until(status: str, *flags: str) -> tuple[float, float, dict]:
    """Run search.py until a status, or any, is recorded; return when it began to work, that time, it."""
    with tempfile.TemporaryDirectory() as temporary:
        found, start_s, run = [], time.time(), f"{temporary}/run"
        with running("search.py", *flags, "--out", run) as (search, last):
            while not any(status in line["status"] for line in found):
                if search.poll() is not None:
                    raise RuntimeError(last())
                time.sleep(0.01)
                found, end_s = records(run), time.time()
            search.terminate()
            search.wait()
    task_s = min(line["start_s"] for line in found if line["start_s"])  # of a repeat it is None
    return task_s - start_s, end_s - start_s, next(x for x in found if status in x["status"])


def start(asked: dict) -> dict:
    """Return when a child is imported, and when a search's first task begins and its first record is."""
    start_s = time.time()
    subprocess.run([sys.executable, "-c", "import child"], check=True)
    found = {"start: child imported, s": time.time() - start_s}
    task_s, record_s, _ = until("", "--preset", "smoke", "--data", asked["data"])
    return found | {"start: first task, s": task_s, "start: first record, s": record_s}


def first(asked: dict) -> dict:
    """Return when many workers' first training is recorded, from the first task on, by its own time."""
    task_s, record_s, record = until("ok", *flags(asked, "--downsample", "stride"))
    return {"first: record / its CPU time": (record_s - task_s) / record["cpu_s"]}


def held(pid: int) -> dict[int, float]:
    """Return the MB of a process and of all below it, each its part of what they share, by process."""
    with contextlib.suppress(OSError):
        below = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
        mine = re.search(r"\nPss: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())
        others = (held(int(child)) for child in sum(below, []))
        return {pid: int(mine[1]) / 1e3} | {pid: mb for some in others for pid, mb in some.items()}
    return {}


def memory(asked: dict) -> dict:
    """Return the most memory of a search in a time in which all workers work.

    Epochs are so long that rates are stopped in them. So many batches are in flight that there is a rule
    for every worker, however many are alike.
    """
    workers, most, end_s = asked["workers"], 0.0, math.inf
    many = f"import pool, runpy; pool.usable_cores = lambda: {workers}; "
    many += "runpy.run_path('search.py', run_name='__main__')"  # workers import that, too
    more = [f"--samples={100 * workers}", f"--lag={2 * workers // 5}", "--no-screen"]
    how = ["-c", many, *flags(asked | {"epoch_size": FULL}, *more), "--downsample=stride"]
    with tempfile.TemporaryDirectory() as room, running(*how, f"--out={room}/run") as (search, last):
        while time.time() < end_s:
            if search.poll() is not None:
                raise RuntimeError(last())
            time.sleep(1)
            now = held(search.pid)
            most = max(most, sum(now.values()))
            if len(now) > workers:  # and the search itself
                end_s = min(end_s, time.time() + asked["look_s"])
        search.terminate()
        search.wait()
    return {"memory: by worker, MB": most / workers}


def spent(*command: str) -> tuple[float, float]:
    """Run Python; return the CPU seconds and the most memory in MB of its process."""
    with running(*command) as (process, last):
        _, code, used = os.wait4(process.pid, 0)
        process.returncode = code
        if code:
            raise RuntimeError(last())
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3


def search(asked: dict) -> dict:
    """Return the core-seconds of the paper's search with the strided child: its worker's, and all.

    TRPO's radius is 0.01 in every version, so that all sample alike; also what the best ten rules score.
    """
    with tempfile.TemporaryDirectory() as temporary:
        how = ["--downsample=stride", "--max-kl=0.01", f"--samples={asked['samples']}", "--workers=1"]
        own_s, _ = spent("search.py", *flags(asked, *how), f"--out={temporary}/run")
        lines = records(f"{temporary}/run")
    worker_s = sum(line["cpu_s"] or 0 for line in lines)
    best = sorted((line["reward"] for line in lines if line["cached_from"] is None), reverse=True)[:10]
    found = {"search: worker, core-s": worker_s, "search: all, core-s": worker_s + own_s}
    return found | {"search: mean reward of the ten best": statistics.mean(best)}


def growth(asked: dict) -> dict:
    """Search a table for many records, resume that, draw it; return CPU seconds and memory of each."""
    room = Path("nosbench").exists()
    script, first = (["-m", "nosbench.search"], []) if room else (["search.py"], ["--preset", "table"])
    with tempfile.TemporaryDirectory() as temporary:
        run, records = f"{temporary}/run", Path(temporary, "run", "records.jsonl")
        first += ["--algorithm", "random", "--samples", str(asked["records"]), "--out", run]
        uses = {"search": spent(*script, *first)}
        records.write_bytes(b"".join(records.read_bytes().splitlines(keepends=True)[:-1]))
        uses["resume"] = spent(*script, "--resume", run)
        for figure in ("learning_curve", "hall_of_fame", "timeline", "report"):
            kind = "html" if figure == "report" else "png"
            uses[figure] = spent("-m", f"plots.{figure}", run, "-o", f"{temporary}/{figure}.{kind}")
    units = [(f"growth: {what}", *numbers) for what, numbers in uses.items()]
    return {f"{n}, s": s for n, s, _ in units} | {f"{n}, MB": mb for n, _, mb in units}


PARTS = (step, score, search, parent, micro, start, first, memory, growth)
PARTS = {part.__name__: part for part in PARTS}


def main(part: str, asked: str) -> None:
    """Measure a part with settings as JSON, print what was found."""
    if part in ("step", "score", "parent", "micro"):  # what computes here
        import_module("torch").set_num_threads(1)
    print(json.dumps(PARTS[part](json.loads(asked))))
