"""Figure: the long-run filter. Every rule's validation accuracy, as far as it was allowed to go.

    python -m studies.figures.longrun RUN [-o FILE]    # RUN is a folder of studies.longrun

Found rules are solid and get brighter the longer they lasted, human optimizers dashed. Vertical lines
are the stages' ends, where the worse half of the found rules was stopped. What to look for: lines that
cross, which are rules whose early lead says nothing; one seed each, so a small difference is none.
"""

import sys
from pathlib import Path

from config import as_program

import numpy as np
from matplotlib.figure import Figure

from plots import style
from plots.style import command, plt
from results import RunError, score_label
from studies.trials import read_config, read_trials


def picture(saved: dict, records: list[dict]) -> Figure:
    """Draw the figure."""
    longest = {}
    for record in (record for record in records if record["epochs"]):
        longest[record["rule"]] = record
    ends = sorted({record["epochs"] for record in longest.values()})
    figure, axes = plt.subplots(figsize=(7.6, 5.0))
    labels, lasting, finals = [], iter(style.FOUND * len(longest)), []
    for record in sorted(longest.values(), key=lambda record: -record["epochs"]):
        human, to_end = record["kind"] == "human", record["epochs"] == ends[-1]
        color = style.HUMAN[record["name"]] if human else next(lasting) if to_end else "#B0B0B0"
        curve = np.array(record["curve"], dtype=float)
        look = {"ls": style.DASHED if human else "-", "lw": 1.6 if to_end else 0.9}
        axes.plot(np.arange(1, len(curve) + 1), curve, color=color, gid=record["name"], **look)
        if to_end:
            name = style.HUMAN_NAMES[record["name"]] if human else record["name"]
            labels.append((curve[-1], f"{name[:40]} {curve[-1]:.3f}", color))
            finals.append(curve)
    for end in ends[:-1]:
        axes.axvline(end, color=style.FAINT, lw=0.8, ls=":")
    good = np.concatenate(finals)
    if np.isfinite(good).any():
        low, high = np.nanquantile(good, 0.02), np.nanmax(good)
        own = "task" in saved["child"]  # with a range of its own
        axes.set_ylim(
            *(
                (low - 0.1 * (high - low), high + 0.05 * (high - low))
                if own
                else (low - 0.03, high + 0.01)
            )
        )
    axes.set(xscale="log", xlabel="epochs", ylabel=score_label(saved))
    axes.set_xticks(ends, map(str, ends))
    axes.minorticks_off()
    child = saved["child"]
    size = f"{child['epoch_size']:,} images" if "epoch_size" in child else f"{child['steps']:,} batches"
    text = f"An epoch has {size}. Rates are those of the searches' "
    text += f"sweeps. One seed, {saved['seed']}. Grey: stopped at a dotted line."
    found = sum(record["kind"] == "found" for record in longest.values())
    title = f"{found} found rules and the human ones, at most {saved['config']['epochs']} epochs"
    style.frame(figure, title, text)
    style.label_right(axes, labels, 8)
    return figure


def draw(folders: list[Path], output: Path) -> list[Path]:
    """Draw the figure; return the files written.

    Raises:
        RunError: the folder is none of studies.longrun, or has no records yet.
    """
    folder = folders[0]
    saved, records = read_config(folder, "longrun"), read_trials(folder)
    if not records:
        raise RunError(f"{folder} has no records yet")
    return style.save(picture(saved, records), output)


def main(argv: list[str] | None = None) -> int:
    what = "a run folder of studies.longrun"
    return command("studies.figures.longrun", __doc__, draw, argv, what=what, nargs=1)


if __name__ == "__main__":
    sys.exit(as_program(main))
