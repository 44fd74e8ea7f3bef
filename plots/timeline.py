"""Figure: what every worker did when; idle time shows as gaps. The paper's queue of workers.

    python -m plots.timeline RUN [RUN ...] [-o FILE]

A row a worker and a bar a rule that it trained, coloured by its score; rejected and diverged ones are
thin and orange, the human optimizers, scored first, have a dark frame. Duplicates take no time and are
not drawn, nor are rules that ran out of time or crashed their worker, whose times are not recorded.

What to look for: gaps in all rows at once are the controller learning, or a lag too small for so
many workers; a gap at the end of some is the last batch. A pause in which nobody worked, as between
interruption and resume, is cut out: the dotted line says how long it was.
"""

import sys
from pathlib import Path

from config import as_program

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from plots import style
from plots.runs import Run, read_all, score, title
from plots.style import command, plt
from results import RunError

COLORS = plt.get_cmap("viridis")
PAUSE_S = 10.0  # a time without work is a pause if it is longer than this and ...
PAUSE_RULES = 3  # ... than so many times the longest training
RASTER = 3_000  # bars above which an SVG holds them as a picture


def jobs(run: Run) -> list[dict]:
    """Return what workers trained, in order of time: records and human optimizers with known times."""
    timed = [job for job in (*run.humans, *run.records) if job["start_s"] is not None]
    return sorted(timed, key=lambda job: job["start_s"])


def pauses(work: list[dict]) -> list[tuple[float, float]]:
    """Return from when to when nobody worked for long, Unix time."""
    shortest = max([PAUSE_S, *(PAUSE_RULES * job["wall_s"] for job in work)])
    found, end = [], work[0]["start_s"]
    for job in work:
        if job["start_s"] - end > shortest:
            found.append((end, job["start_s"]))
        end = max(end, job["start_s"] + job["wall_s"])
    return found


def clock(time_s: np.ndarray, first_s: float, cut: list[tuple[float, float]]) -> np.ndarray:
    """Return minutes since the first job, without the pauses."""
    passed = time_s - first_s
    for start, end in cut:
        passed = passed - np.clip(time_s - start, 0, end - start)
    return passed / 60


def duration(seconds: float) -> str:
    """Return a duration for people."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def draw_run(axes: plt.Axes, run: Run, scale: Normalize) -> str:
    """Draw a run's workers, a row each, and its pauses; return how many they were and how busy."""
    work = jobs(run)
    cut, first_s = pauses(work), work[0]["start_s"]
    workers = sorted({job["worker"] for job in work}, key=lambda name: (len(name), name))
    for row, worker in enumerate(workers):
        for trained, height in ((True, 0.8), (False, 0.35)):
            mine = [j for j in work if j["worker"] == worker and (j["status"] == "ok") == trained]
            times = np.array([[j["start_s"], j["start_s"] + j["wall_s"]] for j in mine]).reshape(-1, 2)
            start, end = clock(times, first_s, cut).T
            bars = axes.broken_barh(np.stack([start, end - start], 1), (row - height / 2, height))
            bars.set_facecolor(COLORS(scale([j["reward"] for j in mine])) if trained else style.DIVERGED)
            edge = style.DARK if trained else style.DIVERGED  # white would look like idle time
            bars.set_edgecolor([edge if "key" in j else "black" for j in mine])
            # An outline only where it leaves something of the bar to see.
            bars.set_linewidth([(0.3 if len(work) < 200 else 0.0) if "key" in j else 1.0 for j in mine])
            bars.set(gid=f"{worker} {'trained' if trained else 'failed'}", rasterized=len(work) > RASTER)
    for since, until in cut:
        x = clock(np.array(since), first_s, cut)
        axes.axvline(x, color="white", lw=5)
        axes.axvline(x, color="black", lw=1.5, ls=(0, (1, 1)))
        at = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "xytext": (0, 2)}
        axes.annotate(f"pause of {duration(until - since)}", (x, 1), ha="center", fontsize=8, **at)
    ends = clock(np.array([job["start_s"] + job["wall_s"] for job in work]), first_s, cut)
    axes.set(xlim=(0, ends.max()), ylim=(len(workers) - 0.4, -0.6), xlabel="minutes", ylabel="worker")
    step = next((step for step in (1, 2, 5, 10, 20, 50) if len(workers) <= 12 * step), 100)
    shown = range(0, len(workers), step)
    axes.set_yticks(shown, [workers[row].removeprefix("worker-") for row in shown])
    axes.grid(False)
    busy = sum(job["wall_s"] for job in work) / 60 / (ends.max() * len(workers))
    plural = "workers" if len(workers) > 1 else "worker"
    return f"{len(workers)} {plural}, busy {busy:.0%} of {duration(60 * ends.max())}"


def picture(runs: list[Run]) -> Figure:
    """Draw the figure, a panel a run.

    Raises:
        RunError: no job of a run has ended.
    """
    for run in runs:
        if not jobs(run):
            raise RunError(f"{run.folder} has no training with a known time")
    rewards = [job["reward"] for run in runs for job in jobs(run) if job["status"] == "ok"]
    own = "task" in runs[0].config
    scale = Normalize(min(rewards, default=0) if own else 0, max([-np.inf if own else 0.1, *rewards]))
    rows = [len({job["worker"] for job in jobs(run)}) for run in runs]
    heights = [min(max(1.0, 0.25 * number), 6.0) for number in rows]
    size = (7.2, sum(heights) + 0.8 * len(runs) + 0.7)
    figure, panels = plt.subplots(len(runs), 1, figsize=size, height_ratios=heights, squeeze=False)
    for axes, run in zip(panels[:, 0], runs, strict=True):
        name = f"{run.folder.resolve().name}: " if len(runs) > 1 else ""
        axes.set_title(name + draw_run(axes, run, scale), pad=16 if pauses(jobs(run)) else 6)
    figure.colorbar(ScalarMappable(scale, COLORS), ax=panels, label="score", pad=0.02, aspect=30)
    text = "Thin and orange: rejected or diverged. Framed: the human optimizers. "
    text += f"Score: {score(runs)}."
    alike = (
        len({(run.config["dataset"], run.config["downsample"], run.config.get("task")) for run in runs})
        == 1
    )
    titles = [title(runs)] if alike else dict.fromkeys(title([run]) for run in runs)
    style.frame(figure, "; ".join(titles), text)
    return figure


def draw(folders: list[Path], output: Path) -> list[Path]:
    """Draw the figure of some runs; return the files written. Raises RunError as `picture` does."""
    return style.save(picture(read_all(folders)), output)


def main(argv: list[str] | None = None) -> int:
    return command("plots.timeline", __doc__, draw, argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
