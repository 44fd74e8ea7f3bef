"""What a reader of the results asks first, answered from the records: the first lines of RESULTS.md.

    python -m reproduce.answers

Words such as Yes and No follow the verdicts, numbers come with them. Read next: claims.py.
"""

import sys

from config import Parser, as_program

import numpy as np

from reproduce import convnet, elsewhere, searching
from reproduce.reading import OURS, PAPERS, Claim, ratio_of

SAID = dict(zip((*PAPERS, *OURS), ("yes", "in part", "no") * 2, strict=True))


def answer(row: Claim) -> str:
    """Return a verdict as an answer: yes, in part, no, or why there is none."""
    return SAID.get(row.verdict.split(",")[0], row.verdict)


def learns() -> str:
    rises, more = searching.samples_improve(), searching.paper_setting_finds()
    _, chance = searching.endings("random")
    stays = [f"{np.mean([one['latest fifth'] for one in chance]):.3f}"] if chance else []
    ends = "".join(f"; random search stays at {mean}" for mean in stays)
    return (
        f"{answer(rises).capitalize()}: {rises.number}{ends}. Does it find more top rules than random "
        f"search with the paper's setting (recalled)? {answer(more).capitalize()}: {more.number}."
    )


def beats_adam() -> str:
    """Whether the found rule does is told by the intervals of its lead over Adam alone."""
    found, reported = convnet.found_beat_human(), convnet.reported_beat_human()
    surely = [lead.intervals["adam"].low > 0 for _, _, lead in convnet.found_leads()]
    said = "Not run" if not surely else "Yes" if all(surely) else "In part" if any(surely) else "No"
    return (
        f"{said}: the found rule that was best on other seeds {found.number} in accuracy ({found.n}). "
        "Is the best rule that the paper reports (recalled) better? "
        f"{answer(reported).capitalize()}: {reported.number}."
    )


def carries_over() -> str:
    rows = {
        "a Wide ResNet": elsewhere.transfers("wrn", "", ""),
        "Fashion-MNIST": elsewhere.transfers("fashion", "", ""),
        "a language model": elsewhere.transfers("text", "", ""),
        "300 epochs": convnet.last_for_long(),
        "Rosenbrock's function": elsewhere.rosenbrock_valley(),
    }
    shown = sum(answer(row) == "yes" for row in rows.values())
    each = "; ".join(f"{name}: {answer(row)}" for name, row in rows.items())
    return f"Shown by {shown} of {len(rows)} tests of found rules: {each}."


def otherwise() -> str:
    settings = {  # of REINFORCE: what to say of it, and the random search that is treated alike
        "paper": ("with the paper's setting", "random"),
        "wide": ("with larger steps and entropy weight", "random"),
        "new": ("with an elite too, both searches passing over known rules", "random-new"),
    }
    ratios = {said: ratio_of("study", f"reinforce-{kind}", rival, "found_fresh")
              for kind, (said, rival) in settings.items()}  # fmt: skip
    times = ", ".join(f"{ratio.times.middle:.1f} {said}" for said, ratio in ratios.items() if ratio)
    found = convnet.found_leads()
    leads = " and ".join(f"{lead.intervals['adam'].middle:+.4f} by {grid}" for grid, _, lead in found)
    return (
        "Ask a search for many good rules, not for a high mean: REINFORCE finds so many times random "
        f"search's top rules: {times or '-'}. And judge on fresh seeds and a finer grid of rates: the "
        f"found rule's lead over Adam is {leads or '-'}."
    )


QUESTIONS = {
    "Does the loop learn?": learns,
    "Does it find anything better than Adam?": beats_adam,
    "Does that carry over?": carries_over,
    "What would we do differently?": otherwise,
}


def main(argv: list[str] | None = None) -> int:
    Parser(prog="python -m reproduce.answers", description=__doc__).parse_args(argv)
    rows = [f"| {question} | {said()} |" for question, said in QUESTIONS.items()]
    print("\n".join(["| question | answer |", "| --- | --- |", *rows]))
    return 0


if __name__ == "__main__":
    sys.exit(as_program(main))
