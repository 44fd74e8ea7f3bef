"""A progress line: rewritten in place on a terminal, a plain line now and then in a log."""

import contextlib
import shutil
import sys
import time
from pathlib import Path
from typing import TextIO

LOG_EVERY_S = 30.0


class Progress:
    """Show what is going on, on standard error and in a log file.

    Args:
        log: file that gets every line, or None.
        stream: where people look, standard error if None; a terminal gets one line, rewritten.
    """

    def __init__(self, log: Path | None = None, stream: TextIO | None = None):
        self.log, self.stream = log, stream or sys.stderr
        self.terminal = self.stream.isatty()
        self.last_s, self.width = time.monotonic(), 0

    def update(self, line: str) -> None:
        """Show the current state; a log gets it at most every 30 seconds."""
        if self.terminal:
            # Cut to the terminal's width: what wraps cannot be rewritten.
            shown = line[: shutil.get_terminal_size().columns - 1]
            self.stream.write("\r" + shown.ljust(self.width))
            self.stream.flush()
            self.width = len(shown)
        if time.monotonic() - self.last_s > LOG_EVERY_S:
            self.last_s = time.monotonic()
            self._write(line, show=not self.terminal)

    def say(self, text: str = "") -> None:
        """Print lines that stay."""
        if self.terminal and self.width:
            self.stream.write("\r" + " " * self.width + "\r")
            self.width = 0
        self._write(text, show=True)

    def _write(self, text: str, show: bool) -> None:
        if show:
            print(text.encode(errors="backslashreplace").decode(), file=self.stream, flush=True)
        if self.log is not None:
            # A full disk is for those to report whose lines cannot be done without.
            with (
                contextlib.suppress(OSError),
                self.log.open("a", encoding="utf-8", errors="backslashreplace") as file,
            ):
                file.write(text + "\n")
