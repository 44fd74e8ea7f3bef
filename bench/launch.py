"""A benchmark's command line: measure into a run folder, then print its tables.

Config to run here. Each benchmark hands its own `Config`, `measure` and `show` to `launch`, and
show.py beside this file prints the tables of a folder again. A run folder holds records.jsonl, a line
a measurement, and the tables as summary.txt. One that was interrupted can be shown but not gone on
with: what is compared shall share its conditions. Read next: child.py beside this file.
"""

import contextlib
import ctypes
from argparse import SUPPRESS
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from config import Parser, add_settings, resolve, setting

import results
from training import start_worker

# From which size on freed blocks go back to the system, in bytes.
MEMORY = {"kept": 10**9, "returned": 4 * 2**20}


@dataclass(frozen=True)
class Config:
    """What becomes of freed memory while times are taken."""

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


def report(folder: Path, shows: dict[str, Callable[[list[dict]], str]]) -> str:
    """Return the tables of a run folder, with what they depend on.

    Args:
        shows: for each benchmark's name the function that makes tables of its records.
    Raises:
        RunError: the folder is no benchmark's, or holds nothing yet.
    """
    meta, config = results.read_meta(folder), results.read_config(folder)
    records = results.read_lines(folder / "records.jsonl")
    by_name: dict[str, list[dict]] = {}
    for record in records:
        by_name.setdefault(record.get("benchmark"), []).append(record)
    if not by_name or by_name.keys() - shows.keys():
        raise results.RunError(f"{folder} holds no measurements of a benchmark")
    facts = f"{meta['processor']}, {meta['cores']} cores, torch {meta['torch']}, "
    facts += f"threads: {meta['threads']}"
    if "memory" in config and by_name.keys() - {"pool"}:  # whose workers are told nothing about it
        facts += f", freed memory is {config['memory']}"
    facts += "" if meta["end"] else f"; INTERRUPTED after {len(records)} measurements"
    if "commit" in config:
        other = f"commit {config['commit'][:9]}" if config["commit"] else "another folder"
        facts += f"\nhere is commit {meta['commit']}, there is {other}"
    if "downsample" in config:
        facts += f"\n{config['downsample']} child, epochs of {config['epoch_size']:,} images, "
        facts += f"{config['num_validation']:,} for validation"
    try:
        tables = [shows[name](mine) for name, mine in by_name.items()]
    except (KeyError, TypeError) as error:
        raise results.RunError(f"{folder}: a record is damaged ({error!r})") from None
    return "\n\n".join([facts, *tables]) + "\n"


def launch(
    name: str,
    about: str,
    settings: type,
    measure: Callable[..., Iterator[dict]],
    show: Callable[[list[dict]], str],
    argv: list[str] | None,
    prepare: Callable = lambda config: config,
    operand: str = "",
) -> int:
    """Run a benchmark as the command line asks, and return the exit code.

    Args:
        settings: the dataclass whose fields are its flags.
        measure: yields a record a measurement.
        prepare: completes a config before the run folder is made; may raise ValueError.
        operand: the setting that is given as a word without a flag, if any.
    """
    parser = Parser(prog=f"python -m bench.{name}", description=about)
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder to make (default: runs/...)")
    add_settings(parser, settings)
    if operand:
        field = settings.__dataclass_fields__[operand]
        about = f"{field.metadata['help']} (default: {field.default})"
        parser.add_argument(operand, nargs="?", default=SUPPRESS, metavar=operand.upper(), help=about)
    args = parser.parse_args(argv)
    try:
        config = prepare(resolve(settings, args))
        place = args.out or results.default_folders("bench", name, 0)
        run = results.Run.create(place, asdict(config), results.environment(threads=1))
    except ValueError as error:  # of settings, data or folders
        parser.error(str(error))
    start_worker()  # one thread, as in search.py's workers
    set_memory(getattr(config, "memory", "kept"))
    progress, folder = results.Progress(run.folder / "log.txt"), run.folder
    with run:
        try:
            progress.update(f"{name}: 0 measurements")
            for number, record in enumerate(measure(config), 1):
                run.append("records.jsonl", {"benchmark": name, **record})
                progress.update(f"{name}: {number} measurements")
        except KeyboardInterrupt:
            with contextlib.suppress(results.RunError):  # nothing was measured
                progress.result(f"\n{report(folder, {name: show})}")
            progress.say(f"interrupted; to see what was measured: python -m bench.show {folder}")
            return 130
        except OSError as error:
            progress.say(f"python -m bench.{name}: error: {error}")
            return 1
        run.finish()
        text = report(folder, {name: show})
        run.replace("summary.txt", text)
    progress.result(f"\n{text}\nWrote {folder}. Next: python -m bench.show {folder}")
    return 0
