"""What must be known of a task before rules are searched for it: does it run, and what do scores mean?

First a dry run, twice, in processes of their own: Adam, tensor by tensor and flat. It finds faults,
batches an epoch, parameters that rest at times, strange gradients, and a score that is not the same
twice. Then the human optimizers train with all rates and to the end. They say when the sweep may end,
by what to choose rates, how far scores go, and how many seeds tell rules apart. A task on which none of
them beats both the untrained network and the trivial predictor, on fresh seeds and beyond their noise,
is refused: what a search finds there is luck.
Nothing to run here. Read next: charlm.py, imports.py and oscillator.py, tasks.
"""

import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
import traceback
from concurrent.futures import Executor
from dataclasses import replace

import torch

from pool import TaskError, WorkerDied, WorkerPool, usable_cores
from results import Say
from rules import HUMAN, NAMED_RULES, first_line
from tasks.own import HERE, OwnTask, TaskConfig, open_task
from training import RandomState, TaskFault, Training, as_number

DRY = "import sys; sys.path.insert(0, sys.argv.pop(1)); from tasks.pilot import dry; dry(*sys.argv[1:])"
ADAM = NAMED_RULES["adam"].rule
NOISE_SEEDS = range(6_000, 6_005)  # far from those of searches and studies
APART = 2.8  # standard deviations of one training by which two must differ to be told apart: 2 sqrt(2)
LUCK = 2.13  # standard errors that a mean of five exceeds by luck once in twenty: Student's t


# --- the dry run ----------------------------------------------------------------------------------


def dry(path: str, seed: str) -> None:
    """Write what is found as JSON, or a fault and its traceback; a process of its own calls it."""
    torch.set_num_threads(1)
    answer, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what the task prints must not get between
    try:
        found = look(path, int(seed))
    except TaskFault as error:  # of ours, so there is nothing to trace
        found = {"fault": str(error)}
    except Exception as error:
        # The frames of the user's file and below it; what leads to it is ours.
        frames = traceback.extract_tb(error.__traceback__)
        first = next((i for i, frame in enumerate(frames) if frame.filename.endswith(path)), 0)
        told = ["Traceback (most recent call last):\n", *traceback.format_list(frames[first:])]
        told += traceback.format_exception_only(error)
        found = {"fault": first_line(error), "traceback": "".join(told)}
    os.write(answer, json.dumps(found).encode())


def look(path: str, seed: int) -> dict:
    """Return what a dry run finds."""
    task, version = open_task(path)
    config = TaskConfig(task=path, epochs=task.epochs, apart=True)
    if not isinstance(task.epochs, int) or task.epochs < 1:
        raise TaskFault(f"epochs is {task.epochs!r}; it must be a whole number, at least 1")
    with RandomState(seed):
        trainable = [p for p in task.model().parameters() if p.requires_grad]
    if not trainable:
        raise TaskFault("no parameter of the model is trainable")
    if any(p.is_complex() for p in trainable):
        raise TaskFault("parameters are complex; rules know real numbers only")
    first = Training(ADAM, 1e-3, config, seed)
    names = {p: name for name, p in first.net.named_parameters()}
    with first.random:
        first.net.eval()
        untrained = as_number(task.score(first.net))
        trivial = None if (known := task.trivial()) is None else as_number(known)
        first.net.train()
    if not math.isfinite(untrained):
        raise TaskFault(f"the score of the untrained network is {untrained}")
    if trivial is not None and not math.isfinite(trivial):
        raise TaskFault(f"the score of the trivial predictor is {trivial}")
    steps, sizes = 0, []
    with first.random:
        for batch in task.batches(first.net, seed, 0):
            first.weights.zero()
            loss = task.loss(first.net, batch)
            if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
                raise TaskFault("loss must return a tensor of one number, with its graph")
            if not loss.isfinite():
                raise TaskFault(f"the loss is {loss.item()} at step {steps}")
            loss.backward()
            first.weights.take_gradients()
            if steps < 20:
                got = [p.grad for p in first.weights.parameters if p.grad is not None]
                sizes.append(torch.cat([g.float().abs().flatten() for g in got])[:100_000])
            first.optimizer.step()
            steps += 1
    if not steps:
        raise TaskFault("batches has given none")
    while len(first.curve) < task.epochs and first.epoch() is not None:
        pass  # what rests may do so in later epochs alone
    rested = first.weights.rested
    coarse = {str(p.dtype) for p in names} & {"torch.bfloat16", "torch.float16"}
    apart = bool(rested) or len({p.dtype for p in first.weights.parameters}) > 1 or bool(coarse)
    config = replace(config, apart=apart, steps=steps)
    second, third = (Training(ADAM, 1e-3, config, seed) for _ in range(2))
    score, sizes = second.epoch(), torch.cat(sizes)
    second.weights.take_gradients()  # which the score may have moved
    if (again := third.epoch()) != score:
        what = "the task keeps something that training changes, such as a generator made in __init__"
        raise TaskFault(f"the same seed gives scores of {score} and {again} one after another: {what}")
    return {
        "version": version,
        "score_name": f"minus {task.score_name}" if task.lower_is_better else task.score_name,
        "sign": -1 if task.lower_is_better else 1,
        "epochs": task.epochs,
        "steps": steps,
        "apart": apart,
        "rested": sorted(names[p] for p in rested),
        "untrained": untrained,
        "trivial": trivial,
        "score": score,
        "parameters": sum(p.numel() for p in first.weights.parameters),
        "median gradient": float(sizes[sizes > 0].median()) if (sizes > 0).any() else 0.0,
        "zero gradients": float((sizes == 0).float().mean()),
    }


def dry_run(config: OwnTask) -> dict:
    """Return what the dry run finds; in two processes, whose strings have different hashes.

    Raises:
        TaskFault: the task's own code failed, whose traceback was printed, or scores differ.
    """
    command = [sys.executable, "-c", DRY, str(HERE), config.task, str(config.child_seed)]
    found = []
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        try:
            limit = config.cpu_limit_s or None
            done = subprocess.run(
                command, capture_output=True, text=True, env=environment, timeout=limit
            )
        except subprocess.TimeoutExpired:
            what = f"its dry run has not ended within --cpu-limit-s, {config.cpu_limit_s:g} seconds"
            raise TaskFault(f"{config.task}: {what}; do its batches end?") from None
        code = f"it ended with exit code {done.returncode} and no word"
        answer = json.loads(done.stdout or json.dumps({"fault": code, "traceback": done.stderr}))
        if "fault" in answer:
            print(answer.get("traceback", ""), end="", file=sys.stderr)
            raise TaskFault(f"{config.task} failed in its dry run: {answer['fault']}")
        found.append(answer)
    one, two = found
    if apart := [name for name in one if one[name] != two[name]]:
        told = ", ".join(f"{name} {one[name]} and {two[name]}" for name in apart[:3])
        why = "a set of strings and numbers drawn without torch, numpy or random differ like this"
        raise TaskFault(f"the same seed gives in two processes {told}; {why}")
    return one


# --- the pilot ------------------------------------------------------------------------------------


def whole_curve(rule: str, lr: float, config: TaskConfig, seed: int) -> dict:
    """Train to the end, also where an epoch is worse than nothing; a worker calls it."""
    start_s, training = time.process_time(), Training(rule, lr, config, seed)
    before = [p.detach().clone() for p in training.weights.parameters]
    untrained, losses = training.score(), []
    while len(losses) < config.epochs and training.epoch() is not None:
        losses.append(training.loss)
    changed = sum(
        int((p.detach() != b).sum()) for p, b in zip(training.weights.parameters, before, strict=True)
    )
    lost = [None] * (config.epochs - len(losses))
    return {
        "lr": lr,
        "untrained": untrained,
        "scores": [*training.curve[: len(losses)], *lost],
        "losses": [*losses, *lost],
        "moved": changed / sum(p.numel() for p in before),
        "cpu_s": time.process_time() - start_s,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if MAC else 1e3),
    }


MAC = sys.platform == "darwin"  # where the peak is in bytes


def regret(curves: dict[str, list[dict]], epochs: int, by: str, worst: float) -> float:
    """Return what is lost by choosing a rate after so many epochs, as a mean over rules."""
    lost = []
    for some in curves.values():
        ends = [worst if one["scores"][-1] is None else one["scores"][-1] for one in some]
        values = [one["scores" if by == "score" else "losses"][epochs - 1] for one in some]
        signed = [-math.inf if value is None else value if by == "score" else -value for value in values]
        lost.append(max(ends) - ends[signed.index(max(signed))])
    return statistics.fmean(lost)


def measure(config: OwnTask, say: Say) -> OwnTask:
    """Return the config with all that the dry run and the pilot find, which they say on the way.

    Raises:
        TaskFault: the task fails, differs from itself, or no human optimizer learns it.
    """
    say(f"dry run of {config.task}, twice")
    found = dry_run(config)
    names = ("version", "score_name", "epochs", "steps", "apart")
    config = replace(config, **{name: found[name] for name in names},
                     gradients=max(1.0, found["median gradient"]))  # fmt: skip
    if config.sweep_epochs > config.epochs:
        raise TaskFault(f"--sweep-epochs is {config.sweep_epochs}; the task trains {config.epochs}")
    say(f"  {found['parameters']:,} parameters, {config.steps} batches an epoch, {config.epochs} epochs")
    median, zeros = found["median gradient"], found["zero gradients"]
    say(f"  gradients have a median of {median:.2g}, and {zeros:.0%} are exactly 0")
    if median > 1:
        say("  that is large: operands such as g^2 and g^3 know little else; better scale the loss")
    if found["rested"]:
        say(f"  without gradient at some steps, where they rest: {', '.join(found['rested'][:5])}")
    pool = WorkerPool(usable_cores(), config.cpu_limit_s, initializer=config.prepare, preload=("child",))
    try:
        return weigh(config, found, pool, say)
    except (TaskError, WorkerDied) as error:
        print(error, file=sys.stderr)
        raise TaskFault(f"{config.task} failed in training: {error.reason}") from None
    finally:
        pool.stop()


def weigh(config: OwnTask, found: dict, executor: Executor, say) -> OwnTask:
    """Train the human optimizers and say what their scores mean."""
    say("pilot: SGD, Momentum, RMSProp and Adam with all rates, to the end")
    rates = [10.0**exponent for exponent in sorted(config.lr_exponents)]
    rules = {name: NAMED_RULES[name].rule for name in HUMAN}

    def train(rule: str, lr: float, seed: int):
        return executor.submit(whole_curve, rule, lr, replace(config, sweep_epochs=1), seed)

    jobs = {name: [train(rule, lr, config.child_seed) for lr in rates] for name, rule in rules.items()}
    curves = {name: [job.result() for job in some] for name, some in jobs.items()}
    end = lambda one: -math.inf if one["scores"][-1] is None else one["scores"][-1]  # noqa: E731
    best = {name: max(some, key=end) for name, some in curves.items()}
    winner = max(HUMAN, key=lambda name: end(best[name]))
    # The winner's own end is the best of many, in part by luck: other seeds tell how good it is.
    again = [train(rules[winner], best[winner]["lr"], seed) for seed in NOISE_SEEDS]
    again = [one for job in again if (one := job.result())["scores"][-1] is not None]
    if len(again) < 2:
        what = f"no human optimizer trains to the end: {winner.upper()}, the best, mostly diverges"
        raise TaskFault(f"{config.task}: {what} on fresh seeds")
    ends, starts = [one["scores"][-1] for one in again], [one["untrained"] for one in again]
    human, noise, untrained = statistics.fmean(ends), statistics.stdev(ends), statistics.fmean(starts)
    trivial = () if found["trivial"] is None else (found["sign"] * found["trivial"],)
    floor, chance = min(untrained, *trivial, math.inf), max(untrained, *trivial, -math.inf)
    told = f"untrained {untrained:.5g}" + (f", trivial {trivial[0]:.5g}" if trivial else "")
    people = [f"{name.upper()} {end(best[name]):.5g} at {best[name]['lr']:g}" for name in HUMAN]
    say(f"  {config.score_name} (higher is better): {told}, {', '.join(people)}")
    fresh = f"{winner.upper()} on {len(again)} fresh seeds {human:.5g}, standard deviation {noise:.3g}"
    say(f"  {fresh}")
    rises = [e - max(start, *trivial, -math.inf) for e, start in zip(ends, starts, strict=True)]
    if statistics.fmean(rises) <= LUCK * statistics.stdev(rises) / math.sqrt(len(rises)):
        raise TaskFault(
            f"no human optimizer beats both the untrained network and the trivial predictor in "
            f"{config.task} ({told}, {fresh}): what a search finds there is luck. More epochs?"
        )
    span = human - chance
    # A training that ends as far below the start as the best ends above it has failed.
    config = replace(config, untrained=untrained, trivial=trivial, noise=noise, human=human,
                     failure=floor - (human - floor))  # fmt: skip
    lengths = [config.sweep_epochs] if config.sweep_epochs else range(1, config.epochs + 1)
    ways = ["score", "loss"] if config.rate_by == "auto" else [config.rate_by]
    tried = [(k, by, regret(curves, k, by, floor)) for k in lengths for by in ways]
    fine = [one for one in tried if one[2] <= max(0.05 * span, noise / 4)]
    length, by, lost = fine[0] if fine else min(tried, key=lambda one: one[2])
    config = replace(config, sweep_epochs=length, rate_by=by)
    say(
        f"  rates are chosen by {by} after {length} of {config.epochs} epochs,\n"
        f"  which costs {lost:.3g} of the score on average"
    )
    if (length, by) != (1, "score"):
        say(f"  chosen by score after one epoch they would cost {regret(curves, 1, 'score', floor):.3g}")
    seeds = max(1, math.ceil((APART * noise / (0.1 * span)) ** 2))
    say(
        f"  noise: two rules trained once can be told apart if they differ by {APART * noise:.3g};\n"
        f"  from nothing learned to {winner.upper()} it is {span:.3g}.\n"
        f"  To tell a tenth of that takes {seeds} seed{'s' * (seeds != 1)} a rule (--replicates {seeds})"
    )
    if stuck := [f"{one['lr']:g}" for one in curves["sgd"] if one["moved"] < 0.02]:
        say(f"  SGD leaves nearly all weights as they were at {', '.join(stuck)}: too small a step")
    every = [one for some in curves.values() for one in some]
    seconds = statistics.fmean(one["cpu_s"] for one in every) / config.epochs
    each = seconds * (length * (len(rates) - 1) + config.epochs)
    memory = max(one["megabytes"] for one in every)
    say(f"  about {each:.1f} core-seconds a rule; a worker needs {memory:.0f} MB")
    return config
