"""The report: its numbers are the records', it loads nothing, and a browser draws it."""

import base64
import contextlib
import io
import json
import re
from xml.etree import ElementTree

import pytest
from helpers import refusal
from made_runs import make_run, rewrite_records

import results
from plots import report

HEADINGS = ["Learning curve", "The controller", "What became of the rules", "Hall of fame"]
HEADINGS += ["Accuracy against size", "Workers", "Settings and versions"]


class Page:
    """What a browser shows of a page; a tag that is left open is an error."""

    def __init__(self, text: str):
        text = text.removeprefix("<!doctype html>")
        self.tree = ElementTree.fromstring(re.sub(r"<((meta|link|img) [^>]*)>", r"<\1/>", text))
        self.text = " ".join(" ".join(self.tree.find("body").itertext()).split())
        rows = [table.iter("tr") for table in self.tree.iter("table")]
        self.tables = [[["".join(cell.itertext()) for cell in row] for row in some] for some in rows]
        start = "data:image/png;base64,"
        images = [image.get("src").removeprefix(start) for image in self.tree.iter("img")]
        self.images = [base64.b64decode(image, validate=True) for image in images]

    @property
    def tags(self) -> set[str]:
        return {element.tag for element in self.tree.iter()}


# A run whose page can be worked out by hand: one worker, six trainings, three rejected rules.
SWEEP = [[1e-3, 0.2], [1e-2, 0.5], [1e-1, 0.49], [1.0, None]]
STATUSES = ("ok", "ok", "diverged", "ok", "diverged", "ok", "rejected", "rejected", "rejected")
REWARDS = (0.5, 0.7, 0.0, 0.4, 0.0, 0.6, 0.0, 0.0, 0.0)
KEYS = ("g", "mul(g,exp(m))", "v", "neg(g)", "log(g)", "add(g,m)", "1", "2", "3")
RULES = [f"m {x} id id mul" for x in ("g", "sign_m", "g3", "m", "v", "gamma", "1", "sign_g", "g2")]
RULES[3] = "m sign_m id id mul | r1 1 id exp mul"  # e times rule 1, so of its family
STARTS = (10.0, 20.0, 40.0, 50.0, 60.0, 70.0)  # ten seconds of work each, and ten without


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("plain") / "run", samples=len(STATUSES), people={})
    adam = {"name": "adam", "rule": "adam 1 id id mul", "status": "ok", "reward": 0.55, "lr": 1e-3}
    adam |= {"sweep": [[1e-3, 0.4], [1e-2, 0.3], [1e-1, 0.1], [1.0, None]], "curve": [0.3]}
    adam |= {"start_s": 0.0, "wall_s": 10.0, "worker": "worker-1", "error": None}
    (folder / "humans.jsonl").write_text(json.dumps(adam) + "\n")
    rows = results.read_lines(folder / "records.jsonl")
    for k, (row, status, reward) in enumerate(zip(rows, STATUSES, REWARDS, strict=True)):
        row |= {"status": status, "reward": reward, "sweep": SWEEP, "lr": 1e-2, "key": KEYS[k]}
        row |= {"rule": RULES[k], "infix": f"rule {k}", "cached_from": None, "error": None}
        row |= {"worker": "worker-1", "start_s": None, "wall_s": None, "curve": [reward]}
        if status == "rejected":
            row["error"] = "does not move the weights" if k == 6 else "never looks at the gradient"
        else:
            row |= {"start_s": STARTS[k], "wall_s": 10.0}
    return rewrite_records(folder, rows)


@pytest.fixture(scope="module")
def plain(plain_run) -> str:
    """The page, written in place of an older one."""
    page = plain_run / "report.html"
    page.write_text(report.START + "an older one")
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert report.main([str(plain_run)]) == 0
    assert said.getvalue() == f"Wrote {page}, in place of an older one\n"
    return page.read_text()


def test_page_is_whole_loads_nothing_and_takes_the_place_of_nothing_else(plain, plain_run, capsys):
    page = Page(plain)
    assert not {"script", "iframe", "object", "base", "svg"} & page.tags
    attributes = [pair for element in page.tree.iter() for pair in element.items()]
    assert {value for name, value in attributes if name == "href"} == {"data:,"}
    assert not any(name.startswith("on") for name, _ in attributes)
    assert "@import" not in plain and "url(" not in report.CSS
    assert re.findall(r"<h2>(.*?)</h2>", plain) == HEADINGS
    assert len(page.images) == 4
    assert all(image.startswith(b"\x89PNG\r\n") and len(image) > 10_000 for image in page.images)
    assert len({image.get("alt") for image in page.tree.iter("img")}) == 4
    records = plain_run / "records.jsonl"
    before = records.read_bytes()
    what = refusal(report.main, [str(plain_run), "-o", str(records)], capsys)
    assert "exists and is no report" in what and records.read_bytes() == before


def test_numbers_of_the_page_are_those_of_the_records(plain):
    page = Page(plain)
    assert "1 run, 9 rules, finished. Best family of rules: 0.6000. " in page.text
    assert "Best human optimizer, trained alike: Adam, 0.5500." in page.text
    funnel, fame, front, settings = page.tables
    ways = {"sampled": "9 (100%)", "trained to the end": "4 (44%)", "diverged": "2 (22%)"}
    ways |= {"rejected: never looks at the gradient": "2 (22%)"}
    assert dict(funnel) == {"": "TRPO"} | ways | {"rejected: does not move the weights": "1 (11%)"}
    one = ["-", "1", "1", "0"]  # training, rule, and the seed
    rates, lowest = ["0.01 (0.01..0.1)", "10x"], ["<=0.001 (<=0.001..<=0.001)", "<=1x"]
    assert fame[1:] == [
        ["1", "0.6000", *one, "rule 5", *rates, RULES[5], "#5 of run"],
        ["2", "0.5500", "0.2121", "2", "2", "0", "rule 1", *rates, RULES[1], "#1 of run"],
        ["", "0.5500", "-", "1", "1", "-", "Adam", *lowest, "adam 1 id id mul", "made by people"],
        ["3", "0.5000", *one, "rule 0", *rates, RULES[0], "#0 of run"],
    ]
    # Of two nodes there is neg(g) alone, the smallest of rule 1's family.
    assert front[1:] == [["1", "0.5000", "rule 0"], ["2", "0.5500", "rule 3"], ["3", "0.6000", "rule 5"]]
    preset = {"dataset": "fashion-mnist-sample", "downsample": "stride", "samples": "9", "seed": "0"}
    assert dict(settings).items() >= {**preset, "command": "test", "algorithm": "trpo"}.items()


def test_a_run_is_shown_as_far_as_it_has_come(tmp_path):
    folder = make_run(tmp_path / "begun", samples=4, people={}, begun=True, algorithm="reinforce")
    page = Page(report.page([folder]))
    assert "1 run, 4 rules, in progress, 4 of 100 rules" in page.text
    assert "1 of 1 run not finished" in page.text
    assert "No random search is among these runs" in page.text
    assert re.search(r"No figure: \S+ has no updates yet\.", page.text)
    assert page.tables[0][1] == ["sampled", "4 (100%)"]
    # Nothing has trained to the end, and nobody needs a controller, nor in the end a worker.
    folder = make_run(tmp_path / "run", samples=3, people={}, algorithm="random")
    failed = {"status": "diverged", "reward": 0.0, "lr": None, "curve": []}
    for place, headings in (({}, ["Workers"]), ({"start_s": None}, [])):
        rows = [line | failed | place for line in results.read_lines(folder / "records.jsonl")]
        page = Page(report.page([rewrite_records(folder, rows)]))
        for why in ("no rule has trained to the end", "no run has a controller"):
            assert f"No figure: {why}" in page.text
        assert ["diverged", "3 (100%)"] in page.tables[0]
        assert len(page.images) == 1 + len(headings) and headings == re.findall("Workers", page.text)


def test_nothing_from_a_file_becomes_markup(tmp_path):
    evil = '<script>alert("x")</script>'
    folder = make_run(tmp_path / "<b>run & co", samples=12)
    lines = results.read_lines(folder / "records.jsonl")
    ok = next(line for line in lines if line["status"] == "ok" and line["cached_from"] is None)
    best = ok | {"id": 12, "rule": "g3 sign_m sqrt id mul", "reward": 0.99}
    best |= dict.fromkeys(("infix", "worker", "key", "error"), evil)
    rejected = best | {"id": 13, "status": "rejected", "key": "other", "reward": 0.0}
    rewrite_records(folder, [*lines, best, rejected])
    meta = json.loads((folder / "meta.json").read_text()) | {"command": evil}
    (folder / "meta.json").write_text(json.dumps(meta))
    page = Page(report.page([folder]))
    assert not {"script", "b"} & page.tags
    assert page.text.count(evil) >= 4 and "<b>run & co" in page.text
