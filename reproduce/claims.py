"""The claims of the paper one by one: what the published runs say of each, with a verdict by rule.

    python -m reproduce.claims          # prints the table on top of RESULTS.md, as Markdown

Each function of verdicts/ that is called below reads records from runs/published and returns one row:
claim, the paper's words in short, what was measured, on how much, and the verdict. Its docstring says
when a claim counts as reproduced; "partly" is some of that. What has no records is "not run". Nothing
is chosen by a test set. Read next: verdicts/reading.py.
"""

import signal
import sys

from config import Parser
from reproduce import convnet, elsewhere, searching
from reproduce.reading import Claim

OTHERS = "to other data and tasks, not this"


def claims() -> list[Claim]:
    return [
        searching.samples_improve(),
        searching.many_do_well(),
        searching.paper_setting_learns(),
        searching.paper_setting_finds(),
        searching.beats_random_search(),
        searching.beats_careful_search(),
        convnet.found_beat_human(),
        convnet.reported_beat_human(),
        convnet.last_for_long(),
        elsewhere.transfers("wrn", "found rules transfer to a Wide ResNet", "yes (recalled)"),
        elsewhere.reported_transfer(),
        elsewhere.transfers("fashion", "found rules transfer to Fashion-MNIST", OTHERS),
        elsewhere.transfers("text", "found rules transfer to a language model", OTHERS),
        convnet.survives_changes(),
        elsewhere.rosenbrock_valley(),
    ]


def main(argv: list[str] | None = None) -> int:
    Parser(prog="claims.py", description=__doc__).parse_args(argv)
    rows = [Claim._fields, ["---"] * len(Claim._fields), *claims()]
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so that `... | head` ends it quietly
    sys.exit(main())
