"""What tests of the studies share: one tiny search, whose best rules they train again."""

import pytest
from helpers import tiny_search


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    # That it starts from Adam and a rule that acts like SGD makes both candidates for "found".
    start = ["--start-from", "adam", "g m id id left"]
    start += [f"{operand} v drop0.3 id left" for operand in ("g", "m", "adam")]  # five others in all
    return tiny_search(tmp_path_factory.mktemp("searched") / "search", *start, batch_size=20)
