"""Small run folders of search.py, as figures and studies read them."""

import json
import random
from dataclasses import asdict, fields
from pathlib import Path

from helpers import Config

import results
from dsl import SearchSpace

SPACE = SearchSpace(1)
RATES = [10.0**exponent for exponent in range(-5, 2)]
START_S = 1_790_000_000.0
PEOPLE = {"sgd": 0.702, "momentum": 0.705, "rmsprop": 0.706, "adam": 0.789}  # three are close together
NO_TIMES = {"start_s": None, "wall_s": None, "cpu_s": None, "worker": None}


def job(rng: random.Random, reward: float | None, worker: int, start_s: float, wall_s: float) -> dict:
    """Return what a record says of a training; None for one that diverged at every rate."""
    done = {"status": "diverged", "reward": 0.0, "lr": None, "curve": []}
    done |= {"sweep": [[rate, None] for rate in RATES]}
    if reward is not None:
        sweep = [[rate, rng.uniform(0.05, 0.9 * reward)] for rate in RATES[:5]]
        done |= {"status": "ok", "reward": reward, "lr": 1.0}
        done |= {"sweep": [*sweep, [1.0, 0.95 * reward], [10.0, None]]}
        done |= {"curve": [reward * share for share in (0.95, 0.9, 0.97, 0.98, 1.0)]}
    done |= {"error": None, "start_s": start_s, "wall_s": wall_s, "cpu_s": wall_s}
    return done | {"worker": f"worker-{worker}"}


def make_run(
    folder: Path, samples=40, seed=0, people=PEOPLE, pause_s=0.0, workers=3, begun=False, **settings
) -> Path:
    """Write a run folder with trained, diverged and timed-out rules and duplicates of both.

    Settings that search.py does not have are written into config.json, as other versions did.
    """
    preset = {"dataset": "fashion-mnist-sample", "precision": "float32", "downsample": "stride"}
    known = {field.name for field in fields(Config)} & settings.keys()
    preset |= {"samples": 100 if begun else samples, "seed": seed, "iterations": 1}
    config = Config(**preset | {name: settings[name] for name in known})
    rng, free_s = random.Random(seed), [START_S] * workers
    rules = random.Random(f"{config.algorithm} {seed}")
    with results.Run.create(folder, asdict(config) | settings, {"command": "test"}) as run:

        def training(reward: float | None) -> dict:
            worker = free_s.index(min(free_s))
            wall_s = rng.uniform(1, 3)
            free_s[worker] += wall_s + 0.25
            return job(rng, reward, worker, free_s[worker] - wall_s - 0.25, wall_s)

        for name, reward in people.items():
            run.append("humans.jsonl", {"name": name, "rule": "g 1 id id mul", **training(reward)})
        records = []
        for id in range(samples):
            if id == samples // 2:
                free_s = [max(free_s) + pause_s] * workers
            formula = " - ".join([f"g * exp({id} * m)"] * config.iterations**3)
            rule = {"id": id, "batch": id // 5, "rule": str(SPACE.sample(rules)), "infix": formula}
            key = f"{config.algorithm} {seed} {id}"
            rule |= {"key": key, "seed": config.child_seed, "cached_from": None}
            if id % 7 == 3:
                old = records[id // 2]
                of = old["id"] if old["cached_from"] is None else old["cached_from"]
                rule = {**old, "id": id, "batch": id // 5, "cached_from": of, **NO_TIMES}
            elif id == 8:
                timeout = {"status": "timeout", "error": "600 s of CPU time", **NO_TIMES}
                rule |= job(rng, None, 0, 0, 0) | timeout | {"sweep": []}
            else:
                junk = rng.random() < 0.6
                reward = rng.uniform(0.05, 0.15) if junk else rng.uniform(0.5, 0.8)
                rule |= training(None if id % 6 == 5 else reward)
            records.append(rule)
            run.append("records.jsonl", rule)
        for number in range(samples // 5 * (config.algorithm not in ("random", "evolution"))):
            update = {"update": number, "samples": 5 * number + 5}
            update["distinct_keys" if seed else "families"] = 1 - number / samples  # as earlier versions
            update |= {"kl": 0.0 if number == 2 else rng.uniform(0.004, 0.009), "accepted": number != 2}
            update["entropy"] = [rng.uniform(1, 2) for _ in range(5 * config.iterations)]
            run.append("updates.jsonl", update)
    if begun:  # as a reader sees it while a line is being written
        for path in folder.glob("*.jsonl"):
            path.write_bytes(path.read_bytes() + b'{"id": 9, "rewa')
    return folder


def rewrite_config(folder: Path, change: dict, *lost: str) -> Path:
    """Change config.json, as if another version had written it."""
    config = json.loads((folder / "config.json").read_text())
    kept = {name: value for name, value in config.items() if name not in lost} | change
    (folder / "config.json").write_text(json.dumps(kept))
    return folder


def rewrite_records(folder: Path, rows: list[dict]) -> Path:
    """Replace records.jsonl."""
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
