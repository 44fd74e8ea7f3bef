"""Small charts as SVG text, for a page that must need neither network nor script.

A chart is 360 units wide, so that its text can be read on a phone, where a unit is about a pixel.
Data are drawn clipped to the axes; labels stand to the right of their lines. Nothing to run here.
Read next: report.py, which draws with it.
"""

import math
from html import escape

import numpy as np

from plots import style

WIDTH, LEFT, BOTTOM, TOP = 360, 34, 30, 8


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers from low to high, about `most`; steps are 1, 2 or 5 times a power of 10."""
    rough = max(high - low, 1e-12) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough - 1e-12 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


class Chart:
    """A chart that is filled by its methods and read by `svg`.

    Args:
        x, y: limits of the axes.
        labels: what x and y are.
        height: in units.
        right: units kept free for labels beside the axes.
    """

    def __init__(self, x, y, labels: tuple[str, str], height: int = 210, right: int = 10):
        self.x, self.y, self.labels = x, y, labels
        self.height, self.right = height, WIDTH - right
        self.marks: list[str] = []
        self.beside: list[tuple[float, str, str]] = []

    def at(self, x, y) -> tuple[np.ndarray, np.ndarray]:
        """Return where data coordinates lie, in units."""
        (x0, x1), (y0, y1) = self.x, self.y
        across = LEFT + (np.asarray(x, float) - x0) / ((x1 - x0) or 1) * (self.right - LEFT)
        up = (np.asarray(y, float) - y0) / ((y1 - y0) or 1) * (self.height - TOP - BOTTOM)
        return across, self.height - BOTTOM - up

    def dots(self, x, y, color: str, size: float = 3, opacity: float = 0.5) -> None:
        """Draw dots, as one path of lines without length, which is short."""
        d = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(*self.at(x, y), strict=True))
        look = f'stroke="{color}" stroke-width="{size}" stroke-linecap="round" opacity="{opacity}"'
        self.marks.append(f'<path d="{d}" {look}/>')

    def line(self, x, y, color: str, width: float = 1.6, dashed: bool = False, steps: bool = False):
        """Draw a line through the finite points; with `steps` it stays level up to each next one."""
        points = [(a, b) for a, b in zip(*self.at(x, y), strict=True) if math.isfinite(b)]
        if not points:
            return
        rest = "".join(f"H{a:.1f}V{b:.1f}" if steps else f"L{a:.1f} {b:.1f}" for a, b in points[1:])
        dash = ' stroke-dasharray="5 3"' * dashed
        start = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
        self.marks.append(
            f'<path d="{start}{rest}" fill="none" stroke="{color}" stroke-width="{width}"{dash}/>'
        )

    def label(self, y: float, text: str, color: str) -> None:
        """Write a text to the right of the axes at the height of y, or near it."""
        if math.isfinite(y):
            self.beside.append((float(np.clip(y, *self.y)), text, color))

    def svg(self, title: str) -> str:
        """Return the chart; the title is for those who cannot see it."""
        low, high = self.height - BOTTOM, TOP
        grid = []
        for tick in ticks(*self.y):
            _, up = self.at(self.x[0], tick)
            grid.append(f'<path d="M{LEFT} {up:.1f}H{self.right}" stroke="#e6e6e6"/>')
            grid.append(f'<text x="{LEFT - 4}" y="{up + 3.5:.1f}" text-anchor="end">{tick:g}</text>')
        for tick in ticks(*self.x, 5):
            across, _ = self.at(tick, self.y[0])
            grid.append(f'<text x="{across:.1f}" y="{low + 12}" text-anchor="middle">{tick:,g}</text>')
        xlabel, ylabel = map(escape, self.labels)
        names = f'<text x="{self.right}" y="{self.height - 4}" text-anchor="end">{xlabel}</text>'
        names += f'<text x="{LEFT + 4}" y="{TOP + 8}">{ylabel}</text>' * bool(ylabel)
        # An SVG within it clips without an id, which would have to be unique in the page.
        left, width = LEFT - 3, self.right - LEFT + 6  # dots may overlap the edges
        top, height = high - 3, low - high + 6
        box = f'x="{left}" y="{top}" width="{width}" height="{height}"'
        view = f'viewBox="{left} {top} {width} {height}"'
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{escape(title)}">'
            f"{''.join(grid)}<svg {box} {view}>{''.join(self.marks)}</svg>{names}{self._labels()}</svg>"
        )

    def _labels(self) -> str:
        heights = [float(self.at(self.x[1], y)[1]) for y, _, _ in self.beside]
        places = style.spread(heights, 11, TOP + 4, self.height - BOTTOM)
        shown = []
        for (_, text, color), height, place in zip(self.beside, heights, places, strict=True):
            shown.append(
                f'<path d="M{self.right} {height:.1f}L{self.right + 8} {place:.1f}" stroke="{color}"/>'
                f'<text x="{self.right + 10}" y="{place + 3.5:.1f}">{escape(text)}</text>'
            )
        return "".join(shown)
