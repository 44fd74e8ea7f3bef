"""Timings: how long the parts of a search take, measured side by side in one run.

    python -m bench.controller                           # one benchmark
    python -m bench.child --dataset cifar10              # the cost of a rule; hours at full scale
    python -m bench.child --epoch-size 1000 --num-validation 500     # a tenth of the protocol
    python -m bench.rule                                 # exported rules beside torch's optimizers
    python bench.py all                                  # all of them
    python -m bench.show FOLDER                          # the tables of a run folder again

Machines drift, so what is compared takes turns: first one, then the other, many times. A figure with
brackets is a median with the 10th and 90th percentile, of fewer than ten values with the lowest and
highest. Writes a run folder: records.jsonl, a line a measurement with its times, and the tables as
summary.txt. A run that was interrupted can be shown but not gone on with: what is compared shall share
its conditions. Read next: benches/timing.py.
"""

import contextlib
import ctypes
import signal
import sys
from argparse import Namespace
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import data
import results
from bench import child as child_times
from bench import controller, pool, rule
from child import open_pictures, resolve_precision, start_worker
from config import ConfigError, Parser, add_settings, resolve, setting
from results import Progress, interrupt_once

# Larger blocks go back to the system when they are freed, in bytes.
MEMORY = {"kept": 10**9, "returned": 4 * 2**20}


@dataclass(frozen=True)
class Config(child_times.Config):
    """The child that is timed, how often, and what becomes of freed memory."""

    memory: str = setting("kept", "what the C library does with freed memory", choices=tuple(MEMORY))


def set_memory(how: str) -> None:
    """Tell glibc to keep freed memory or to return large blocks to the system; elsewhere do nothing.

    Left alone it does the one or the other, depending on what the process did before, and each new page
    costs time: most for whoever works on the largest blocks. A comparison must not hang on that.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        for parameter in (-3, -1):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            if not libc.mallopt(parameter, MEMORY[how]):
                libc.mallopt(parameter, 32 * 2**20)  # the most that older versions allow


# Each has measure(), which yields records, show(), which makes tables of them, and the SETTINGS used.
BENCHMARKS = {
    "controller": controller,
    "child": child_times,
    "rule": rule,
    "pool": pool,
}


def report(folder: Path) -> str:
    """Return the tables of a run folder, with what they depend on.

    Raises:
        RunError: it is none of this script, or holds nothing yet.
    """
    meta, config = results.read_meta(folder), results.read_config(folder)
    records = results.read_lines(folder / "records.jsonl")
    by_name: dict[str, list[dict]] = {}
    for record in records:
        by_name.setdefault(record.get("benchmark"), []).append(record)
    if not by_name or by_name.keys() - BENCHMARKS.keys():
        raise results.RunError(f"{folder} holds no measurements of bench.py")
    facts = f"{meta['processor']}, {meta['cores']} cores, torch {meta['torch']}, threads: "
    facts += f"{meta['threads']}"
    if any("memory" in BENCHMARKS[name].SETTINGS for name in by_name):
        facts += f", freed memory is {config['memory']}"
    facts += "" if meta["end"] else f"; INTERRUPTED after {len(records)} measurements"
    try:
        texts = [BENCHMARKS[name].show(mine) for name, mine in by_name.items()]
    except (KeyError, TypeError) as error:
        raise results.RunError(f"{folder}: a record is damaged ({error!r})") from None
    if "child" in by_name:
        trained = f"{config['downsample']} child, epochs of {config['epoch_size']:,} images, "
        facts += f"\n{trained}{config['num_validation']:,} for validation"
    return "\n\n".join([facts, *texts]) + "\n"


def make_parser() -> Parser:
    parser = Parser(prog="bench.py", description=__doc__)
    names = (*BENCHMARKS, "all", "show")
    parser.add_argument("name", choices=names, help=", ".join(names))
    parser.add_argument("folder", nargs="?", type=Path, help="for show: a run folder of bench.py")
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder to make (default: runs/...)")
    add_settings(parser, Config)
    return parser


def configure(args: Namespace) -> dict:
    """Return the settings that the benchmarks look at.

    Raises:
        ValueError: one is wrong, or given in vain.
    """
    names = list(BENCHMARKS) if args.name == "all" else [args.name]
    looked_at = {setting for name in names for setting in BENCHMARKS[name].SETTINGS}
    if vain := sorted(vars(args).keys() & Config.__dataclass_fields__.keys() - looked_at):
        raise ConfigError(f"{args.name} does not look at --{vain[0].replace('_', '-')}")
    config = resolve(Config, args)
    config = replace(config, precision=resolve_precision(config.precision))
    if "dataset" in looked_at:
        config = replace(config, dataset=data.choose(config.dataset, Path(config.data)))
        data.prepare(config.dataset, Path(config.data))
        open_pictures(config)
    return {name: value for name, value in asdict(config).items() if name in looked_at}


def main(argv: list[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    alone = args.out is None and not vars(args).keys() & Config.__dataclass_fields__.keys()
    if (args.name == "show") != (args.folder is not None) or (args.folder and not alone):
        parser.error("show takes a run folder and nothing else; nothing else takes one")
    try:
        if args.folder:
            print(report(args.folder), end="")
            return 0
        settings = configure(args)
        folder = args.out or results.default_folder("bench", args.name, 0)
        run = results.Run.create(folder, settings, results.environment(threads=1))
    except ValueError as error:  # of settings, data or folders
        parser.error(str(error))
    start_worker()  # one thread, as in search.py's workers
    progress, config = Progress(), Config(**settings)
    set_memory(config.memory)
    with run:
        try:
            for name in BENCHMARKS if args.name == "all" else [args.name]:
                progress.update(f"{name}: 0 measurements")
                for number, record in enumerate(BENCHMARKS[name].measure(config), 1):
                    run.append("records.jsonl", {"benchmark": name, **record})
                    progress.update(f"{name}: {number} measurements")
        except KeyboardInterrupt:
            progress.say(f"interrupted; what was measured, if anything: python -m bench.show {folder}")
            return 130
        run.finish()
        text = report(folder)
        run.replace("summary.txt", text)
    progress.say()
    print(text)
    print(f"Wrote {folder}. Next: python -m bench.show {folder}")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, interrupt_once)
    sys.exit(main())
