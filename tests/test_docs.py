"""The documents keep their word: links lead somewhere, commands and flags exist, code runs."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import undrawn
from test_structure import SCRIPTS

import results
from nosbench import search as table_search

ROOT = Path(__file__).parent.parent
NAMES = ("README.md", "RESULTS.md", "CLUSTER.md", "EXERCISES.md", "data/README.md")
DOCUMENTS = [ROOT / name for name in NAMES]
DOCUMENTS += [*sorted(ROOT.glob("nosbench/data/*.md")), *sorted(ROOT.glob("reproduce/*.md"))]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_resolve(document):
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        if not link.startswith("http"):
            path, _, anchor = link.partition("#")
            target = (document.parent / path) if path else document
            assert target.exists(), f"{document.name} links to {link}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.M)
                anchors = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
                assert anchor in anchors, f"{document.name} links to {link}"


def commands() -> dict[str, list[tuple[str, str]]]:
    """Return for each script that the documents run, (document, flag) of all flags it is given."""
    found: dict[str, set[tuple[str, str]]] = {}
    for document in DOCUMENTS:
        text = document.read_text("utf-8").replace("\\\n", " ")
        text = re.sub(r"make search ARGS=\"(.*?)\"", r"python search.py \1", text)
        for module, file, rest in re.findall(r"python (?:-m ([\w.]+)|(\w+)\.py)([^\n`#|]*)", text):
            flags = found.setdefault(module or file, set())
            flags |= {(document.name, flag) for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", rest)}
    others = ("dask", "pytest", "venv")
    return {script: sorted(flags) for script, flags in found.items() if script not in others}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_has_help_and_the_flags_that_documents_give_it(script, capsys):
    main, known = importlib.import_module(script).main, set()
    for way in ("list", "show", "export") if script == "rules" else ("",):
        with pytest.raises(SystemExit) as stop:
            main([*way.split(), "--help"])
        said = capsys.readouterr().out
        run = f"{script}.py" if (ROOT / f"{script}.py").exists() else f"python -m {script}"
        assert stop.value.code == 0 and re.match(rf"usage: (python )?{re.escape(run)} ", said)
        known |= set(re.findall(r"(?<![\w-])--[a-z][\w-]*", said))
    given = commands()
    assert given.keys() <= {*SCRIPTS}
    assert [(document, flag) for document, flag in given.get(script, ()) if flag not in known] == []


@pytest.mark.slow
def test_python_examples_run_as_scripts(tmp_path):
    (tmp_path / "tasks").symlink_to(ROOT / "tasks")
    codes = re.findall(r"```python\n(.*?)```", README, re.S)
    for number, code in enumerate(codes):
        (tmp_path / f"{number}.py").write_text(code)
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, f"{number}.py"], cwd=tmp_path, env=env, check=True)
    assert len(codes) == 2


def test_the_examples_of_tasks_are_the_published_ones():
    rows = re.findall(r"^\| `(\w+)\.py`.* \| (\w+) (\S+) \| (\S+), `(.*)` \|$", README, re.M)
    assert len(rows) == 3
    for task, human, *shown in rows:
        folder = ROOT / f"runs/published/own-{task}"
        sign = -1 if results.read_config(folder)["score_name"].startswith("minus ") else 1
        person = max(results.read_humans(folder), key=lambda one: one["reward"])
        best = results.best_families(results.read_records(folder), 1)[0]
        told = f"{sign * person['reward']:.3g}", f"{sign * best.reward:.3g}", best.best["infix"]
        assert (human.lower(), *shown) == (person["name"], *told)


@pytest.mark.parametrize("flags, preset", [("--seed 3", "laptop"), ("--preset smoke", "smoke")])
def test_make_search_names_one_preset(flags, preset):
    command = ["make", "--dry-run", "--old-file", ".venv/ready", "search", f"ARGS={flags}"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"--preset (\w+)", shown) == [preset]


def test_the_readme_names_every_file_in_front_and_every_room():
    named = set(re.findall(r"^\| \[([\w/.]+)\]", README, re.M))
    rooms = {f"{path.parent.name}/" for path in ROOT.glob("*/__init__.py")} | {"tests/"}
    assert named == {path.name for path in ROOT.glob("*.py")} | rooms


def test_every_number_of_an_update_is_explained(tmp_path):
    fields = set()
    for algorithm in ("trpo", "evolution", "guided"):  # they write all that the others do
        flags = ["--algorithm", algorithm, "--samples", "5", "--out", str(tmp_path / algorithm)]
        with undrawn():
            assert table_search.main(flags) == 0
        fields |= results.read_lines(tmp_path / algorithm / "updates.jsonl")[-1].keys()
    table = results.__doc__.split("In a controller update")[1]
    rows = re.findall(r"^    (\w+(?:, \w+)*)", table, re.M)
    assert fields == {name for row in rows for name in row.split(", ")}
