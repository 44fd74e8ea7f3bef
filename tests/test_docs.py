"""The documents keep their word: flags exist, links lead somewhere, code runs, layers hold."""

import ast
import csv
import importlib
import re
from pathlib import Path

import pytest

import results
import rules
import search
from config import Parser
from export.advice import advise
from reproduce import claims
from reproduce import tables as reproduce

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / name for name in ("README.md", "RESULTS.md", "data/README.md", "nosbench/data/README.md")
]
README = (ROOT / "README.md").read_text("utf-8")

# A file imports only from layers above its own; the scripts come last and nothing imports them. That
# search.py draws its own learning curve is why plots stand before it.
CODE = [*ROOT.glob("*.py"), *ROOT.glob("plots/*.py"), *ROOT.glob("benches/*.py")]
CODE += ROOT.glob("verdicts/*.py")
LAYERS = [
    {"cluster", "columns", "config", "dsl", "pool", "progress", "results", "significance"},
    {"advice", "foreach", "distinct"},
    {"export"},
    {"data", "policy", "rules", "screen"},
    {"child", "controller", "baselines"},
    {"proposer", "table", "trials"},
    {"micro", "searches", "tasks", "datacard", "textbook"},
    {"oracle"},
    {"plots", "benches"},
    {"search", "compare", "rescore", "longrun", "robustness", "transfer", "rosenbrock"}
    | {"nosbench", "cifar_tier", "study", "bench", "reproduce"},
    {"verdicts"},
    {"claims"},
]


def options(parser: Parser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_resolve(document):
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8"))
    for link in links:
        if not link.startswith("http"):
            path, _, anchor = link.partition("#")
            target = (document.parent / path) if path else document
            assert target.exists(), f"{document.name} links to {link}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.M)
                anchors = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
                assert anchor in anchors, f"{document.name} links to {link}"


def test_the_claims_are_what_the_records_say(capsys):
    assert claims.main([]) == 0
    assert capsys.readouterr().out.strip() in (ROOT / "RESULTS.md").read_text("utf-8")


def test_numbers_on_top_of_the_readme_stand_in_tables_of_the_results():
    top = README.split("\n## ")[0]
    points = "\n".join(re.findall(r"^- .*?(?=^- |\n\n)", top, re.S | re.M))
    tables = "\n".join(
        block[0] for block in reproduce.BLOCK.finditer((ROOT / "RESULTS.md").read_text("utf-8"))
    )
    assert len(reproduce.numbers(points)) > 10
    assert reproduce.unproven(f"## Top\n{points}\n<!-- run: all -->\n{tables}\n<!-- end -->") == []
    assert reproduce.unproven("## Top\n- 123,456 rules\n<!-- run: all -->\n1\n<!-- end -->") != []


def test_flags_of_the_documents_exist():
    known = options(search.make_parser())
    for document in DOCUMENTS:
        for line in document.read_text("utf-8").splitlines():
            if (
                "search.py" in line
                or "make search" in line
                or line.strip().startswith(("-", "3.", "4.", "5."))
            ):
                flags = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", line))
                assert flags <= known, f"{document.name}: {line}"


SCRIPTS = ("compare", "rescore", "longrun", "robustness", "transfer", "rosenbrock", "study", "screen")
SCRIPTS += ("bench",)


@pytest.mark.parametrize("script", SCRIPTS)
def test_flags_of_other_scripts_in_the_documents_exist(script, capsys):
    with pytest.raises(SystemExit):
        importlib.import_module(script).main(["--help"])
    known = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", capsys.readouterr().out))
    text = "\n".join(path.read_text("utf-8").replace("\\\n", " ") for path in DOCUMENTS)
    lines = [line for line in text.splitlines() if f"python {script}.py" in line]
    named = {flag for line in lines for flag in re.findall(r" (--[a-z-]+)", line)}
    assert lines and named <= known


def test_settings_have_help_and_units_in_reach():
    text = search.make_parser().format_help()
    for option in options(search.make_parser()) - {"-h"}:
        assert option in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_line_is_a_placeholder(document):
    assert re.findall(r"^[A-Z]{6,}$", document.read_text("utf-8"), re.M) == []


@pytest.mark.parametrize("command", re.findall(r"^\$ python rules.py (.*)\n", README, re.M))
def test_pasted_output_is_what_the_command_prints(command, capsys):
    pasted = re.search(rf"^\$ python rules.py {re.escape(command)}\n(.*?)^```", README, re.M | re.S)[1]
    rules.main([*command.split(), "--runs", str(ROOT / "runs" / "published")])
    printed = capsys.readouterr().out
    for part in pasted.split("\n...\n"):
        assert part.strip() in printed


@pytest.mark.parametrize("table", sorted((ROOT / "runs/published").glob("*/hall_of_fame.csv")), ids=str)
def test_published_halls_of_fame_hold_the_advice_of_their_records(table):
    records = results.read_records(table.parent)
    humans = results.read_humans(table.parent)
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == [r["id"] for r in results.best_distinct(records, 100)]
    for row in rows:
        said = advise(records[int(row["id"])], humans)
        wanted = {"lr_low": said.low, "lr_high": said.high, "lr_open": said.open or None}
        wanted["lr_to_adam"] = said.to_adam
        assert {name: row[name] for name in wanted} == {
            name: "" if value is None else str(value) for name, value in wanted.items()
        }


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.S))
def test_python_examples_run(code):
    exec(compile(code, "README.md", "exec"), {})


def test_worked_string_means_what_the_readme_says():
    from dsl import Rule

    assert Rule.parse("m g2 id exp div").infix() == "m / (exp(g^2) + eps)"
    assert (
        Rule.parse("sign_g sign_m id id mul | r1 g exp id mul").infix() == "exp(sign(g) * sign(m)) * g"
    )


def test_reading_order_names_every_file_with_its_length():
    rows = dict(re.findall(r"^\| \[([\w/]+\.py)\]\([\w/]+\.py\) \| (\d+) ", README, re.M))
    files = {str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.py")]}
    assert files <= rows.keys()
    for name, lines in rows.items():
        actual = len((ROOT / name).read_text("utf-8").splitlines())
        assert abs(actual - int(lines)) <= 15, f"{name} has {actual} lines, README says {lines}"


def test_the_diagram_has_the_layers():
    diagram = re.search(r"^```text\n(claims  .*?)```", README, re.M | re.S)[1]
    drawn = [set(re.findall(r"\b[a-z_]+\b", layer.split("   ")[0])) for layer in diagram.split("   |\n")]
    drawn[2] = set(re.findall(r"\b[a-z_]+\b", diagram.split("   |")[2].replace("the scripts", "")))
    assert drawn == LAYERS[::-1]


def test_imports_point_down_only():
    level = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    for path in CODE:
        own = path.stem if path.parent == ROOT else path.parent.name
        assert own in level, f"{path.name} has no layer"
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            for name in {name.split(".")[0] for name in names} & level.keys():
                fine = level[name] < level[own] or name == own and path.parent != ROOT
                assert fine or (level[name] == level[own] == 0), f"{path.name} imports {name}"


def test_every_open_choice_and_deviation_is_listed_in_results():
    """Each marked comment in the code has a row in RESULTS.md that names its file."""
    text = (ROOT / "RESULTS.md").read_text("utf-8")
    for path in CODE:
        for word in ("DEVIATION", "UNSPECIFIED"):
            name = str(path.relative_to(ROOT))
            marks = len(re.findall(rf"# {word}:", path.read_text("utf-8")))
            rows = len(re.findall(rf"^\| {word.lower()} \| {re.escape(name)} \|", text, re.M))
            assert marks == rows, f"{name} has {marks} {word} marks, RESULTS.md lists {rows}"
