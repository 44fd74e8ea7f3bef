"""Tests of progress.py: what a person at a terminal, a pipe and the log get to see."""

import fcntl
import io
import os
import re
import struct
import termios

import pytest

from results import LOG_EVERY_S, Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True

    def screen(self):
        """Return the lines that a person sees: a carriage return goes back and overwrites."""
        lines = []
        for line in self.getvalue().split("\n"):
            shown = []
            for part in line.split("\r"):
                shown[: len(part)] = part
            lines.append("".join(shown).rstrip())
        return lines


def let_time_pass(progress):
    progress.last_s -= LOG_EVERY_S + 1


def test_terminal_shows_the_last_state_alone_on_one_line():
    stream = Terminal()
    progress = Progress(stream=stream)
    for line in ["1/500 rules", "2/500 rules, left 00:10", "3/500", "", "4/500 rules"]:
        progress.update(line)
        assert stream.screen() == [line]


def test_what_is_said_on_a_terminal_stays_and_has_no_leftovers_of_the_state():
    stream = Terminal()
    progress = Progress(stream=stream)
    progress.say("hello")
    progress.update("a very long state indeed")
    progress.say("done")
    progress.update("next")
    progress.say("two\nlines")
    progress.say()
    progress.say("end")
    assert stream.screen() == ["hello", "done", "two", "lines", "", "end", ""]


def test_terminal_line_never_wraps(monkeypatch):
    """A line longer than the terminal is wide would leave its first part behind at each update."""
    monkeypatch.setenv("COLUMNS", "40")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 40, 0, 0))
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours, "rb", buffering=0) as terminal:
        Progress(stream=stream).update("x" * 30 + "y" * 30)
        shown = terminal.read(1000).decode()
    assert shown.startswith("\r" + "x" * 30)
    assert max(map(len, re.split("[\r\n]", shown))) <= 40


def test_a_pipe_gets_plain_lines_now_and_then():
    stream = io.StringIO()
    progress = Progress(stream=stream)
    for number in range(100):
        if number in (50, 80):
            let_time_pass(progress)
        progress.update(f"{number}/100")
    assert stream.getvalue() == "50/100\n80/100\n"


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_log_gets_states_now_and_then_and_all_that_is_said(tmp_path, stream):
    log = tmp_path / "log.txt"
    progress = Progress(log, stream())
    progress.say("start")
    for number in range(100):
        if number == 50:
            let_time_pass(progress)
        progress.update(f"{number}/100")
    progress.say("größer\nthan α")
    assert log.read_text("utf-8") == "start\n50/100\ngrößer\nthan α\n"
    Progress(log, stream()).say("resumed")
    assert log.read_text("utf-8").endswith("than α\nresumed\n")


def test_a_terminal_is_not_told_twice_what_the_log_gets(tmp_path):
    stream = Terminal()
    progress = Progress(tmp_path / "log.txt", stream)
    let_time_pass(progress)
    progress.update("1/2")
    assert stream.screen() == ["1/2"]
    assert (tmp_path / "log.txt").read_text() == "1/2\n"


def test_without_a_log_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    progress = Progress(stream=io.StringIO())
    progress.say("x")
    progress.update("y")
    assert list(tmp_path.iterdir()) == []


def test_the_stream_is_todays_standard_error_unless_another_is_given(capsys):
    Progress().say("hello")
    assert capsys.readouterr() == ("", "hello\n")
