"""Race optimizers down the Rosenbrock valley: torch's own against rules of the paper.

Neural Optimizer Search, Bello et al., ICML 2017, section 4.2. The function is
f(x, y) = (1 - x)^2 + 100 (y - x^2)^2, a long bent valley that leads to the minimum, 0 at (1, 1).
All get the same start, number of steps and learning rates; the best run of each is compared. In the
paper (recalled), the found rule beat Adam, RMSProp and SGD and came close to Momentum.

    python rosenbrock.py                                           # about 20 s
    python rosenbrock.py --rule addsign --rule "g m id id add"     # other rules than the default ones
    python rosenbrock.py --found RUN --starts 10                   # a search's hall of fame, ten starts
    python -m plots.rosenbrock runs/FOLDER                         # draw the figure again

Writes a run folder: records.jsonl (a line a run), paths.jsonl (a line a winner, from the first start),
order.csv if there are several starts, log.txt and the figure. Who wins here says little about
networks. Read next: child.py, which trains one with a rule.
"""

import dataclasses
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import results
from config import ConfigError, Parser, add_settings, resolve, setting
from dsl import Rule, RuleError
from progress import Progress
from rules import HUMAN, NAMED_RULES, find, make_optimizer

# UNSPECIFIED: which found rule the paper took. Ours were picked knowing the result, so they flatter:
RULES = ("powersign", "powersign-adam", "g-plus-m")
PICKED = """\
The default rules were picked after a race, with the default settings, of all 16 that the paper
reports (recalled): they are its best three, one near copy of powersign left out. Of the 16, three
diverged at every rate and four never left the start."""
THRESHOLDS = ("1e-2", "1e-4", "1e-6", "1e-8")  # a record says when f first fell below each
TUNED = "Adam, tuned eps"


@dataclasses.dataclass(frozen=True)
class Config:
    iterations: int = setting(4_000, "steps of a run (paper, recalled)", low=1, high=10**5)
    # UNSPECIFIED: the four rates, and the start; ours is the function's customary one.
    rates: tuple[float, ...] = setting(
        (1e-4, 1e-3, 1e-2, 1e-1), "learning rates", low=1e-12, high=1e6, least=1
    )
    start_x: float = setting(-1.2, "x of the start", low=-100, high=100)
    start_y: float = setting(1.0, "y of the start", low=-100, high=100)
    starts: int = setting(
        1, "starts; all but the first are drawn from the plane around", low=1, high=1000
    )
    adam_eps: tuple[float, ...] = setting(
        (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8),
        "values of eps that Adam is tuned over",
        low=0,
        high=1,
        least=1,
    )
    momentum: float = setting(0.9, "decay of Momentum", low=0, high=1)
    seed: int = setting(0, "of random rules, the same in every run", low=0, high=2**63 - 1)


class Contestant(NamedTuple):
    name: str
    rule: str | None  # None for torch's own optimizers
    make: Callable[..., torch.optim.Optimizer]  # called as make(params, lr=...)


def contestants(config: Config, rules: list[str]) -> list[Contestant]:
    """Return torch's optimizers, then the rules, each a name or a rule string.

    Raises:
        RuleError: a rule is neither.
    """
    # DEVIATION: torch's settings, not TensorFlow's (RMSProp: decay 0.99 instead of 0.9).
    optim = torch.optim
    entries = [
        Contestant("SGD", None, optim.SGD),
        Contestant("Momentum", None, partial(optim.SGD, momentum=config.momentum)),
        Contestant("RMSProp", None, optim.RMSprop),
        Contestant("Adam", None, optim.Adam),
        *(Contestant(TUNED, None, partial(optim.Adam, eps=eps)) for eps in config.adam_eps),
    ]
    named = {}
    for text in rules:
        rule = find(text)
        if rule.key() in {Rule.parse(entry.rule).key() for entry in named.values()}:
            continue  # another spelling of one that is there
        name = text.strip().lower() if text.strip().lower() in NAMED_RULES else rule.infix()
        name += " (rule)" if name.lower() in [entry.name.lower() for entry in entries] else ""
        make = partial(make_optimizer, rule, seed=config.seed, total_steps=config.iterations)
        named[name] = Contestant(name, str(rule), make)
    return entries + list(named.values())


# --- one run --------------------------------------------------------------------------------------


def rosenbrock(x, y):
    """Return f(x, y) = (1 - x)^2 + 100 (y - x^2)^2 of numbers, arrays or tensors."""
    # Products, because a power of a large Python float raises instead of giving infinity.
    return (1 - x) * (1 - x) + 100 * (y - x * x) * (y - x * x)


def gradient(x, y):
    """Return (df/dx, df/dy)."""
    return -2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)


def descend(optimizer: torch.optim.Optimizer, w: torch.Tensor, iterations: int) -> np.ndarray:
    """Minimise f over w, float64 [2], and return the points on the way with their values.

    Returns:
        float64 [iterations + 1, 3]: x, y, f from the start on; a run that diverges ends early, with
        the first point whose f is not finite.
    """
    path = []
    while True:
        x, y = w.tolist()
        path.append((x, y, rosenbrock(x, y)))
        if len(path) > iterations or not math.isfinite(path[-1][2]):
            return np.array(path)
        w.grad = torch.tensor(gradient(x, y), dtype=torch.float64)
        optimizer.step()


def measure(path: np.ndarray) -> dict:
    """Return what a record says about a path [N, 3]: where it ended and how soon it was close."""
    x, y, value = path[-1].tolist()
    below = {text: path[:, 2] < float(text) for text in THRESHOLDS}
    return {
        "status": "ok" if math.isfinite(value) else "diverged",
        "steps": len(path) - 1,
        "final_value": value,
        "lowest_value": float(np.nanmin(path[:, 2])),
        "distance": math.hypot(x - 1, y - 1),
        "steps_below": {text: int(hit.argmax()) if hit.any() else None for text, hit in below.items()},
    }


def best(records: list[dict]) -> dict | None:
    """Return the record with the lowest final value, the smaller rate if tied; None if all diverged."""
    finite = [record for record in records if record["status"] == "ok"]
    return min(finite, key=lambda record: (record["final_value"], record["lr"]), default=None)


def thin(path: np.ndarray) -> dict[str, list]:
    """Return a path's first 200 points and some 600 later ones as columns."""
    last = len(path) - 1
    spread = (np.arange(min(200, last) + 1), np.geomspace(1, last, 200), np.linspace(0, last, 401))
    kept = np.unique(np.concatenate(spread).round().astype(int))
    x, y, value = path[kept].T.tolist()
    return {"iteration": kept.tolist(), "x": x, "y": y, "value": value}


# --- all runs -------------------------------------------------------------------------------------


def race(config: Config, entries: list[Contestant], run: results.Run, progress: Progress) -> list[dict]:
    """Run every contestant at every rate, write records and the winners' paths, return the records."""
    records, paths, total = [], [], config.starts * len(entries) * len(config.rates)
    for number, start in enumerate(starting_points(config)):
        for entry in entries:
            for lr in config.rates:
                progress.update(f"run {len(records) + 1} of {total}: {entry.name}, rate {lr:g}")
                w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
                optimizer = entry.make([w], lr=lr)
                path = descend(optimizer, w, config.iterations)
                paths += [path] if number == 0 else []
                who = {"id": len(records), "start": number, "start_x": start[0], "start_y": start[1]}
                who |= {"name": entry.name, "rule": entry.rule, "lr": lr}
                records.append({**who, "eps": optimizer.defaults.get("eps"), **measure(path)})
                run.append("records.jsonl", records[-1])
    for runs in by_name(records[: len(paths)]).values():
        if winner := best(runs):
            run.append("paths.jsonl", {**winner, **thin(paths[winner["id"]])})
    return records


def starting_points(config: Config) -> list[tuple[float, float]]:
    """Return the starts: the configured one, then uniform draws from [-2, 2] x [-1, 3]."""
    drawn = np.random.default_rng(config.seed).uniform((-2, -1), (2, 3), size=(config.starts - 1, 2))
    return [(config.start_x, config.start_y), *map(tuple, drawn.tolist())]


def order(records: list[dict]) -> list[dict]:
    """Return a row an optimizer, best mean rank first: from each start its best run counts.

    Equal values share the mean of their ranks; those that diverged at every rate come last. `wins` are
    the starts from which none is better, `solved` those from which its final value is below 1e-4.
    """
    names, values = list(by_name(records)), []  # values: [starts, optimizers]
    for start in sorted({record["start"] for record in records}):
        groups = by_name([record for record in records if record["start"] == start])
        winners = [best(runs) for runs in groups.values()]
        values.append([math.inf if winner is None else winner["final_value"] for winner in winners])
    final = np.array(values)
    below = (final[:, None, :] < final[:, :, None]).sum(2)  # how many are better
    equal = (final[:, None, :] == final[:, :, None]).sum(2)
    ranks = below + (equal + 1) / 2
    rows = [
        {
            "name": name,
            "mean_rank": float(ranks[:, i].mean()),
            "wins": int((below[:, i] == 0).sum()),
            "solved": int((final[:, i] < 1e-4).sum()),
            "median_value": float(np.median(final[:, i])),
        }
        for i, name in enumerate(names)
    ]
    return sorted(rows, key=lambda row: row["mean_rank"])


def order_table(rows: list[dict], starts: int) -> str:
    """Return the order as text."""
    lines = [f"{'mean rank':>9}{'wins':>6}{'solved':>8}{'median f':>10}  optimizer, of {len(rows)}"]
    for row in rows:
        numbers = (
            f"{row['mean_rank']:>9.1f}{row['wins']:>6}{row['solved']:>8}{row['median_value']:>10.1e}"
        )
        lines.append(f"{numbers}  {row['name']}")
    return "\n".join([f"Order over {starts} starts; solved: f below 1e-4 at the end.", "", *lines])


def found_rules(folder: Path) -> list[str]:
    """Return the rules of a search's hall of fame that are not SGD, Momentum, RMSProp or Adam.

    Raises:
        RunError: it has none.
    """
    people = {Rule.parse(NAMED_RULES[name].rule).key() for name in HUMAN}
    best = results.best_distinct(results.read_records(folder), 100)
    rules = [record["rule"] for record in best if Rule.parse(record["rule"]).key() not in people]
    if not rules:
        raise results.RunError(f"{folder} is no run of search.py, or none of its rules has trained yet")
    return rules


def by_name(records: list[dict]) -> dict[str, list[dict]]:
    """Group records by the optimizer's name, in order."""
    names = dict.fromkeys(record["name"] for record in records)
    return {name: [record for record in records if record["name"] == name] for name in names}


def table(config: Config, records: list[dict]) -> str:
    """Return the final values as text: a row an optimizer, best first, * at the run that counts."""

    def row(name: str, runs: list[dict]) -> tuple[float, list[str]]:
        winner, cells = best(runs), []
        for lr in config.rates:
            cell = best([record for record in runs if record["lr"] == lr])
            mark = "*" if cell and cell is winner else " "
            cells.append(f"{cell['final_value']:.1e}{mark}" if cell else "diverged ")
        if winner is None:
            return math.inf, [name, *cells, "-", "-"]
        below = winner["steps_below"]["1e-4"]
        cells += [f"{winner['lowest_value']:.1e}", "-" if below is None else f"{below:,}"]
        return winner["final_value"], [name, *cells]

    groups = by_name(records)
    rows = [cells for _, cells in sorted(row(*item) for item in groups.items())]
    for eps in config.adam_eps:
        rows.append(row(f"Adam, eps {eps:g}", [r for r in groups[TUNED] if r["eps"] == eps])[1])
    head = ["optimizer", *(f"{lr:g} " for lr in config.rates), "lowest f", "f < 1e-4"]
    left, *others = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join([name.ljust(left), *map(str.rjust, cells, others)]) for name, *cells in (head, *rows)
    ]
    for place in (1, len(groups) + 2):
        lines.insert(place, "-" * len(lines[0]))
    steps, start = f"{config.iterations:,} steps", f"({config.start_x:g}, {config.start_y:g})"
    return f"""f after {steps} from {start}, by learning rate; * is the run that counts,
with the lowest f on its way and its first step with f < 1e-4.

""" + "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="rosenbrock.py", description=__doc__)
    add_settings(parser, Config)
    rule_help = f"a rule to race, a name or a string; repeat for more (default: {', '.join(RULES)})"
    parser.add_argument("--rule", action="append", metavar="RULE", help=rule_help)
    found_help = "a run of search.py, whose hall of fame is raced; repeat for more"
    parser.add_argument("--found", action="append", type=Path, metavar="RUN", help=found_help)
    out_help = "run folder to make (default: runs/DATE-rosenbrock-valley-sSEED)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=out_help)
    args = parser.parse_args(argv)
    try:
        config = resolve(Config, args)
        chosen = (args.rule or []) + [rule for run in args.found or [] for rule in found_rules(run)]
        entries = contestants(config, chosen or RULES)
        rules = {entry.name: entry.rule for entry in entries if entry.rule}
        folder = args.out or results.default_folder("rosenbrock", "valley", config.seed)
        settings = {**dataclasses.asdict(config), "rules": rules}
        run = results.Run.create(folder, settings, results.environment(torch.get_num_threads()))
    except (ConfigError, RuleError, results.RunError) as error:
        parser.error(str(error))

    from plots.rosenbrock import draw  # only here: checking flags need not wait for matplotlib

    with run:
        progress = Progress(folder / "log.txt", stream=sys.stdout)
        records = race(config, entries, run, progress)
        first = [record for record in records if record["start"] == 0]
        progress.say(table(config, first) + "\n")
        if config.starts > 1:
            rows = order(records)
            run.write_table("order.csv", rows)
            progress.say(order_table(rows, config.starts) + "\n")
        if not chosen:
            progress.say(PICKED)
        if any(parsed.draws or "noise" in str(parsed) for parsed in map(Rule.parse, rules.values())):
            progress.say(f"Rules with drop or noise are random; here with seed {config.seed}.")
        run.finish()
        draw(folder, folder / "rosenbrock.png")
        written = sorted(path.name for path in folder.iterdir() if path.name != "lock")
        progress.say(f"Wrote {folder}: {', '.join(written)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print(
            "interrupted; what is in the run folder is not all, and cannot be resumed", file=sys.stderr
        )
        sys.exit(130)
