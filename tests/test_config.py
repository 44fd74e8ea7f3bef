"""Tests of config.py: what a flag, a preset and a default give, and how wrong values are refused."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

from config import (
    ConfigError,
    Parser,
    Shown,
    add_settings,
    draw_or_warn,
    from_dict,
    resolve,
    setting,
)

import pytest
from helpers import ROOT, refusal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain import pairs


@dataclasses.dataclass(frozen=True)
class Config:
    steps: int = setting(10, "training steps", low=1, high=100)
    lr: float = setting(0.5, "learning rate; 100% is 1.0", low=0.0)
    shift: float = setting(0.0, "any number")
    optimizer: str = setting("adam", "update rule", choices=("adam", "sgd"))
    run_name: str = setting("", "name of the run")
    sizes: tuple[int, ...] = setting((3, 4), "layer sizes", low=1, high=9, least=1)
    rates: tuple[float, ...] = setting((), "learning rates to try", low=0.0)
    tags: tuple[str, ...] = setting(("a",), "labels", choices=("a", "b", "c"))
    use_cache: bool = setting(True, "reuse results", "cache")
    start: tuple[str, ...] = setting((), "texts that may hold commas", words=True)


PRESET = {"steps": 20, "lr": 0.25, "sizes": (5,), "use_cache": False}


def run(*argv, preset=None):
    """Read flags as every script does."""
    parser = Parser(prog="script.py")
    add_settings(parser, Config)
    args = parser.parse_args(argv)
    try:
        return resolve(Config, args, preset)
    except ConfigError as error:
        parser.error(str(error))


GIVEN = {
    ("--steps", "1"): {"steps": 1},
    ("--steps", "3", "--steps", "4"): {"steps": 4},
    ("--lr", "1e-4"): {"lr": 0.0001},
    ("--shift", "-1.5"): {"shift": -1.5},
    ("--run-name", "two words"): {"run_name": "two words"},
    ("--run-name=", "--tags=", "--no-use-cache"): {"run_name": "", "tags": (), "use_cache": False},
    ("--sizes", "1,2,3", "--tags", "c,a"): {"sizes": (1, 2, 3), "tags": ("c", "a")},
    ("--rates", "3,2.5,1e-3,1e1,0"): {"rates": (3, 2.5, 0.001, 10.0, 0)},  # as they were written
    ("--start", "a", "b c,d"): {"start": ("a", "b c,d")},
    (): {},
}


@pytest.mark.parametrize("argv, values", GIVEN.items(), ids=lambda x: " ".join(x))
def test_flags_set_their_fields_only_and_the_config_survives_json(argv, values):
    config = run(*argv)
    assert repr(config) == repr(dataclasses.replace(Config(), **values))  # types as well
    assert from_dict(Config, json.loads(json.dumps(dataclasses.asdict(config)))) == config
    # Flags override a preset, also one that says the default, and a preset overrides defaults.
    repeats = ["--steps", "10", "--lr", "0.5", "--sizes", "3,4", "--use-cache"]
    assert run(*repeats, *argv, preset=PRESET) == config
    assert run(*argv, preset=PRESET) == dataclasses.replace(Config(), **{**PRESET, **values})


# Flags, and what the message must hold; there are no abbreviations.
WRONG = pairs("""
--step 5 = --step              --foo = --foo                --run_name x = --run_name
stray = stray                  --steps = --steps            --steps many = many
--steps 1.5 = 1.5              --steps= = --steps           --steps 0 = at least 1
--steps 101 = at most 100      --steps -3 = -3              --lr fast = fast
--lr -0.1 = at least 0         --lr nan = nan               --shift nan = nan
--rates 0.1,nan = nan          --rates 0.1,-1 = -1          --optimizer rmsprop = 'adam', 'sgd'
--optimizer= = 'adam', 'sgd'   --sizes 1,x = 1,x            --sizes 1;2 = 1;2
--sizes 1,10 = at most 9       --sizes= = at least 1        --tags a,d = a, b, c
--use-cache=maybe = maybe      --no-steps = --no-steps      --shift=1e999 = finite
--start = --start
""")
WRONG += [("--steps 1" + "0" * 400, "at most 100"), ("--steps " + "1" * 5000, "--steps")]


PRESETS = {None: {"foo": 1}, 0: {"steps": 0}}  # wrong ones, without a flag
CASES = [*WRONG, (None, "foo"), (0, "at least 1")]


@pytest.mark.parametrize("flags, words", CASES, ids=lambda x: str(x)[:40])
def test_wrong_flag_or_preset_is_one_line_on_stderr_and_exit_code_2(flags, words, capsys):
    argv = flags.split() if flags else []
    line = refusal(lambda argv: run(*argv, preset=PRESETS.get(flags)), argv, capsys)
    assert line.startswith("script.py: error: ") and words in line


WRONG_VALUES = {"steps": ["10", 1.0, True, None, [1], 0], "lr": [math.nan, "0.1"], "foo": [1]}
WRONG_VALUES |= {"shift": [math.nan, 10**400], "use_cache": [1, "no"], "run_name": [3]}
WRONG_VALUES |= {"optimizer": ["rmsprop"], "sizes": [[1, "2"], [0], 3, []], "tags": ["ab", ["d"]]}


@pytest.mark.parametrize("name", WRONG_VALUES)
def test_wrong_value_from_a_file_is_a_one_line_config_error(name):
    for value in WRONG_VALUES[name]:
        with pytest.raises(ConfigError) as caught:
            from_dict(Config, {name: value})
        assert isinstance(caught.value, ValueError)
        said = str(caught.value)
        assert ("foo" if name == "foo" else f"--{name.replace('_', '-')}") in said and "\n" not in said


def test_help_shows_every_flag_with_its_text_choices_and_default(capsys):
    with pytest.raises(SystemExit, match="0"):
        run("--help")
    text = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(Config):
        assert f"--{field.name.replace('_', '-')}" in text and field.metadata["help"] in text
    shown = ["(default: 10)", "{adam,sgd} update rule (default: adam)", "(default: 3,4)"]
    shown += ["labels; of a, b, c (default: a)", "--no-use-cache", "cache: --use-cache"]  # its heading
    assert [words for words in shown if words not in text] == []
    assert text.count("(default: True)") == 1 and "SUPPRESS" not in text
    # A setting without a flag is of presets and files alone.
    hidden = setting(2, "not for everybody", low=1, flag=False)
    Hidden = dataclasses.make_dataclass("Hidden", [("deep", int, hidden)], bases=(Config,), frozen=True)
    parser = Parser(prog="script.py")
    add_settings(parser, Hidden)
    assert "deep" not in parser.format_help()
    assert resolve(Hidden, parser.parse_args([]), {"deep": 3}).deep == 3
    with pytest.raises(ConfigError, match="at least 1"):
        from_dict(Hidden, {"deep": 0})


SIMPLE = st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text()
ANYTHING = st.recursive(SIMPLE, lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=5)
NAMES = [field.name for field in dataclasses.fields(Config)]


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(NAMES) | st.text(), ANYTHING))
def test_any_values_are_a_config_that_holds_them_or_a_config_error(values):
    try:
        config = from_dict(Config, values)
    except ConfigError as error:
        assert str(error)
    else:
        frozen = {name: tuple(x) if isinstance(x, list) else x for name, x in values.items()}
        assert config == dataclasses.replace(Config(), **frozen)  # the rest takes its defaults


@given(st.sampled_from(["steps", "lr", "shift", "run_name"]), st.text() | st.floats().map(str))
def test_any_text_behind_a_flag_is_taken_as_it_is_or_refused(name, text):
    try:
        config = run(f"--{name.replace('_', '-')}={text}")
    except SystemExit as exit:
        assert exit.code == 2
    else:
        assert getattr(config, name) == type(getattr(Config(), name))(text)


# --- programs -------------------------------------------------------------------------------------

PROGRAM = """
import contextlib, gc, os, signal, sys, time
import config
kill = lambda name: os.kill(os.getpid(), getattr(signal, name))
with contextlib.suppress(BaseException):  # as some imports do
    {early}
from config import as_program
def main():
    print("é", flush=True)
    print("é", file=sys.stderr)
    {more}
    print("é", flush=True)
    os.mkdir("done")
    return 0
sys.exit(as_program(main))
"""
TWICE = "config.GRACE_S = {}\n    try: kill('SIGINT')\n    finally: kill('SIGTERM'); time.sleep(0.1)"


@pytest.mark.parametrize(
    ("how", "early", "more", "code", "done"),
    [
        ("", "", "", 0, True),
        ("2>&1 | true", "", "time.sleep(0.3)", 0, True),
        (">&-", "", "", 0, True),
        ("<&- >&- 2>&-", "", "assert min(map(os.dup, range(3))) > 2", 0, True),
        ("2>/dev/full", "", "", 0, True),
        (">/dev/full", "", "", 1, True),
        ("", "", "__import__('atexit').register(os.rmdir, 'done')", 0, False),
        ("", "", "__import__('atexit').register(print, 'é')", 0, True),
        ("", "on = gc.isenabled()", "assert not on and gc.get_freeze_count() > 1_000", 0, True),
        ("", "", "assert gc.isenabled()", 0, True),
        ("", "", "config.kept = type('', (), {'__del__': lambda _: os.rmdir('done')})()", 0, True),
        ("", "kill('SIGHUP')", "kill('SIGHUP')", 0, True),
        ("", "", "kill('SIGTERM')", 143, False),
        ("", "", "kill('SIGINT')", 130, False),
        ("", "", TWICE.format(60), 130, False),
        ("", "", TWICE.format(0), 143, False),  # whoever asks again later is obeyed at once
        ("", "kill('SIGINT')", "", 130, False),
        ("2>&-", "kill('SIGTERM')", "", 143, False),
    ],
)
def test_nothing_beside_its_work_ends_a_program(tmp_path, how, early, more, code, done):
    (tmp_path / "program.py").write_text(PROGRAM.format(early=early or "pass", more=more))
    command = f"set -o pipefail; '{sys.executable}' program.py {how}"
    shown = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    ended = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=shown, **streams)
    assert (ended.returncode, (tmp_path / "done").exists()) == (code, done), ended.stdout
    assert "Traceback" not in ended.stdout and "Exception" not in ended.stdout
    if not how:
        assert ended.stdout.count("\\xe9") == (
            0 if early and code else 2 + (not code) + ("register(print" in more)
        )
        assert ended.stdout.count("interrupted\n") == (code > 0)


@pytest.mark.parametrize("script", ["search.py", "-m studies.compare", "-m plots.report", "rules.py"])
def test_ctrl_c_while_libraries_are_imported_is_a_line(tmp_path, script):
    for library in ("numpy", "torch"):
        text = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemError"
        (tmp_path / f"{library}.py").write_text(text)
    path = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, *script.split()]
    ended = subprocess.run(command, cwd=ROOT, env=path, capture_output=True, text=True)
    quiet = script == "rules.py"  # is copied without config.py
    expected = (-signal.SIGINT, "") if quiet else (130, "interrupted\n")
    assert (ended.returncode, ended.stderr) == expected


def test_a_reader_who_stops_is_waited_for_once_and_shown_what_comes_later():
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with open(ours, "rb", buffering=0) as reader, Shown(theirs, 0.05) as shown:
        full = shown.write(b"x" * 2**20)  # as much as the pipe takes
        for text in (b"lost", b"lost too"):
            assert shown.write(text) == len(text) and shown.behind
            shown.patience_s = 600.0  # but not a second time
        assert set(reader.read(full)) == set(b"x")
        assert shown.write(b"seen") == 4 and reader.read(9) == b"seen"
    os.close(theirs)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no\n\tfont")])
def test_a_figure_that_fails_says_how_to_draw_it_again(error):
    def draw():
        raise error

    said = []
    assert draw_or_warn(lambda: Path("made"), "again", said.append) == Path("made") and said == []
    assert draw_or_warn(draw, "again", said.append) is None
    why = "ValueError: no font" if isinstance(error, ValueError) else "interrupted"
    assert said == [f"WARNING: no figure, {why}. Draw it again with: again"]
