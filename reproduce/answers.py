"""What a reader of the results asks first, answered from the records: the first lines of RESULTS.md.

    python -m reproduce.answers

Words such as Yes and No follow the verdicts, numbers come with them. Read next: claims.py.
"""

import sys

from config import Parser, as_program

import numpy as np

from nosbench.families import KINDS
from reproduce import convnet, elsewhere, searching
from reproduce.reading import OURS, PAPERS, Claim, families_ratio, ratio_of
from results import markdown

Told = tuple[str, str]  # the answer; its numbers
TOP = str(KINDS)  # accuracy of NOS-Bench's child at which a family is a top family
SAID = dict(zip((*PAPERS, *OURS), ("yes", "in part", "no") * 2, strict=True))


def answer(row: Claim) -> str:
    """Return a verdict as an answer: yes, in part, no, or why there is none."""
    return SAID.get(row.verdict.split(",")[0], row.verdict)


def learns() -> Told:
    rises = searching.samples_improve()
    _, chance = searching.endings("random")
    stays = [f"{np.mean([one['latest fifth'] for one in chance]):.3f}"] if chance else []
    return answer(rises), "; ".join([rises.number, *(f"random search stays at {x}" for x in stays)])


def finds_more() -> Told:
    row = searching.paper_setting_finds()
    return answer(row), row.number


def beats_adam() -> Told:
    """Whether the found rule does is told by the intervals of its lead over Adam alone."""
    surely = [lead.intervals["adam"].low > 0 for _, _, lead in convnet.found_leads(convnet.LARGEST)]
    said = "not run" if not surely else "yes" if all(surely) else "no"
    told = []
    for comparisons in (convnet.LARGEST, convnet.COMPARISONS, convnet.DEEPER):
        leads = convnet.found_leads(comparisons)
        ahead = ", ".join(
            f"{'' if grid == 'decades' else f'by {grid} '}{lead.intervals['adam']:+.4f}"
            for grid, _, lead in leads
        )
        seeds = " and ".join(str(lead.count) for *_, lead in leads)
        told.append(f"{ahead} ({seeds} fresh seeds)" if leads else "not run")
    largest, shallow, small = told
    where = f"of depth 1 {shallow}; of depth 2 on a smaller ConvNet {small}"
    return said, f"best found rule minus ADAM {largest}; of searches {where}"


def reported_beats_adam() -> Told:
    row = convnet.reported_beat_human()
    return answer(row), row.number


def carries_over() -> Told:
    rows = {
        "Wide ResNet": elsewhere.transfers("wrn", "", ""),
        "Fashion-MNIST": elsewhere.transfers("fashion", "", ""),
        "language model": elsewhere.transfers("text", "", ""),
        "300 epochs": convnet.last_for_long(),
        "Rosenbrock": elsewhere.rosenbrock_valley(),
    }
    shown = sum(answer(row) == "yes" for row in rows.values())
    each = ", ".join(f"{name} {answer(row).split(',')[0]}" for name, row in rows.items())
    return f"shown by {shown} of {len(rows)} tests", each


def otherwise() -> Told:
    settings = {  # of REINFORCE: what to say of it, and the random search that is treated alike
        "paper": ("in the paper's setting", "random"),
        "wide": ("with larger steps", "random"),
    }
    ratios = {said: ratio_of("study", f"reinforce-{kind}", rival, "found_fresh")
              for kind, (said, rival) in settings.items()}  # fmt: skip
    times = ", ".join(f"{ratio.times.middle:.1f} {said}" for said, ratio in ratios.items() if ratio)
    told = [f"top rules, times random: REINFORCE {times or '-'}"]
    pairs = {  # of guided search and evolution: the depth, and the folder with evolution's best setting
        1: ("study-guided-depth1-fresh", "evolution-200-25"),
        2: ("study-guided", "evolution-100-25"),
    }
    leads = {depth: families_ratio(folder, "guided", rival, TOP)
             for depth, (folder, rival) in pairs.items()}  # fmt: skip
    if ahead := ", ".join(f"{lead:.2f} at depth {depth}" for depth, lead in leads.items() if lead):
        told.append(f"families with at least {TOP}, times evolution: guided search {ahead}")
    what = "guide a search by what behaves alike, and judge on fresh seeds and a finer grid"
    return what, "; ".join(told)


QUESTIONS = {
    "Does the loop learn?": learns,
    "Does it find more top rules than random search, in the paper's setting (recalled)?": finds_more,
    "Does it find anything better than Adam?": beats_adam,
    "Is the best rule that the paper reports (recalled) better than Adam?": reported_beats_adam,
    "Do found rules carry over?": carries_over,
    "What would we do differently?": otherwise,
}


def main(argv: list[str] | None = None) -> int:
    Parser(prog="python -m reproduce.answers", description=__doc__).parse_args(argv)
    print(
        "\n".join(
            markdown(("question", "answer", "numbers"), [(q, *tell()) for q, tell in QUESTIONS.items()])
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(as_program(main))
