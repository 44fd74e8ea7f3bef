"""Study: how many different good families searches find, told by child seeds that they never saw.

    python -m nosbench.families guided evolution-new --iterations 2 --samples 1000      # 20 of each
    python -m nosbench.families guided --guide-temperature 1 --name warm --first-seed 0 --child-seed 5000

study.py has the three seeds of the table, of which two tell what the third has found: few, where members
of a family share their luck on a seed. Here a search is told by its families, each by its first rule, on
eight fresh child seeds. Families near and above the lowest bar are many, so the ten best and a random
sample of the others are measured, and counts are those of the sample times what it stands for. Kinds are
much wider families, among the good by the search's own scores: are its finds different or barely apart?

Searches go side by side, since rules with one child seed are measured faster together: batch k has the
child seed that is k-th in turn, a repeat the one after its last. A line tells of one search; lines that
are there are not computed again.
Settings are study.py's. Read next: standings.py.
"""

import json
import os
import random
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from config import Parser, as_program, resolve, setting

import numpy as np
import torch

from dsl import Rule
from loop import BATCH, ProposerConfig, make_proposer, make_space, mean_reward
from nosbench import micro
from nosbench.study import parser_of_settings, settings_of
from nosbench.table import NONE
from results import Progress, RunError, markdown, read_lines
from sameness import Families

BARS = (0.55, 0.60, 0.62, 0.637, 0.65)  # the table's best hundredth begins at 0.638
KINDS, KIND = 0.637, {"cosine": 0.8, "apart": 0.2}  # wide families, among those of at least so much
MARGIN = 0.05  # below the lowest bar, by a search's own mean, nothing is measured again: 3 deviations


@dataclass(frozen=True)
class Plan:
    """Which searches are made of each setting, and how they are told."""

    seeds: int = setting(20, "searches of a setting", low=1)
    first_seed: int = setting(100, "of the searches; lower ones are for choosing", low=0)
    child_seed: int = setting(
        1000, "first child seed of the searches; fresh ones begin 1000 later", low=0
    )
    fresh: int = setting(8, "fresh child seeds", low=1)
    sample: int = setting(60, "families measured afresh beside the ten best", low=1)
    together: int = setting(10, "searches side by side", low=1)


def measure(rules: list[Rule], seed: int) -> list[float | None]:
    """Return the accuracy of rules by the micro child, None where it diverged."""
    correct = micro.measure([str(rule) for rule in rules], seed).correct
    return [None if n == NONE else float(n) / micro.NUM_VALIDATION for n in correct]


class Trial:
    """One search, and all that it measured."""

    def __init__(self, config: ProposerConfig):
        self.config, self.identity = config, Families()
        self.proposer = make_proposer(config, make_space(config), self.identity)
        self.first: dict[int, tuple[Rule, int]] = {}  # of each family its first rule, and its child seed
        self.scores: dict[int, list[float | None]] = {}
        self.repeats = 0  # rules of families that had been measured often enough

    def ask(self, n: int, seed: int) -> list[tuple[Rule, int, int]]:
        """Ask for n rules; return those to be measured, with child seed and place of the score."""
        self.asked, todo = self.proposer.ask(n), []
        for rule in self.asked:
            family = self.identity(rule)
            _, first = self.first.setdefault(family, (rule, seed))
            scores = self.scores.setdefault(family, [])
            if len(scores) < self.config.replicates:
                todo.append((rule, first + len(scores), (scores, len(scores))))
                scores.append(None)
            else:
                self.repeats += 1
        return todo

    def rewards(self, rules: list[Rule]) -> list[float | None]:
        return [mean_reward(self.scores[self.identity(rule)], 0.0) for rule in rules]

    def told(self, plan: Plan) -> dict:
        """Return what the search found, by fresh child seeds."""
        rewards = {family: mean_reward(scores, 0.0) or 0.0 for family, scores in self.scores.items()}
        ranked, again, seen = sorted(rewards, key=lambda family: -rewards[family]), Families(), set()
        alike = [again(self.first[family][0]) for family in ranked]  # families depend on who founds them
        ranked = [f for f, n in zip(ranked, alike, strict=True) if not (n in seen or seen.add(n))]
        best, others = ranked[:10], [f for f in ranked[10:] if rewards[f] >= BARS[0] - MARGIN]
        some = random.Random(0).sample(others, min(plan.sample, len(others)))
        rules = [self.first[family][0] for family in best + some]
        seeds = range(plan.child_seed + 1000, plan.child_seed + 1000 + plan.fresh)
        fresh = np.mean([[x or 0.0 for x in measure(rules, seed)] for seed in seeds], axis=0)
        weight, kind = len(others) / max(1, len(some)), Families(**KIND)
        above = lambda bar: (fresh[:10] >= bar).sum() + weight * (fresh[10:] >= bar).sum()  # noqa: E731
        return {
            "families": len(ranked), "repeats": self.repeats, "near": len(others),
            "kinds": len({kind(self.first[f][0]) for f in ranked if rewards[f] >= KINDS}),
            "found": {str(bar): float(above(bar)) for bar in BARS},
            "top10": float(np.mean([rewards[family] for family in best])),
            "top10_fresh": float(fresh[:10].mean()),
            "rules": [str(rule) for rule in rules[:10]], "fresh": np.round(fresh, 5).tolist(),
        }  # fmt: skip


def search(name: str, configs: list[ProposerConfig], plan: Plan) -> list[Trial]:
    """Search with each config, side by side."""
    trials, [samples] = [Trial(config) for config in configs], {config.samples for config in configs}
    progress = Progress()
    for batch, start in enumerate(range(0, samples, BATCH)):
        progress.update(f"{name}: {start} of {samples} rules of {len(trials)} searches")
        seed = plan.child_seed + batch % configs[0].rotate
        todo = [one for trial in trials for one in trial.ask(min(BATCH, samples - start), seed)]
        for seed in sorted({seed for _, seed, _ in todo}):
            rules, _, places = zip(*(one for one in todo if one[1] == seed), strict=True)
            for (scores, place), accuracy in zip(places, measure(list(rules), seed), strict=True):
                scores[place] = accuracy
        for trial in trials:
            trial.proposer.tell(trial.asked, trial.rewards(trial.asked))
    return trials


def study(name: str, config: ProposerConfig, plan: Plan, file: Path) -> None:
    """Compute the lines of a setting that are not there yet.

    Raises:
        RunError: the file holds another setting.
    """
    lines = read_lines(file)
    ours = {name: getattr(plan, name) for name in ("child_seed", "fresh", "sample")} | asdict(config)
    ours, usual = (json.loads(json.dumps(some)) for some in (ours, asdict(ProposerConfig())))
    for line in lines:
        theirs = usual | line["config"]  # older lines lack settings that came later
        if apart := [name for name in ours if name != "seed" and ours[name] != theirs.get(name)]:
            raise RunError(f"{file} holds another {', '.join(apart)}; give this one a --name of its own")
    if file.exists():
        os.truncate(file, file.read_bytes().rfind(b"\n") + 1)  # a torn last line
    todo = [
        s
        for s in range(plan.first_seed, plan.first_seed + plan.seeds)
        if s not in {x["seed"] for x in lines}
    ]
    for start in range(0, len(todo), plan.together):
        configs = [replace(config, seed=seed) for seed in todo[start : start + plan.together]]
        for trial in search(name, configs, plan):
            line = {"name": name, "seed": trial.config.seed, **trial.told(plan)}
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line | {"config": ours | asdict(trial.config)}) + "\n")


def by_seed(file: Path) -> dict[int, dict]:
    """Return the lines of a setting by the seed of the search."""
    return {line["seed"]: line for line in read_lines(file)}


def values(lines: dict[int, dict], seeds: Iterable[int], what: str) -> np.ndarray:
    """Return one number of each search, float [seeds]: a field of its line, or a bar of `found`."""
    return np.array([(lines[seed] | lines[seed]["found"])[what] for seed in seeds])


def times(ours: dict[int, dict], theirs: dict[int, dict], what: str):
    """Return how many times as much one setting has as another, an Interval over the seeds of both."""
    from nosbench.intervals import ratio_interval  # scipy, which a search does not need

    both = sorted(ours.keys() & theirs.keys())
    return ratio_interval(values(ours, both, what), values(theirs, both, what))


def table(files: list[Path]) -> str:
    """Return what settings found, and of the first one how many times as much as each of the others."""
    from nosbench.intervals import mean_interval  # scipy, as above

    read, top = {file.stem: by_seed(file) for file in files}, "top10_fresh"
    ours, rows = next(iter(read.values())), []
    for name, lines in read.items():
        both, row = sorted(ours.keys() & lines.keys()), [name, str(len(lines))]
        for what in (*map(str, BARS), "kinds"):
            ratio = times(ours, lines, what)
            row.append(f"{values(lines, lines, what).mean():.0f}")
            row[-1] += f" ({ratio:.2f})" if ratio and lines is not ours else ""
        lead = mean_interval(values(ours, both, top) - values(lines, both, top))
        row.append(f"{values(lines, lines, top).mean():.4f}")
        row[-1] += f" ({lead:+.4f})" if lead and lines is not ours else ""
        rows.append([*row, str(max(line["repeats"] for line in lines.values()))])
    bars = [f"at least {bar}" for bar in BARS]
    head = ["setting", "searches", *bars, "kinds", "ten best", "most repeats"]
    return "\n".join(markdown(head, rows))


def make_parser() -> Parser:
    return parser_of_settings("families", __doc__, Plan)


def configure(args) -> tuple[Plan, dict[str, ProposerConfig]]:
    """Return the plan, and the settings by the names of their files; raise as `settings_of`."""
    return resolve(Plan, args), settings_of(args, ProposerConfig)


def main(argv: list[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        plan, settings = configure(args)
        args.out.mkdir(parents=True, exist_ok=True)
        files = [args.out / f"{name}.jsonl" for name in settings]
        for file, config in zip(files, settings.values(), strict=True):
            study(file.stem, config, plan, file)
        print(table(files))
        print(f"{args.out} holds the searches; the same --out adds settings to them", file=sys.stderr)
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{error.filename or args.out}: {error.strerror}")
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(as_program(main))
