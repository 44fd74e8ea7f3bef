"""A report of searches: one page with everything, to look at in a browser or to send to somebody.

    python -m plots.report RUN [RUN ...] [-o FILE.html]

The page is one file without scripts that loads nothing: pictures are SVG, formulas MathML. It works
for a search in progress; write it again to see more. Name runs of random search too, since the first
question is whether the controller beats it. Read next: mathml.py and svg.py, which draw; runs.py.
"""

import contextlib
import sys
from html import escape
from pathlib import Path

import numpy as np

import results
from dsl import Rule, RuleError
from export.advice import advise
from export.tree import layout
from plots import style
from plots.learning_curve import best_so_far, close_up, kind, moving_mean
from plots.mathml import mathml
from plots.runs import Group, Run, all_runs, humans, notes, plural, read_groups, title
from plots.style import command
from plots.svg import Chart
from plots.timeline import clock, duration, jobs, pauses

MOST = 20  # rules in the hall of fame
TRAINED = "trained to the end"  # as results.funnel calls it

CSS = """
body { margin: 0 auto; max-width: 1120px; padding: 0 14px 40px; color: #222;
       font: 16px/1.45 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5em; line-height: 1.2; margin: 1em 0 .3em; }
h2 { font-size: 1.15em; margin: 1.8em 0 .2em; }
p { max-width: 46em; margin: .3em 0 .8em; }
small, .faint { color: #666; }
svg[role] { width: 100%; height: auto; display: block; }
svg text { font: 10px system-ui, "DejaVu Sans", sans-serif; fill: #333; }
.two { display: grid; gap: 0 28px;
       grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); }
.two > * { min-width: 0; }
.bar { display: grid; grid-template-columns: 12em 1fr; gap: 8px; align-items: center;
       font-size: .9em; line-height: 1.25; margin-bottom: 5px; }
.bar i { display: block; height: 1.1em; min-width: 1px; }
.rule { display: grid; grid-template-columns: 2.2em minmax(0, 1fr) 150px; gap: 2px 12px; padding: 9px 0;
        border-top: 1px solid #ddd; align-items: center; }
.rule .what { overflow-x: auto; }
.rule svg[role] { width: 150px; }
.rule math { font-size: 1.15em; }
.rule code, .rule small { display: block; overflow-wrap: anywhere; font-size: .8em; }
.rule code { margin-top: 6px; }
table { border-collapse: collapse; font-size: .85em; }
td { padding: 1px 14px 1px 0; vertical-align: top; overflow-wrap: anywhere; }
summary { cursor: pointer; padding: .3em 0; overflow-wrap: anywhere; }
@media (max-width: 560px) {
  body { font-size: 15px; }
  .rule { grid-template-columns: 1.8em minmax(0, 1fr); }
  .rule svg { grid-column: 2; }
  .bar { grid-template-columns: 8em 1fr; }
}
"""


# --- what the sections share ----------------------------------------------------------------------


def section(heading: str, *paragraphs: str) -> str:
    return f"<section><h2>{heading}</h2>{''.join(paragraphs)}</section>"


def legend(groups: list[Group]) -> str:
    """Return the groups with their colours."""
    names = [f'<b style="color:{group.color}">●</b> {escape(group.label)}' for group in groups]
    return f'<p class="faint">{" &nbsp; ".join(names)}</p>'


def formula(record: dict) -> str:
    """Return a record's formula for people; its own text if no rule can be read from it."""
    try:
        return mathml(Rule.parse(record["rule"]))
    except RuleError:
        return f"<code>{escape(record['rule'])}</code>"


def complexity(rule: str) -> int:
    """Return how many operands and functions the simplified expression of a rule has."""
    return len(layout(Rule.parse(rule).expression))


def found(groups: list[Group]) -> list[tuple[dict, Run]]:
    """Return the best distinct rules of all runs with the runs that they come from, best first."""
    origin = {id(record): run for run in all_runs(groups) for record in run.records}
    records = results.best_distinct([record for group in groups for record in group.records])
    return [(record, origin[id(record)]) for record in records]


# --- sections -------------------------------------------------------------------------------------


def head(groups: list[Group]) -> str:
    """Return title, state of the runs and the result in a sentence."""
    runs = all_runs(groups)
    done = sum(len(run.records) for run in runs)
    asked = sum(run.config["samples"] for run in runs)
    state = "finished" if done >= asked else f"in progress, {done:,} of {plural(asked, 'rule')}"
    text = f"{plural(len(runs), 'run')}, {plural(done, 'rule')}, {state}. "
    best, people = found(groups), [line for line in humans(groups) if line["status"] == "ok"]
    if best:
        text += f"Best rule: {best[0][0]['reward']:.4f}. "
    if people:
        top = max(people, key=lambda line: line["reward"])
        text += f"Best human optimizer, trained alike: {style.HUMAN_NAMES[top['name']]}, "
        text += f"{top['reward']:.4f}. "
    text += (
        "Scores are validation accuracies of one training with one seed; the best of many is luck too."
    )
    return f"<h1>{escape(title(runs))}</h1><p>{escape(text)}</p>"


def curves(groups: list[Group]) -> str:
    """Return every rule with the moving means, and the best so far against random search."""
    longest = max(len(run.records) for run in all_runs(groups))
    window = max(min(50, longest // 4), 2)
    people = {line["name"]: line["reward"] for line in humans(groups) if line["status"] == "ok"}
    low, high = close_up(groups, people)
    every = Chart((0, longest), (0, max(1.02 * high, 0.1)), ("rules sampled", "score"), right=112)
    best = Chart((0, longest), (low, high), ("rules sampled", "best score so far"), right=112)
    for name, score in people.items():
        best.line((0, longest), (score, score), style.HUMAN[name], 1.1, dashed=True)
        best.label(score, f"{style.HUMAN_NAMES[name]} {score:.3f}", style.HUMAN[name])
    for group in reversed(groups):  # the first one comes to lie on top
        points = [(r["id"] + 1, r["reward"]) for r in group.records if kind(r) != "failed"]
        x, y = np.array(points).reshape(-1, 2).T
        every.dots(x, y, group.color, opacity=0.3 if len(points) < 1000 else 0.15)
    for group in reversed(groups):
        _, mean, _ = group.band(lambda run: moving_mean(run, window))
        every.line(np.arange(len(mean)) + window, mean, group.color, 2.2)
        _, top, _ = group.band(best_so_far)
        best.line(np.arange(len(top)) + 1, top, group.color, 2, steps=True)
        for chart, series in ((every, mean), (best, top)):
            if len(series):
                chart.label(series[-1], f"{group.label} {series[-1]:.3f}", group.color)
    text = f"Each dot is a rule; lines are means of the last {window} rules"
    text += ", averaged over seeds." if len(all_runs(groups)) > len(groups) else "."
    if not any(group.algorithm == "random" for group in groups):
        text += (
            " No random search is among these runs: without one, nobody knows whether learning helped."
        )
    charts = f'<div class="two">{every.svg("Every rule")}{best.svg("Best so far")}</div>'
    return section("Learning curve", f"<p>{escape(text)}</p>", legend(groups), charts)


def funnels(groups: list[Group]) -> str:
    """Return what became of the rules of each group, as bars, in the order in which they dropped out."""
    order = ("sampled", "duplicate", "rejected", "")  # then whatever failed, then what was trained
    blocks = []
    for group in groups:
        ways, bars = results.funnel(group.records), []
        place = {w: (w == TRAINED, [w.startswith(o) for o in order].index(True)) for w in ways}
        for way in sorted(ways, key=place.get):
            number = ways[way]
            share, color = number / ways["sampled"], group.color
            if way not in ("sampled", TRAINED):
                color = style.RANDOM if way.startswith("dup") else style.DIVERGED
            bar = f'<i style="width:{100 * share:.1f}%;background:{color}"></i>'
            count = f"{number:,} <small>{share:.0%}</small>"
            bars.append(f'<div class="bar"><span>{escape(way)}</span><span>{count}{bar}</span></div>')
        blocks.append(f"<div><p><b>{escape(group.label)}</b></p>{''.join(bars)}</div>")
    return section("What became of the rules", f'<div class="two">{"".join(blocks)}</div>')


def sparkline(line: dict, color: str, highest: float) -> str:
    """Return the accuracy of a record at each rate, the best ringed, crosses where it diverged."""
    if not line["sweep"]:
        return ""
    marks, path = [], []
    rates = [rate for rate, _ in line["sweep"]]
    across = np.interp(np.log10(rates), (min(np.log10(rates)), max(np.log10(rates)) + 1e-9), (8, 142))
    for x, (rate, score) in zip(across, line["sweep"], strict=True):
        if score is None:
            marks.append(f'<path d="M{x - 2.5:.1f} 29.5l5 5m0 -5l-5 5" stroke="{style.DIVERGED}"/>')
            continue
        y = 32 - 26 * score / highest
        path.append(f"{x:.1f} {y:.1f}")
        if rate == line["lr"]:
            ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="none" stroke="{color}"/>'
            name = f'<text x="{np.clip(x, 16, 134):.1f}" y="47" text-anchor="middle">{rate:g}</text>'
            marks.append(ring + name)
    curve = f'<path d="M{"L".join(path)}" fill="none" stroke="{color}" stroke-width="1.6"/>' * bool(path)
    shown = f"from {rates[0]:g} to {rates[-1]:g}"
    return (
        f'<svg viewBox="0 0 150 50" role="img" aria-label="sweep {shown}">{curve}{"".join(marks)}</svg>'
    )


def hall_of_fame(groups: list[Group]) -> str:
    """Return the best rules and the human optimizers with formulas, advice and sweeps."""
    people = humans(groups)
    entries = [(r["reward"], rank, r, run) for rank, (r, run) in enumerate(found(groups)[:MOST], 1)]
    entries += [(line["reward"], "", line, None) for line in people if line["status"] == "ok"]
    entries.sort(key=lambda entry: -entry[0])
    scores = [y for entry in entries for _, y in entry[2]["sweep"] if y is not None]
    blocks = []
    for reward, rank, line, run in entries:
        if run is None:
            what, color = f"<b>{style.HUMAN_NAMES[line['name']]}</b>", style.HUMAN[line["name"]]
            where = "made by people"
        else:
            what, color = formula(line), style.CONTROLLER
            where = f"#{line['id']}" + f" of {run.folder.resolve().name}" * (len(all_runs(groups)) > 1)
        hint = advise(line, people if run is None else run.humans)
        details = f"<code>{escape(line['rule'])}</code><small>{escape(f'{hint}; {where}')}</small>"
        curve = sparkline(line, color, max([*scores, 1e-9]))
        blocks.append(
            f'<div class="rule"><span>{rank}</span><div class="what"><b>{reward:.4f}</b> &nbsp; {what}'
            f"{details}</div>{curve}</div>"
        )
    text = "Lines: accuracy after one epoch at each learning rate, the best one ringed, × where it "
    text += "diverged. Rates are good that come within 2 points of the best."
    return section(
        "Hall of fame", f"<p>{text}</p>", *blocks or ["<p>No rule has trained to the end yet.</p>"]
    )


def front(groups: list[Group]) -> str:
    """Return complexity against score, and the rules that nothing simpler beats."""
    sized = []
    for record, _ in found(groups):
        with contextlib.suppress(RuleError):
            sized.append((complexity(record["rule"]), record["reward"], record))
    if not sized:
        return ""
    best: list[tuple[int, float, dict]] = []
    for entry in sorted(sized, key=lambda entry: (entry[0], -entry[1])):
        if not best or entry[1] > best[-1][1]:
            best.append(entry)
    sizes, scores = [n for n, _, _ in sized], [y for _, y, _ in sized]
    labels = ("operands and functions in the simplified formula", "score")
    chart = Chart((0, max(sizes) + 1), (0, 1.05 * max(scores)), labels)
    chart.dots(sizes, scores, style.RANDOM, 3.5, 0.35)
    ends = [(n, y) for n, y, _ in best] + [(max(sizes) + 1, best[-1][1])]
    chart.line(*zip(*ends, strict=True), style.CONTROLLER, 1.4, steps=True)
    chart.dots([n for n, _, _ in best], [y for _, y, _ in best], style.CONTROLLER, 6, 1)
    rows = [f"<tr><td>{n}<td>{y:.4f}<td>{formula(record)}" for n, y, record in best]
    text = "<p>Blue: rules that no rule of equal or smaller size beats.</p>"
    table = f"<div><table><tr><td>size<td>score<td>formula{''.join(rows)}</table></div>"
    return section(
        "Accuracy against complexity", text, f'<div class="two">{chart.svg("Complexity")}{table}</div>'
    )


def timelines(groups: list[Group]) -> str:
    """Return what every worker did, a chart a run."""
    blocks = []
    for run in all_runs(groups):
        work = jobs(run)
        if not work:
            continue
        first_s, cut = work[0]["start_s"], pauses(work)
        workers = sorted({job["worker"] for job in work}, key=lambda name: (len(name), name))
        ends = clock(np.array([job["start_s"] + job["wall_s"] for job in work]), first_s, cut)
        height = min(40 + 14 * len(workers), 400)
        chart = Chart((0, ends.max()), (len(workers), 0), ("minutes", ""), height)
        bar = 0.7 * (height - 38) / len(workers)
        for trained, color in ((True, style.CONTROLLER), (False, style.DIVERGED)):
            for job in work:
                if (job["status"] == "ok") == trained:
                    span = np.array([job["start_s"], job["start_s"] + job["wall_s"]])
                    row = workers.index(job["worker"]) + 0.5
                    chart.line(clock(span, first_s, cut), (row, row), color, round(bar, 1))
        busy = sum(job["wall_s"] for job in work) / 60 / (ends.max() * len(workers))
        name = run.folder.resolve().name
        text = f"{plural(len(workers), 'worker')}, busy {busy:.0%} of {duration(60 * ends.max())}"
        text += f", {plural(len(cut), 'pause')} cut out" * bool(cut)
        caption = f"<p><b>{escape(name)}</b> <small>{text}</small></p>"
        blocks.append(f"<div>{caption}{chart.svg(f'Workers of {name}')}</div>")
    text = '<p class="faint">A row a worker, a bar a training; orange ones came to nothing.</p>'
    return section("Workers", text, f'<div class="two">{"".join(blocks)}</div>') if blocks else ""


def settings(groups: list[Group]) -> str:
    """Return the config and the versions of each run, folded."""
    blocks = []
    for run in all_runs(groups):
        meta = results.read_meta(run.folder)
        rows = [
            f"<tr><td>{escape(str(name))}<td>{escape(str(value))}"
            for name, value in {**meta, **run.config}.items()
        ]
        name = escape(run.folder.resolve().name)
        blocks.append(f"<details><summary>{name}</summary><table>{''.join(rows)}</table></details>")
    return section("Settings and versions", f"<p>{escape(notes(groups))}</p>", *blocks)


def page(folders: list[Path]) -> str:
    """Return the whole page.

    Raises:
        RunError: a folder is no run, is empty, or cannot be compared with the others.
    """
    groups = read_groups(folders)

    sections = (head, curves, funnels, hall_of_fame, front, timelines, settings)
    view = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    start = f'<!doctype html><html lang="en"><head><meta charset="utf-8">{view}'
    start += f'<link rel="icon" href="data:,"><title>{escape(title(all_runs(groups)))}</title>'
    return "\n".join(
        [
            f"{start}<style>{CSS}</style></head><body>",
            *(part(groups) for part in sections),
            "</body></html>\n",
        ]
    )


def draw(folders: list[Path], output: Path) -> list[Path]:
    """Write the page; return its file. Raises RunError as `page` does."""
    text = page(folders)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, "utf-8")
    return [output]


def main(argv: list[str] | None = None) -> int:
    return command("report", __doc__, draw, argv, file="page to write", suffix=".html")


if __name__ == "__main__":
    sys.exit(main())
