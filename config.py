"""Settings: one frozen dataclass a script, every field a command-line flag.

A script declares `class Config` with fields made by `setting`, which carry their help, unit and
allowed values. `add_settings` turns them into flags, `resolve` merges the flags that were given over
a preset over the defaults, and `check` refuses values out of range. `as_program` runs a script's main
such that nothing beside its work ends it. Read next: loop.py.
"""

import argparse
import atexit
import contextlib
import dataclasses
import errno
import gc
import io
import math
import os
import select
import signal
import sys
import time
import traceback
import typing
from collections.abc import Callable
from pathlib import Path

MAX_SEED = 2**63 - 1  # torch's generators take no larger one


class ConfigError(ValueError):
    """A setting has a wrong value; the message names it and what is allowed."""


def setting(
    default, help: str, group="", *, choices=(), low=-math.inf, high=math.inf, least=0, words=False,
    flag=True,
):  # fmt: skip
    """Declare a dataclass field that is also a flag.

    Args:
        help: what it is, with its unit.
        group: heading under which --help lists it.
        choices: allowed values (of each element, if the field is a tuple), if limited to a list.
        low, high: allowed range, bounds included.
        least: elements that a tuple must have.
        words: whether the flag takes a tuple's elements one by one instead of as a comma-separated list.
        flag: False for what code alone can change.
    """
    metadata = {"help": help, "group": group, "choices": tuple(choices), "low": low, "high": high}
    metadata |= {"least": least, "words": words, "flag": flag}
    return dataclasses.field(default=default, metadata=metadata)


def check(config) -> None:
    """Check every field of a config, whether it came from flags or from a file.

    Raises:
        ConfigError: the first value that is not allowed.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, allowed = getattr(config, field.name), field.metadata
        many = typing.get_origin(hints[field.name]) is tuple
        kind = typing.get_args(hints[field.name])[0] if many else hints[field.name]
        flag = f"--{field.name.replace('_', '-')}"
        if many and type(value) is not tuple:
            raise ConfigError(f"{flag} is {value!r}; it must be a list of {kind.__name__}")
        if many and len(value) < allowed["least"]:
            raise ConfigError(
                f"{flag} has {len(value)} elements; it must have at least {allowed['least']}"
            )
        for item in value if many else (value,):
            if type(item) is not kind and not (kind is float and type(item) is int):
                raise ConfigError(f"{flag} is {item!r}; it must be of type {kind.__name__}")
            if allowed["choices"] and item not in allowed["choices"]:
                names = ", ".join(map(str, allowed["choices"]))
                raise ConfigError(f"{flag} is {item!r}; it must be one of {names}")
            if kind in (int, float) and not (
                abs(item) <= sys.float_info.max and allowed["low"] <= item <= allowed["high"]
            ):
                bounds = [f"at least {allowed['low']}"] * (allowed["low"] > -math.inf)
                bounds += [f"at most {allowed['high']}"] * (allowed["high"] < math.inf)
                if not abs(item) < math.inf or not bounds:
                    bounds.insert(0, "finite")
                raise ConfigError(f"{flag} is {item}; it must be {' and '.join(bounds)}")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line and exit code 2, and that takes no abbreviations."""

    def __init__(self, **kwargs):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(allow_abbrev=False, formatter_class=formatter, **kwargs)
        self._sections = {"": self}

    def section(self, title: str):
        """Return what takes the flags under a heading of --help, made when it is first asked for."""
        if title not in self._sections:
            self._sections[title] = self.add_argument_group(title)
        return self._sections[title]

    def error(self, message):
        print(f"{self.prog}: error: {message}", file=sys.stderr)
        sys.exit(2)


def _number(text: str) -> float:
    """Read a float, an int where it is written as one: a file then says -3 as the user did."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def _reader(hint) -> Callable[[str], object]:
    """Return how a flag's text becomes a value of the annotated type."""
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        read_one = _number if kind is float else kind
        read = lambda text: tuple(read_one(part) for part in text.split(",") if part)  # noqa: E731
        read.__name__ = f"comma-separated list of {kind.__name__}"
        return read
    return hint


def add_settings(
    parser: Parser, cls: type, preset: dict | None = None, without: tuple[str, ...] = ()
) -> None:
    """Add a flag for every field of a config class; a flag that is not given leaves no attribute.

    Args:
        preset: defaults of this script where they are not the class's, for the help.
        without: fields that the script sets itself.
    """
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint, about = hints[field.name], field.metadata
        if field.name in without or not about["flag"]:
            continue
        default = (preset or {}).get(field.name, field.default)
        many = typing.get_origin(hint) is tuple
        listed = f"; of {', '.join(about['choices'])}" if many and about["choices"] else ""
        shown = ",".join(map(str, default)) or "none" if many else default
        if hint is bool:
            how = {"action": argparse.BooleanOptionalAction}
        elif about["words"]:
            how = {"nargs": "+", "type": typing.get_args(hint)[0], "metavar": "VALUE"}
        elif about["choices"] and not many:
            how = {"choices": about["choices"]}
        else:
            how = {"type": _reader(hint), "metavar": {int: "N", float: "X"}.get(hint, "VALUE")}
        how["help"] = f"{about['help']}{listed} (default: {shown})".replace("%", "%%")
        flag = f"--{field.name.replace('_', '-')}"
        parser.section(about["group"]).add_argument(flag, default=argparse.SUPPRESS, **how)


def resolve(cls: type, args: argparse.Namespace, preset: dict | None = None):
    """Return the config: flags that were given, over the preset, over the defaults.

    Raises:
        ConfigError: a value is not allowed.
    """
    names = [field.name for field in dataclasses.fields(cls)]
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    return from_dict(cls, {**(preset or {}), **given})


def from_dict(cls: type, values: dict):
    """Build a checked config from a mapping, for example a run's config.json.

    Raises:
        ConfigError: a name or value is not allowed.
    """
    unknown = values.keys() - {field.name for field in dataclasses.fields(cls)}
    if unknown:
        raise ConfigError(f"unknown settings: {', '.join(sorted(unknown))}")
    frozen = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    config = cls(**frozen)
    check(config)
    return config


# --- scripts --------------------------------------------------------------------------------------

GRACE_S = 3.0  # for the end that a signal has asked for
GONE = {errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO}  # nobody looks at it any more


class Shown(io.FileIO):
    """A standard stream of a script: what cannot be shown is dropped, and the work goes on.

    Args:
        fd: the open file's number.
        patience_s: seconds to wait for a reader who is behind, None for ever.
    """

    def __init__(self, fd: int, patience_s: float | None):
        super().__init__(fd, "w", closefd=False)
        self.patience_s, self.behind, self.failed = patience_s, False, None

    def write(self, data) -> int:
        try:
            if self._wait():
                return super().write(data) or 0  # none of it if somebody made the terminal non-blocking
        except OSError as error:
            if error.errno not in GONE:  # such as a full disk
                self.failed = error.strerror
        return len(memoryview(data).cast("B"))

    def _wait(self) -> bool:
        """Wait until something can be written, but only once for a reader who has stopped to read."""
        poll = select.poll()
        poll.register(self, select.POLLOUT)
        wait_s = 0 if self.behind else self.patience_s
        self.behind = not poll.poll(None if wait_s is None else 1000 * wait_s)
        return not self.behind


def end_at_once(signum: int, frame) -> None:
    """End the process with one line; an exception would be swallowed by some of what is imported."""
    with contextlib.suppress(OSError):
        if select.select([], [2], [], 0)[1]:  # or a reader who has stopped would hold it up
            os.write(2, b"interrupted\n")
    os._exit(128 + signum)


def tell_library(kind: type[BaseException], error: BaseException, trace) -> None:
    """Say in a line why a library cannot be imported, such as its settings or memory; else as usual."""
    parts = {
        part for frame, _ in traceback.walk_tb(trace) for part in Path(frame.f_code.co_filename).parts
    }
    if isinstance(error, ImportError) or parts & {"site-packages", "dist-packages"}:
        what = f"{kind.__name__}: {' '.join(str(error).split()):.300}"
        print(f"error: a library cannot be imported: {what}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _begins_a_program() -> bool:
    """Return whether what was started calls `as_program` when all of it is imported."""
    with contextlib.suppress(AttributeError, TypeError, OSError, ValueError):  # a notebook has no file
        return "as_program(main)" in Path(sys.modules["__main__"].__file__).read_text("utf-8")
    return False


A_PROGRAM = _begins_a_program()
codes: list[int] = []  # with which the program ends, once it is done


@atexit.register
def leave() -> None:
    """End a program that is done; Python would take torch apart, for half a second and 130 MB.

    Of what is called at the end this comes last, being registered first. What others print there is not
    lost, and a program that fails after all ends as it would.
    """
    if codes and not hasattr(sys, "last_type"):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # nobody reads it any more
                stream.flush()
        os._exit(codes[-1])


ENDS = (signal.SIGINT, signal.SIGTERM)
if A_PROGRAM:  # torch is still to come, which takes seconds; nothing is made until then
    gc.disable()  # what is imported stays; to look through it again and again takes a third of a second
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for end in ENDS:
        signal.signal(end, end_at_once)
    sys.excepthook = tell_library


def as_program(main: Callable[[], int]) -> int:
    """Run a script's main such that nothing beside its work ends it; return its exit code.

    The terminal may close, the reader of a pipe may leave, and the encoding may be ASCII. SIGTERM
    is as Ctrl-C, also for process 1 of a container. The end that the first one asks for may take some
    seconds undisturbed; whoever asks again after that is obeyed at once.
    """
    for number in range(3):  # or the next file that is opened would be in the place of a closed one
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, raw in (("stdout", out := Shown(1, None)), ("stderr", Shown(2, 10.0))):
        encoding = getattr(getattr(sys, name), "encoding", "utf-8")
        buffer = io.BufferedWriter(raw)
        line_by_line = name == "stderr" or raw.isatty()
        text = io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=line_by_line)
        setattr(sys, name, text)

    caught, ending_s = 0, None  # the signal, and since when it ends

    def stop(signum, frame):
        nonlocal caught, ending_s
        if ending_s is None:
            caught, ending_s = signum, time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - ending_s > GRACE_S:
            end_at_once(signum, frame)

    gc.freeze()  # the same from now on, of all that is there
    gc.enable()
    sys.excepthook = sys.__excepthook__
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for end in ENDS:
        signal.signal(end, stop)
    try:
        code = main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    ending_s = ending_s or time.monotonic()  # all is done but for the last words
    sys.stdout.flush()
    if out.failed:
        print(f"not all of the output could be written: {out.failed}", file=sys.stderr)
    code = 128 + caught if code == 130 and caught else code or int(out.failed is not None)
    if A_PROGRAM:
        codes.append(code)
    return code


def draw_or_warn(draw: Callable[[], Path | list[Path]], again: str, say: Callable[[str], None]):
    """Return what `draw` returns; if it fails, say why and how to draw again, and return None.

    A figure comes last, and must not undo what came before it.
    """
    try:
        return draw()
    except KeyboardInterrupt:
        reason = "interrupted"
    except Exception as error:  # of fonts, of settings, of libraries: there is no list of them
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    say(f"WARNING: no figure, {reason:.300}. Draw it again with: {again}")
    return None
