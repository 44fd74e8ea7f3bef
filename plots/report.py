"""A report of searches: one page with everything, to look at in a browser or to send to somebody.

    python -m plots.report RUN [RUN ...] [-o FILE.html]

The page is one file without scripts that loads nothing: this folder's figures, as pictures in it, and
tables. It works for a search in progress; write it again to see more. Name runs of random search
too, since the first question is whether the controller beats it. Read next: export/code.py.
"""

import base64
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path

from config import as_program

from matplotlib.figure import Figure

import results
from plots import entropy, hall_of_fame, learning_curve, timeline
from plots.names import HUMAN_NAMES
from plots.runs import Group, all_runs, humans, notes, plural, ranked, read_groups, score, title
from plots.style import command, plt

MOST = 20  # rules in the hall of fame
DPI = 150  # of pictures: sharp at the width of the page, and a third of a megabyte at most
START = '<!doctype html><html lang="en"><head><meta name="generator" content="plots.report">'
START += '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
START += '<link rel="icon" href="data:,">'  # or browsers ask for one
CSS = """
body { margin: 0 auto; max-width: 1000px; padding: 0 14px 40px; color: #222;
       font: 16px/1.45 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5em; line-height: 1.2; margin: 1em 0 .3em; }
h2 { font-size: 1.15em; margin: 1.8em 0 .2em; }
p { max-width: 46em; margin: .3em 0 .8em; }
img { max-width: min(100%, 760px); display: block; margin: 8px 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85em; }
td, th { padding: 2px 16px 2px 0; vertical-align: top; text-align: left; border-top: 1px solid #ddd; }
summary { cursor: pointer; padding: .3em 0; overflow-wrap: anywhere; }
"""


# --- what the sections share ----------------------------------------------------------------------


def section(heading: str, *parts: str) -> str:
    return f"<section><h2>{heading}</h2>{''.join(parts)}</section>"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def table(rows: Iterable[Iterable], head: Iterable = ()) -> str:
    """Return rows of cells, of which nothing becomes markup."""
    lines = [f"<tr>{''.join(f'<th>{escape(str(cell))}</th>' for cell in head)}</tr>"] if head else []
    lines += [f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def picture(draw: Callable[[], Figure], what: str) -> str:
    """Return a figure as part of the page, or in words why there is none."""
    try:
        figure = draw()
    except results.RunError as error:
        return paragraph(f"No figure: {error}.")
    content = io.BytesIO()
    figure.savefig(content, dpi=DPI, metadata={"Software": None})
    plt.close(figure)
    data = base64.b64encode(content.getvalue()).decode()
    return f'<img alt="{escape(what)}" src="data:image/png;base64,{data}">'


# --- sections -------------------------------------------------------------------------------------


def head(groups: list[Group], families: list[results.Family]) -> str:
    """Return title, state of the runs and the result in a sentence."""
    runs = all_runs(groups)
    done = sum(len(run.records) for run in runs)
    asked = sum(run.config["samples"] for run in runs)
    state = "finished" if done >= asked else f"in progress, {done:,} of {plural(asked, 'rule')}"
    text = f"{plural(len(runs), 'run')}, {plural(done, 'rule')}, {state}. "
    text += "".join(f"Best family of rules: {family.reward:.4f}. " for family in families[:1])
    if people := [line for line in humans(groups) if line["status"] == "ok"]:
        top = max(people, key=lambda line: line["reward"])
        text += f"Best human optimizer, trained alike: {HUMAN_NAMES[top['name']]}, {top['reward']:.4f}. "
    text += f"Score: {score(runs)}, a family's the mean of its trainings. "
    return f"<h1>{escape(title(runs))}</h1>{paragraph(text + 'The best of many is luck too.')}"


def curves(groups: list[Group]) -> str:
    """Return the learning curve."""
    text = ""
    if not any(group.algorithm == "random" for group in groups):
        text = paragraph(
            "No random search is among these runs: without one, nobody knows whether learning helped."
        )
    return section("Learning curve", text, picture(lambda: learning_curve.picture(groups), "rewards"))


def exploration(groups: list[Group]) -> str:
    """Return how the controllers explored."""
    return section("The controller", picture(lambda: entropy.picture(groups), "entropy"))


def funnels(groups: list[Group]) -> str:
    """Return what became of the rules of each group."""
    funnels = [results.funnel(Counter(map(results.way, group.records))) for group in groups]
    ways = dict.fromkeys(way for funnel in funnels for way in funnel)
    rows = []
    for way in ways:
        counts = [(funnel.get(way, 0), funnel["sampled"]) for funnel in funnels]
        rows.append([way, *(f"{number:,} ({number / sampled:.0%})" for number, sampled in counts)])
    return section("What became of the rules", table(rows, ["", *(group.label for group in groups)]))


def fame(groups: list[Group], families: list[results.Family]) -> str:
    """Return the best families and the human optimizers, with what sweeps say of learning rates."""
    origin = {id(record): run for run in all_runs(groups) for record in run.records}
    people = humans(groups)
    rows = []
    for rank, family in enumerate(families[:MOST], 1):
        line, seeds = family.best, ", ".join(map(str, family.seeds))
        run = origin[id(line)]
        counts = (results.number(family.spread), len(family.trainings), family.num_rules, seeds)
        where = f"#{line['id']} of {run.folder.resolve().name}"
        rows.append((family.reward, rank, counts, line["infix"], line, run.humans, where))
    for line in (line for line in people if line["status"] == "ok"):
        counts, name = ("-", 1, 1, "-"), HUMAN_NAMES[line["name"]]
        rows.append((line["reward"], "", counts, name, line, people, "made by people"))
    rows.sort(key=lambda row: -row[0])
    cells = [
        (rank, f"{mean:.4f}", *counts, what, *results.advise(line, beside).rates(), line["rule"], where)
        for mean, rank, counts, what, line, beside, where in rows
    ]
    text = (
        "A line is a family, rules that no training can tell apart: mean and standard deviation of its "
    )
    text += (
        "trainings, how many they are, of how many rules, with which child seeds, and its best rule. "
    )
    text += "Learning rate: the best one, and the range of rates within 2 points of it. "
    text += "<= and >= say that the sweep ends there. To Adam: the best rate over Adam's best."
    names = ("", "mean", "sd", "trainings", "rules", "seeds", "update")
    names += ("learning rate", "to Adam", "rule", "from")
    figure = picture(
        lambda: hall_of_fame.picture(groups, families), "curves and sweeps of the best rules"
    )
    return section("Hall of fame", figure, paragraph(text), table(cells, names))


def front(families: list[results.Family]) -> str:
    """Return the families that no family of equal or smaller size beats, by their smallest rules."""
    rows: list[tuple] = []
    smallest = [(min(f.trainings, key=lambda r: size(r["key"])), f.reward) for f in families]
    for record, mean in sorted(smallest, key=lambda row: size(row[0]["key"])):  # stable: best first
        if not rows or mean > rows[-1][1]:
            rows.append((size(record["key"]), mean, record["infix"]))
    text = "Families that none of equal or smaller size beats. Size: operands and functions in the key "
    text += "of a family's smallest rule, which is shown."
    cells = [(number, f"{mean:.4f}", infix) for number, mean, infix in rows]
    return section("Accuracy against size", paragraph(text), table(cells, ("size", "mean", "update")))


def size(key: str) -> int:
    """Return how many operands and functions a key such as `mul(g,exp(m))` has."""
    return 1 + key.count("(") + key.count(",")


def workers(groups: list[Group]) -> str:
    """Return what every worker did."""
    timed = [run for run in all_runs(groups) if timeline.jobs(run)]
    return section("Workers", picture(lambda: timeline.picture(timed), "timeline")) if timed else ""


def settings(groups: list[Group]) -> str:
    """Return the config and the versions of each run, folded."""
    blocks = []
    for run in all_runs(groups):
        rows = {**results.read_meta(run.folder), **run.config}.items()
        name = escape(run.folder.resolve().name)
        blocks.append(f"<details><summary>{name}</summary>{table(rows)}</details>")
    return section("Settings and versions", paragraph(notes(groups)), *blocks)


def page(folders: list[Path]) -> str:
    """Return the whole page.

    Raises:
        RunError: a folder is no run, is empty, or cannot be compared with the others.
    """
    groups = read_groups(folders)
    families = ranked(groups)
    sections = [head(groups, families), curves(groups), exploration(groups), funnels(groups)]
    sections += [fame(groups, families), front(families), workers(groups), settings(groups)]
    body = "\n".join(sections)
    head_end = f"<title>{escape(title(all_runs(groups)))}</title><style>{CSS}</style></head>"
    return f"{START}{head_end}<body>\n{body}\n</body></html>\n"


def draw(folders: list[Path], output: Path) -> list[Path]:
    """Write the page; return its file.

    Raises:
        RunError: as `page` does; or another kind of file is in the page's place.
    """
    if output.exists() and not output.read_bytes().startswith(START.encode()):
        raise results.RunError(f"{output} exists and is no report; nothing was changed")
    text = page(folders)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, "utf-8")
    return [output]


def main(argv: list[str] | None = None) -> int:
    return command("plots.report", __doc__, draw, argv, file="page to write", suffix=".html")


if __name__ == "__main__":
    sys.exit(as_program(main))
