"""Race optimizers down the Rosenbrock valley: TensorFlow's own against rules of the paper.

Neural Optimizer Search, Bello et al., ICML 2017, section 4.2. The function is
f(x, y) = (1 - x)^2 + 100 (y - x^2)^2, a long bent valley that leads to the minimum, 0 at (1, 1).
All get the same start, steps and learning rates; the run that ends lowest counts. In the paper
(recalled), the found rule beat Adam, RMSProp and SGD and came close to Momentum. Who wins says little
about networks. Writes a folder, in a minute or two. Read next: cluster.py, or studies/valley.py.

    python rosenbrock.py [--rules addsign "g m id id add"] [--library torch] [--out DIR]
"""

import math
import os
import shlex
import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from config import Parser, as_program, draw_or_warn

import numpy as np
import torch

from dsl import Rule
from rules import ALSO, first_line, make_optimizer, named, turn

# UNSPECIFIED: which found rule the paper took. Ours were picked knowing the result, so they flatter.
RULES = ["powersign", "powersign-adam", "g-plus-m"]
PICKED = """The default rules are the best three of all 16 that the paper reports (recalled), a near
copy left out, at four rates. Of the 16, three diverged at every rate and four never left the start."""
STEPS = 4_000  # of a run (recalled)
RATES = (1e-4, 3.2e-4, 1e-3, 3.2e-3, 1e-2, 3.2e-2, 1e-1)
FOUR = RATES[::2]  # the others, halfway between, show what these miss
START = (-1.2, 1.0)  # UNSPECIFIED: the start, and the four rates; ours is the customary one
MOVES = np.random.default_rng(0).uniform(-1e-9, 1e-9, size=(20, 2))  # to starts nearby
ADAM_EPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)  # that Adam is tuned over


def rmsprop(g, s: dict, t: int, lr: float, decay: float = 0.9, eps: float = 1e-10):
    """TensorFlow's RMSProp: the mean square starts at 1, eps is inside the root."""
    s["v"] = decay * s.get("v", 1.0) + (1 - decay) * g * g
    return lr * g / (s["v"] + eps).sqrt()


def adam(g, s: dict, t: int, lr: float, betas: tuple = (0.9, 0.999), eps: float = 1e-8):
    """TensorFlow's Adam: eps stands beside the root of v before v's bias is corrected."""
    s["m"] = betas[0] * s.get("m", 0.0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0.0) + (1 - betas[1]) * g * g
    return lr * math.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t) * s["m"] / (s["v"].sqrt() + eps)


class TensorFlow:
    """An optimizer that TensorFlow 1 defines otherwise than torch: w <- w - update(g, state, t)."""

    def __init__(self, update: Callable, params: list[torch.Tensor], **settings):
        self.update, [self.w], self.state, self.t = partial(update, **settings), params, {}, 0

    def step(self) -> None:
        self.t += 1
        self.w.data -= self.update(self.w.grad, self.state, self.t)


COMMON = {"SGD": torch.optim.SGD, "Momentum": partial(torch.optim.SGD, momentum=0.9)}  # of both
ADAPTIVE = {"torch": {"RMSProp": torch.optim.RMSprop, "Adam": torch.optim.Adam}}
ADAPTIVE["tensorflow"] = {"RMSProp": partial(TensorFlow, rmsprop), "Adam": partial(TensorFlow, adam)}


def rosenbrock(x, y):
    return (1 - x) * (1 - x) + 100 * (y - x * x) * (y - x * x)  # a float's power may raise


def descend(make: Callable, starts: list[tuple[float, float]], steps: int) -> np.ndarray:
    """Return x, y, f from S starts on, [steps + 1, S, 3], or until f is infinite (diverged) for all."""
    w = torch.tensor(starts, dtype=torch.float64, requires_grad=True)  # [S, 2]
    optimizer, points = make([w]), []
    while True:
        turn("eval", optimizer)  # some evaluate other weights than they train, such as an average
        x, y = w.detach().unbind(1)
        value = rosenbrock(x, y).nan_to_num(math.inf, math.inf)
        points.append(torch.stack([x, y, value], dim=1))
        if len(points) > steps or value.isinf().all():
            return torch.stack(points).numpy()
        turn("train", optimizer)  # which x and y follow, being views
        w.grad = torch.stack([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)], dim=1)
        optimizer.step()


def race(rules: dict, human: dict[str, Callable]) -> dict[str, dict[float, np.ndarray]]:
    """Return paths by optimizer and rate [N, 21, 3], from START first; Adam is tuned for that one."""
    field = {name: [make] for name, make in human.items()}
    field["Adam, tuned eps"] = [partial(human["Adam"], eps=eps) for eps in ADAM_EPS]
    field |= {name: [partial(make_optimizer, rule, total_steps=STEPS)] for name, rule in rules.items()}
    starts, paths = [START, *(MOVES + START).tolist()], {name: {} for name in field}
    for number, (name, makes) in enumerate(field.items(), 1):
        print(f"{number}/{len(field)}  {name}", file=sys.stderr)
        for lr in RATES:
            tried = [descend(partial(make, lr=lr), starts, STEPS) for make in makes]
            paths[name][lr] = min(tried, key=lambda path: path[-1, 0, 2])
    return paths


def best(runs: dict[float, np.ndarray], rates: tuple[float, ...]) -> tuple[float, float]:
    """Return f at the end of the run that ends lowest, and its rate, the smaller one if tied."""
    return min((runs[lr][-1, 0, 2], lr) for lr in rates)  # UNSPECIFIED: which run counts, by what


def table(paths: dict[str, dict[float, np.ndarray]]) -> str:
    """Return f at the end as text: a row an optimizer, best first, * at the run that counts."""
    width = max(map(len, paths))
    text = f"""f after {STEPS:,} steps from {START}, by learning rate; - diverged.
*: the lowest at a whole decade, by which rows are sorted. +: the lowest of all.
lowest: the smallest f on the way of *. nearby: where * ends from 20 starts within 1e-9 of this one.\n
{"":{width}}{"".join(f"{lr:>8g}" for lr in RATES)}   lowest  nearby"""
    for name, runs in sorted(paths.items(), key=lambda item: best(item[1], FOUR)):
        (final, rate), (_, finer), row = best(runs, FOUR), best(runs, RATES), f"\n{name:{width}}"
        for lr, path in runs.items():
            mark = "*" if lr == rate else "+" if lr == finer else " "
            row += f"{path[-1, 0, 2]:>7.0e}{mark}" if path[-1, 0, 2] < np.inf else f"{'-':>7} "
        lowest, near = runs[rate][:, 0, 2].min(), runs[rate][-1, 1:, 2]
        text += row + (f"{lowest:>9.0e}  {near.min():.0e} to {near.max():.0e}" if final < np.inf else "")
    return text


def draw(winners: dict[str, np.ndarray], output: Path) -> None:
    """Draw the ways from the start to the minimum, and how f falls."""
    os.environ["MPLBACKEND"] = "Agg"  # not what a notebook has set, which may not even be there
    from matplotlib import figure, style  # here, so that --help need not wait for it

    with style.context("default"):  # and nobody's matplotlibrc
        page = figure.Figure(figsize=(11, 4.6), layout="constrained")
        valley, fall = page.subplots(1, 2)
        x, y = np.meshgrid(np.linspace(-1.6, 1.6, 300), np.linspace(-0.6, 1.8, 300))
        valley.contourf(x, y, np.log10(rosenbrock(x, y) + 1e-2), 12, cmap="Greys", vmin=-2, vmax=8)
        for k, (name, path) in enumerate(winners.items()):
            look = {"c": f"C{k % 10}", "ls": "- -- -. :".split()[k % 4], "lw": 2 - k % 9 / 9}
            valley.plot(path[:, 0], path[:, 1], zorder=2 - k / 99, **look)  # the first on top
            fall.plot(np.maximum(path[:, 2], 1e-32), label=name, zorder=2 - k / 99, **look)
        valley.plot(*START, "ko", 1, 1, "k*", markersize=9)
        valley.set(xlim=(-1.6, 1.6), ylim=(-0.6, 1.8), xlabel="x", ylabel="y", title="From dot to star")
        fall.set(yscale="log", xlabel="step", title="f(x, y) on the way")
        page.legend(loc="outside right upper", title="optimizer, rate")
        page.savefig(output, dpi=150)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="rosenbrock.py", description=__doc__)
    parser.add_argument("--rules", nargs="+", default=RULES, metavar="RULE", help=f"default: {RULES}")
    parser.add_argument("--also", nargs="+", default=[], metavar="RULE", help=ALSO)
    parser.add_argument("--library", choices=ADAPTIVE, default="tensorflow", help="whose Adam, RMSProp")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to make (default: runs/...)")
    args = parser.parse_args(argv)
    folder = args.out or Path("runs", datetime.now().strftime("%Y%m%d-%H%M%S-%f-rosenbrock"))
    try:
        rules = dict(map(named, [*args.rules, *args.also]))
        folder.mkdir(parents=True)
    except (OSError, ValueError) as error:
        parser.error(str(error).split("\n")[0])  # without the caret under a rule's token
    try:
        paths = race(rules, COMMON | ADAPTIVE[args.library])
    except BaseException as error:  # whatever other people's code raises
        folder.rmdir()
        if isinstance(error, KeyboardInterrupt) or not args.also:
            raise
        parser.error(f"an optimizer of --also fails, the last one begun: {first_line(error)}")
    text = table(paths) + (f"\n\n{PICKED}" if args.rules == RULES else "")
    chosen = {name: best(runs, FOUR) for name, runs in paths.items()}
    ways = {f"{name}, {lr:g}": paths[name][lr][:, 0] for name, (f, lr) in chosen.items() if f < np.inf}
    (folder / "table.txt").write_text(text + "\n", "utf-8")
    np.savez_compressed(folder / "paths.npz", **ways)  # x, y and f after each step
    print(f"\n{text}\n\nWrote {folder} with table.txt, paths.npz, rosenbrock.png", flush=True)
    again = f"python rosenbrock.py --library {args.library} --rules {shlex.join(args.rules + args.also)}"
    draw_or_warn(lambda: draw(ways, folder / "rosenbrock.png"), again, partial(print, file=sys.stderr))
    for name in sorted((one for one in rules if isinstance(rules[one], Rule)), key=chosen.get)[:1]:
        print(f"Next: python rules.py show '{rules[name]}' explains {name}, the table's best rule")
    return 0


if __name__ == "__main__":
    sys.exit(as_program(main))
