"""The house stands: few files in front, arrows down only, rooms closed until somebody goes in."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A file or room imports only what is below it or, on its own floor, left of it.
FLOORS = [
    ["config", "dsl", "pool", "results"],
    ["faces", "sameness", "data", "screen"],
    ["rules", "training", "child", "controller", "rivals"],
    ["loop", "cluster", "tasks", "search", "rosenbrock"],
    ["plots", "export", "bench", "nosbench"],
    ["studies"],
    ["reproduce"],
]
PLACE = {name: (floor, i) for floor, names in enumerate(FLOORS) for i, name in enumerate(names)}
ROOMS = [path.parent for path in sorted(ROOT.glob("*/__init__.py"))]
# Who may go up, inside a function, when its own work is done.
UP = {("dsl", "faces"), ("dsl", "sameness"), ("rules", "export"), ("search", "plots")}
FRONT = sorted(ROOT.glob("*.py"))
FILES = [*FRONT, *(path for room in ROOMS for path in sorted(room.rglob("*.py")))]
SCRIPTS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in FILES
    if '__name__ == "__main__"' in path.read_text("utf-8")
]


def imports(tree: ast.AST, everywhere: bool) -> set[str]:
    """Return the files and rooms of this repository that code imports, in functions too if asked."""
    names, todo = set(), [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
        if everywhere or not isinstance(node, ast.FunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return {name.split(".")[0] for name in names} & PLACE.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_down(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    tree = ast.parse(path.read_text("utf-8"))
    at_once, later = (imports(tree, everywhere) - {own} for everywhere in (False, True))
    assert own in PLACE
    assert {name for name in at_once if PLACE[name] > PLACE[own]} == set()
    assert {name for name in later if PLACE[name] > PLACE[own]} <= {up for down, up in UP if down == own}


def test_all_programs_but_one_that_is_copied_alone_end_in_as_program():
    paths = {name: ROOT / f"{name.replace('.', '/')}.py" for name in SCRIPTS}
    ends = {name: path.read_text("utf-8").splitlines()[-1].strip() for name, path in paths.items()}
    assert [name for name in SCRIPTS if ends[name] != "sys.exit(as_program(main))"] == ["rules"]


STEPS = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    print(json.dumps([name for name in sys.modules if name == "torch._dynamo" or "." not in name]))
"""


def test_importing_the_front_opens_no_room_and_no_library_it_does_not_need():
    """Really imported, one after the other."""
    assert len(FRONT) <= 17
    assert [room.name for room in ROOMS] == "bench export nosbench plots reproduce studies tasks".split()
    others = [path.stem for path in FRONT if path.stem not in ("rules", "rosenbrock")]
    command = [sys.executable, "-c", STEPS, "rules", "rosenbrock", *others]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rules, rosenbrock, *_, everything = map(set, map(json.loads, done.stdout.splitlines()))
    assert rules & PLACE.keys() == {"rules", "dsl"}
    assert rosenbrock & PLACE.keys() == {"rosenbrock", "rules", "dsl", "config"}
    assert everything & PLACE.keys() == {path.stem for path in FRONT}
    assert not everything & {"matplotlib", "scipy", "torch._dynamo"}
