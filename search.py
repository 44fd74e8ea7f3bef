"""Neural Optimizer Search: the controller writes rules, the workers score them, it learns from that.

Bello et al., ICML 2017, section 3.3 and Figure 4. The loop itself stands in loop.py.

    python search.py --preset laptop              # minutes on two cores
    python search.py --workers 100                # the paper's setting
    python search.py --algorithm random           # what the controller must beat
    python search.py --cluster tcp://HOST:8786    # workers on other machines, see cluster.py
    python search.py --algorithm evolution --start-from adam powersign      # go on from known rules
    python search.py --resume runs/...            # go on after Ctrl-C or a crash

Read next: rosenbrock.py, where rules are seen at work.
"""

import contextlib
import gc
import json
import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import NamedTuple

from config import ConfigError, Parser, add_settings, as_program, draw_or_warn, from_dict, resolve

import torch

import results
from child import CHILDREN, Child
from cluster import Cluster
from data import ANY, MissingError
from dsl import OPERANDS, Rule, RuleError, RuleOptimizer, SearchSpace
from loop import Scorer, Search, SearchConfig, Tally, make_space
from pool import WorkerPool, usable_cores
from results import Progress, Run, Say, reopen
from rivals import GuidedConfig
from rules import find, make_optimizer

PRELOAD = ("search", "numpy.random")  # what all workers share in memory


# --- presets --------------------------------------------------------------------------------------


# A search of minutes, among the rules of one group.
SHORT = {"samples": 500, "lag": 1, "iterations": 1, "subset": "full"}
SHORT |= {"constraints": ("operands-differ", "no-final-addition")}
# A controller that a study on NOS-Bench recommends, and one that is the paper's but for two values.
TUNED = {
    "candidates": 16,
    "elite_coeff": 0.3,
    "entropy_growth": 0.5,
    "entropy_coeff": 0.07,
    "max_kl": 0.1,
}
PLAIN = {"entropy_coeff": 0.02, "max_kl": 0.03}
PRESETS = {
    "paper": CHILDREN["paper"],
    "laptop": SHORT | TUNED | CHILDREN["laptop"],
    "protocol": SHORT | PLAIN | CHILDREN["protocol"] | {"samples": 1_000},
    "smoke": SHORT | PLAIN | CHILDREN["smoke"] | {"samples": 40, "subset": "compact"},
}
# On a task of one's own: scores without a range, so their ranks teach the controller.
OWN = {
    "paper": {},
    "laptop": SHORT | TUNED,
    "smoke": SHORT | PLAIN | {"samples": 40, "subset": "compact"},
}
OWN_PRESETS = {name: preset | {"ranks": True} for name, preset in OWN.items()}
WORKERS = {"smoke": 2}  # other presets: all cores


# --- which search ---------------------------------------------------------------------------------

PLACES = {"data", "task"}  # what may have been moved when a run is resumed
# Settings that older run folders lack: what the versions that wrote them did; they had no guided search.
UNSAID = {"replicates": 1, "rotate": 1, "ranks": False, "data_sha256": ANY}
UNSAID |= {name: getattr(GuidedConfig, name) for name in GuidedConfig.__annotations__}


class Script(NamedTuple):
    """A command that searches."""

    command: str
    doc: str
    scorer: type[Scorer]
    presets: dict[str, dict]  # settings by name; the first one is taken if none is asked for
    executor: Executor | None = None  # if it is no worker processes and no cluster that score


SEARCH = Script("python search.py", __doc__, Child, PRESETS)


def choose_script(argv: list[str] | None) -> Script:
    """Return the search of a task of one's own, if one is asked for or resumed, or else the paper's."""
    first = Parser(add_help=False)
    first.add_argument("--task", default=None)
    first.add_argument("--resume", type=Path, default=None)
    args, _ = first.parse_known_args(argv)
    own = args.task is not None
    if args.resume is not None:
        with contextlib.suppress(results.RunError):  # main says what is wrong with the folder
            own = own or "task" in results.read_config(args.resume)
    if not own:
        return SEARCH
    from tasks.own import OwnTask  # late: a search of the paper's needs no tasks

    return SEARCH._replace(scorer=OwnTask, presets=OWN_PRESETS)


def fit(text: str, space: SearchSpace) -> Rule:
    """Return a rule to start from as a string of the space; a shorter one is padded, not changed.

    Raises:
        ConfigError: it is no rule, or none of this space.
    """
    try:
        rule = find(text)
    except RuleError as error:
        raise ConfigError(f"--start-from: {str(error).splitlines()[0]}") from None
    missing = space.iterations - len(rule.groups)
    fillers = [token for token in space.choices(0) if token in OPERANDS]
    for filler in fillers if missing > 0 else fillers[:1]:
        # `left` of the last result and anything is the last result.
        groups = [" ".join(group) for group in rule.groups]
        groups += [f"r{len(rule.groups) + k} {filler} id id left" for k in range(missing)]
        padded = Rule.parse(" | ".join(groups))
        if space.contains(padded):
            return padded
    flags = "--iterations, --subset and --constraints"
    raise ConfigError(f"--start-from: '{text}' is not in this search space; {flags} define it")


# --- command line ---------------------------------------------------------------------------------


def changes(preset: str, config: SearchConfig, scorer: Scorer, script: Script) -> str:
    """Return a preset's name, and the settings that differ from it; not those that it leaves "auto"."""
    usual = asdict(SearchConfig()) | asdict(script.scorer()) | script.presets[preset]
    told, flags = [], [field for one in (config, scorer) for field in fields(one)]
    for name in (field.name for field in flags if field.metadata["flag"]):
        value = getattr(config, name) if hasattr(config, name) else getattr(scorer, name)
        where = str(Path(str(usual[name])).absolute())  # a place is absolute by now
        if value not in (usual[name], where) and usual[name] != "auto":
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            told.append(f"{name.replace('_', '-')}={shown}")
    return f"preset {preset}" + (f", but {', '.join(told)}" if told else "")


def idle(config: SearchConfig) -> Iterator[str]:
    """Yield what an evolution or a guided search is asked for in vain."""
    breeds = config.algorithm in ("evolution", "guided")
    if breeds and config.samples <= config.population and not config.start_from:
        yield (
            f"all rules will be random: --population is {config.population}, and as many are drawn first"
        )
    if config.algorithm == "guided" and config.candidates == 1:
        yield "the guide will have nothing to pick from: --candidates is 1"


def make_parser(script: Script = SEARCH) -> Parser:
    parser = Parser(prog=script.command, description=script.doc)
    add_settings(parser, script.scorer)
    parser.section("controller")  # before what is beyond it
    add_settings(parser, SearchConfig)
    flag = parser.section("running").add_argument
    if script is SEARCH:
        task_help = "a task of your own, see tasks/; its flags: --task FILE --help"
        flag("--task", metavar="FILE", help=task_help)
    if script.executor is None:
        first = next(iter(script.presets))
        flag("--preset", choices=script.presets, help=f"named settings (default: {first})")
        flag("--workers", type=int, metavar="N", help="worker processes (default: all cores)")
        flag("--cluster", metavar="ADDRESS", help="workers of a Dask cluster instead: its scheduler")
    flag("--out", type=Path, metavar="DIR", help="run folder to make (default: runs/...)")
    beside = "--workers, --cluster, and --data or --task if that was moved"
    flag("--resume", type=Path, metavar="DIR", help=f"go on with a run; takes only {beside}")
    parser.set_defaults(**dict.fromkeys(("preset", "workers", "cluster"), None))
    return parser


def configure(args, script: Script = SEARCH, say: Say = print) -> tuple[SearchConfig, Scorer]:
    """Return the resolved settings; what can be wrong with them is found before anything is made.

    Raises:
        ValueError: what is wrong and what is allowed.
    """
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"--workers is {args.workers}; it must be at least 1")
    if args.workers is not None and args.cluster is not None:
        raise ConfigError("--workers counts local processes; they have no part in a --cluster")
    if args.resume is not None:
        given = {name for name, value in vars(args).items() if value is not None}
        if wrong := sorted(given - {"resume", "workers", "cluster", *PLACES}):
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
            taken = "--workers, --cluster, and --data or --task if that was moved"
            raise ConfigError(f"--resume takes only {taken}, not {flags}")
        config, scorer = read_settings(args.resume, script)
        moved = {name: str(Path(getattr(args, name)).absolute()) for name in given & PLACES}
        return config, replace(scorer, **moved)
    args.preset = args.preset or next(iter(script.presets))
    preset = script.presets[args.preset]
    config, scorer = (
        resolve(cls, args, {name: x for name, x in preset.items() if name in cls.__dataclass_fields__})
        for cls in (SearchConfig, script.scorer)
    )
    if args.out is not None:
        results.check_new(args.out)
    space = make_space(config)
    config = replace(config, start_from=tuple(str(fit(text, space)) for text in config.start_from))
    if len(config.start_from) > config.samples:
        raise ConfigError(f"--start-from has {len(config.start_from)} rules, --samples {config.samples}")
    scorer = scorer.resolve(space, say)
    if (seeds := config.rotate + config.replicates - 1) > scorer.num_seeds:
        raise ConfigError(f"--rotate and --replicates need {seeds} seeds; there are {scorer.num_seeds}")
    return config, scorer


def read_settings(folder: Path, script: Script) -> tuple[SearchConfig, Scorer]:
    """Return the settings of a run folder.

    Raises:
        RunError: it is none, or of another script or version, whose settings are not these.
    """
    classes = SearchConfig, script.scorer
    names = [[field.name for field in fields(cls)] for cls in classes]
    unsaid = {name: value for name, value in UNSAID.items() if name in sum(names, [])}
    saved = unsaid | results.read_config(folder)
    if apart := sorted(saved.keys() ^ set(sum(names, []))):
        what = f"{folder} is of another version or script, so {script.command} cannot go on with it"
        more = f" and {len(apart) - 3} more" if len(apart) > 3 else ""
        raise results.RunError(f"{what}: they differ in the settings {', '.join(apart[:3])}{more}")
    return tuple(
        from_dict(cls, {name: saved[name] for name in some})
        for cls, some in zip(classes, names, strict=True)
    )


def is_complete(folder: Path, config: SearchConfig) -> bool:
    """Return whether a run has all its records and was ended.

    Raises:
        RunError: a line of records.jsonl or updates.jsonl is damaged.
    """
    recorded = sum(1 for _ in results.iterate_records(folder))
    for _ in results.iterate_lines(folder / "updates.jsonl"):
        pass
    return recorded >= config.samples and results.read_meta(folder).get("end") is not None


def open_run(args, config: SearchConfig, scorer: Scorer, say: Say) -> Run:
    """Return the run folder, made or reopened; one whose pictures were moved keeps their new place.

    Raises:
        results.RunError: it cannot be made, or another process writes to it.
    """
    if args.resume is not None:
        if getattr(scorer, "data_sha256", None) == ANY:
            unknown = (
                f"that it does not say which pictures it had; it goes on with those in {scorer.data}"
            )
            say(f"WARNING: {args.resume} is so old {unknown}")
        run, saved = reopen(args.resume, say), results.read_config(args.resume)
        moved = {name: getattr(scorer, name) for name in PLACES & saved.keys()}
        for name in (name for name, place in moved.items() if place != saved[name]):
            say(f"{args.resume}: --{name} is {moved[name]} from now on")
            run.replace("config.json", json.dumps(saved | moved, indent=1) + "\n")
        return run
    name = f"{args.preset}-{config.algorithm}"
    folder = args.out or results.default_folders("search", name, config.seed)
    environment = results.environment(threads=torch.get_num_threads())
    return Run.create(folder, asdict(config) | asdict(scorer), environment)


def count_workers(args) -> int:
    """Return how many worker processes were asked for."""
    return args.workers or WORKERS.get(args.preset) or usable_cores()


def start_workers(args, scorer: Scorer, say: Say) -> WorkerPool | Cluster:
    """Return what scores the rules: processes of this machine, or those of a Dask cluster.

    Args:
        say: shows a line about the latter.

    Raises:
        ValueError: there are too many, or the cluster cannot be reached.
    """
    if args.cluster is not None:
        return Cluster(args.cluster, scorer.prepare, scorer.cpu_limit_s, say)
    # torch.optim imports torch._dynamo at its first use: a second, and 100 MB in every worker. The
    # paper's child needs none of it, a task of one's own may.
    preload = PRELOAD if isinstance(scorer, Child) else (*PRELOAD, "torch._dynamo")
    return WorkerPool(
        count_workers(args), scorer.cpu_limit_s, initializer=scorer.prepare, preload=preload
    )


class Opened(NamedTuple):
    """What a search is made of; `search_to_end` makes it, so that it can also free its memory."""

    config: SearchConfig
    scorer: Scorer
    executor: Executor
    run: Run
    progress: Progress


def open_search(args, script: Script, stack: contextlib.ExitStack) -> Opened | None:
    """Return what makes the search that the settings ask for; None if it is complete already.

    Raises:
        ValueError, OSError: what is wrong; nothing was made.
    """
    torch.set_num_threads(1)  # sums on several threads round differently; the history must not
    progress = Progress()
    config, scorer = configure(args, script, progress.say)
    if args.resume is not None and is_complete(args.resume, config):
        if any(getattr(args, name, None) for name in PLACES):  # where studies look for what it had
            scorer.prepare()
            open_run(args, config, scorer, progress.say).close()
        tally, tell = Tally(results.iterate_records(args.resume)), progress.result
        tell(f"{args.resume} is already complete, {tally.ways.total()} rules; nothing was trained")
        tell(found(args.resume, tally, scorer.score_name))
        tell(f"{drawing(args.resume)} draws its learning curve again")
        tell(following(args.resume, tally))
        return None
    scorer = scorer if args.resume else scorer.fetch(progress.say)
    scorer.prepare()
    executor = script.executor or start_workers(args, scorer, progress.say)
    stack.callback(executor.stop)
    run = stack.enter_context(open_run(args, config, scorer, progress.say))
    progress.begin_log(run.folder / "log.txt")
    return Opened(config, scorer, executor, run, progress)


def search_to_end(opened: Opened, script: Script, args) -> int:
    """Run a search, say how it ended, and return the exit code."""
    config, scorer, _, run, progress = opened
    folder, say = run.folder, progress.say
    number, space = count_workers(args), make_space(config).size()
    local = "this process" if script.executor else f"{number} worker{'s' * (number > 1)}"
    if args.resume is None:
        say(changes(args.preset, config, scorer, script))
        for vain in idle(config):
            say(vain)
    say(f"{folder}: {scorer}; {args.cluster or local}; {space:,} strings to choose from")
    resume = f"{script.command} --resume {shlex.quote(str(folder))}"
    for flag, value in (("--workers", args.workers), ("--cluster", args.cluster)):
        resume += f" {flag} {value}" if value else ""
    try:
        mine = Search(*opened)
        mine.run_to_end()
        run.finish()
    except KeyboardInterrupt:
        say(f"interrupted; what was finished is kept. Go on with: {resume}")
        return 130
    except (results.RunError, OSError) as error:
        further = "" if isinstance(error, results.ReplayError) else f"; go on with: {resume}"
        say(f"{script.command}: error: {error}. What was finished is kept{further}")
        return 1
    tell, last = progress.result, following(folder, mine.tally)
    tell(found(folder, mine.tally, scorer.score_name))
    del mine  # the figure of a long one needs its memory
    gc.collect()  # the search and what it is made of refer to each other
    if pictures := draw_or_warn(lambda: draw(folder), drawing(folder), say):
        tell(f"{pictures[0].name} in it is its learning curve")
    tell(last)
    return 0


def main(argv: list[str] | None = None, script: Script | None = None) -> int:
    script = script or choose_script(argv)
    parser = make_parser(script)
    args = parser.parse_args(argv)
    with contextlib.ExitStack() as stack:
        try:
            opened = open_search(args, script, stack)
        except MissingError as error:  # a search that is resumed, of pictures that were moved
            again = f"{script.command} --resume {shlex.quote(str(args.resume))} --data DIR"
            parser.error(f"{error}, or {again}")
        except (ValueError, OSError) as error:
            parser.error(str(error))
        except KeyboardInterrupt:
            print("interrupted before the search began", file=sys.stderr)
            return 130
        return 0 if opened is None else search_to_end(opened, script, args)


# --- what it found --------------------------------------------------------------------------------


def costs(tally: Tally) -> str:
    """Return what became of the sampled rules, and what they cost."""
    core_s = sum(record["cpu_s"] or 0.0 for record in tally.trained)
    per = {"sampled rule": tally.ways.total(), "family": len({r["family"] for r in tally.trained})}
    per["training to the end"] = tally.ways[results.TRAINED]
    shares = ", ".join(f"{core_s / n:.2f} a {name}" for name, n in per.items() if n)
    lines = [f"{n:7,}  {way}" for way, n in results.funnel(tally.ways).items()]
    return "\n".join(lines + [f"core-seconds: {shares}"] * (core_s > 0))  # a table's scores cost none


def summary(families: list[results.Family], humans: list[dict], score_name: str = "accuracy") -> str:
    """Return the best families beside the human optimizers as an aligned table.

    A family is told by the mean and spread over its trainings, and by its best rule.
    """
    rate = lambda lr: "-" if lr is None else f"{lr:g}"  # noqa: E731
    rows = []
    for family in families:
        best, spread = family.best, "-" if family.spread is None else f"{family.spread:.4f}"
        counts = (str(len(family.trainings)), str(family.num_rules))
        rows.append((family.reward, spread, *counts, rate(best["lr"]), f"#{best['id']}", best["infix"]))
    for line in humans:
        name = line["name"].upper()
        rows.append((line["reward"], "-", "1", "1", rate(line["lr"]), "human", name))
    rows.sort(key=lambda row: -row[0])
    head = (score_name, "spread", "trainings", "rules", "lr", "id", "update")
    return "\n".join(results.aligned([head, *((f"{row[0]:.4f}", *row[1:]) for row in rows)]))


def found(folder: Path, tally: Tally, score_name: str) -> str:
    """Return what a complete run cost and found, as text."""
    table = summary(results.best_families(tally.trained, 10), results.read_humans(folder), score_name)
    what = "A line is a family, rules that no training can tell apart: mean and spread of its trainings."
    where = f"{folder} holds the run, hall_of_fame.csv in it the best 100 families"
    return f"\n{costs(tally)}\n\n{table}\n\n{what}\n{where}"


def following(folder: Path, tally: Tally) -> str:
    """Return what to do next with a complete run."""
    for family in results.best_families(tally.trained, 1):
        show = f"python rules.py show '{family.best['rule']}' --runs {shlex.quote(str(folder))}"
        return f"Next: {show} explains #{family.best['id']}, of the best family it found"
    return "Next: another search; in this one no rule trained to the end"


def draw(folder: Path) -> list[Path]:
    """Draw the learning curve of a run into its folder; return the files."""
    from plots import learning_curve  # late: a worker imports this file too, and needs no matplotlib

    with results.uncollected():
        return learning_curve.draw([folder], folder / "learning_curve.png")


def drawing(folder: Path) -> str:
    """Return the command that draws the learning curve of a run again."""
    return f"python -m plots.learning_curve {shlex.quote(str(folder))}"


# --- from Python ----------------------------------------------------------------------------------


class Found(NamedTuple):
    """What a search has found, also one that was interrupted; shown as a line, not as all it holds."""

    folder: Path
    records: list[dict]
    humans: list[dict]
    families: list[results.Family]  # best first

    def __repr__(self) -> str:
        best = f", best {self.families[0].reward:.4f} {self.best.infix()}" if self.families else ""
        return f"<{self.folder}: {len(self.records)} rules, {len(self.families)} families{best}>"

    @property
    def best(self) -> Rule:
        """The best rule of the best family.

        Raises:
            RunError: no rule has trained to its end.
        """
        if not self.families:
            raise results.RunError(f"{self.folder}: no rule has trained to its end; try more samples")
        return Rule.parse(self.families[0].best["rule"])

    def make_optimizer(self, params, lr: float | None = None, **kw) -> RuleOptimizer:
        """Return an optimizer with the best rule, at the rate that was best for it if none is given."""
        rule = self.best
        return make_optimizer(rule, params, self.families[0].best["lr"] if lr is None else lr, **kw)


def search(**settings) -> Found:
    """Search as the command line does; settings have the names of its flags, such as start_from.

    One that Ctrl-C ends returns what was found until then.

    Raises:
        ValueError, OSError: what is wrong with them; nothing was made.
        RunError: the search could not go on, as it said; `resume` goes on with its folder.
    """
    script = choose_script(
        [f"--{name}={settings[name]}" for name in ("task", "resume") if name in settings]
    )
    args = make_parser(script).parse_args([])
    known = {f.name for cls in (SearchConfig, script.scorer) for f in fields(cls) if f.metadata["flag"]}
    if unknown := sorted(settings.keys() - known - {"preset", "workers", "cluster", "out", "resume"}):
        raise ConfigError(f"unknown settings: {', '.join(unknown)}")
    if settings.get("preset") not in (None, *script.presets):
        allowed = ", ".join(script.presets)
        raise ConfigError(f"preset is {settings['preset']!r}; it must be one of {allowed}")
    for name, value in settings.items():
        setattr(args, name, Path(value) if name in ("out", "resume") else value)
    with contextlib.ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())  # a search takes one
        opened = open_search(args, script, stack)
        code = 0 if opened is None else search_to_end(opened, script, args)
    folder = args.resume if opened is None else opened.run.folder
    if code == 1:
        raise results.RunError(f"{folder}: the search could not go on")
    records = results.read_records(folder)
    return Found(folder, records, results.read_humans(folder), results.best_families(records))


if __name__ == "__main__":
    sys.exit(as_program(main))
