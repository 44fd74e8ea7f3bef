"""The report: its numbers are the records', nothing leaves its place, and a browser draws it."""

import json
import random
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from test_plots import make_run

import results
from dsl import OPERANDS, SUBSETS, SearchSpace, apply_rule
from plots import report
from rules import NAMED_RULES, find

PUBLISHED = sorted(
    (Path(__file__).parent.parent.parent / "runs" / "published").glob("laptop-cifar10-*-s[012]")
)

# --- formulas -------------------------------------------------------------------------------------

NAMES = {"Adam": "adam", "RMSProp": "rmsprop", "γ̂": "gamma", "m̂": "m", "v̂": "v", "ε": "noise"}
SYMBOLS = {"·": "*", "−": "-", "δ": "1e-8"}


def to_python(element) -> str:
    """Read MathML as a person does: rows side by side, structure from fractions, roots and powers."""
    parts = [to_python(child) for child in element]
    text = (element.text or "").strip()
    if element.tag == "mfrac":
        return "(({})/({}))".format(*parts)
    if element.tag == "msup":
        return "exp({1})".format(*parts) if parts[0] == "e" else "(({})**({}))".format(*parts)
    if element.tag == "msqrt":
        return f"sqrt({''.join(parts)})"
    if element.tag == "mover":
        return NAMES[parts[0] + "\u0302"]
    if element.tag in ("mrow", "math"):
        if parts[0] == "|":
            return f"abs({''.join(parts[1:-1])})"
        return f"log({parts[1]})" if parts[0] == "log" else "".join(parts)
    if element.tag == "mo" and text == "^":
        return ""
    return SYMBOLS.get(text, NAMES.get(text, text.replace("−", "-")))


def test_formula_in_a_page_means_the_rule():
    rng = random.Random(0)
    tokens = SUBSETS["arxiv"]
    unary = tuple(u for u in tokens["unary"] if not u.startswith("drop"))  # random, so tested below
    operands = tuple(token for token in tokens["operands"] if token != "anoise")
    spaces = [SearchSpace(depth, operands, unary, tokens["binary"]) for depth in (1, 2, 3)]
    rules = [spaces[k % 3].sample(rng) for k in range(400)]
    generator = torch.Generator().manual_seed(0)
    values = {t: 0.1 + torch.rand(1, generator=generator, dtype=torch.float64) for t in OPERANDS}
    values |= {f"1e-{k}w": 10.0**-k * values["m"] for k in (1, 2, 3, 4)}
    values |= {f"g{k}": values["g"] ** k for k in (2, 3)}
    values |= {"1": torch.ones(1, dtype=torch.float64), "2": 2 * torch.ones(1, dtype=torch.float64)}
    values |= {f"sign_{x}": values[x].sign() for x in "gm"}
    tools = {"exp": torch.exp, "sqrt": torch.sqrt, "log": torch.log, "abs": torch.abs, "w": values["m"]}
    tools |= {"clip": lambda x, c: x.clamp(-c, c), "sign": torch.sign}

    def number(text: str):  # literals as tensors, so that exp(1) works
        return re.sub(r"(?<![\w.])(\d+(?:\.\d+)?(?:e-\d+)?)(?!\w)", r"T(\1)", text)

    for rule in rules:
        code = number(to_python(ElementTree.fromstring(mathml(rule))))
        scope = {**tools, **values, "T": lambda x: torch.tensor([x], dtype=torch.float64)}
        wanted = apply_rule(rule, values)
        torch.testing.assert_close(eval(code, scope), wanted, rtol=1e-9, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", NAMED_RULES)
def test_formula_of_a_named_rule_is_well_formed_and_names_its_drop(name):
    element = ElementTree.fromstring(mathml(find(name)))
    assert element.attrib == {"displaystyle": "true"}  # or fractions are as small as exponents
    text = "".join(element.itertext())
    for chance in re.findall(r"drop\(\w, (0\.\d)\)", find(name).infix()):
        assert re.search(rf"drop\(\w\^?,{chance}\)", text)


# --- charts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [(0, 1), (0, 500), (0.31, 0.398), (0, 3.7), (0, 1e-3), (5, 5)])
def test_ticks_are_round_and_within_the_limits(limits):
    found = ticks(*limits)
    assert 1 <= len(found) <= 8 and found == sorted(found)
    assert all(limits[0] - 1e-9 <= tick <= limits[1] + 1e-9 for tick in found)
    if len(found) > 1:
        step = found[1] - found[0]
        assert f"{step:e}"[0] in "125" or f"{step * 1.0000001:e}"[0] in "125"


def test_chart_puts_corners_in_corners():
    chart = Chart((10, 20), (-1, 1), ("x", "y"), height=200, right=60)
    x, y = chart.at([10, 20, 15], [-1, 1, 0])
    np.testing.assert_allclose(x, [LEFT, 300, (LEFT + 300) / 2])
    np.testing.assert_allclose(y, [200 - BOTTOM, TOP, (200 - BOTTOM + TOP) / 2])


def test_chart_escapes_texts_and_leaves_out_what_is_not_finite():
    chart = Chart((0, 3), (0, 1), ("<x>", "y&"))
    chart.line([0, 1, 2], [np.nan, 0.5, 1.0], "red", steps=True)
    chart.label(np.nan, "nowhere", "red")
    chart.label(0.5, "<b>", "red")
    svg = chart.svg("A & B")
    root = ElementTree.fromstring(svg)
    texts = [text.text for text in root.iter("text")]
    assert "<x>" in texts and "y&" in texts and "<b>" in texts and "nowhere" not in texts
    assert "nan" not in svg


# --- the page -------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags in order, checked for balance, and the visible text."""

    VOID = ("meta", "link", "br")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.attributes: list[tuple] = []
        self.feed(text)
        assert self.open == [], "tags are left open"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            if tag in ("td", "tr") and self.open[-1] == "td":
                self.open.pop()
            if tag == "tr" and self.open[-1] == "tr":
                self.open.pop()
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        while tag == "table" and self.open[-1] in ("td", "tr"):
            self.open.pop()  # HTML closes these by itself
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def published() -> str:
    return report.page(PUBLISHED)


def test_page_is_whole_and_loads_nothing(published):
    page = Page(published)
    assert not {"script", "img", "iframe", "object", "base"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href"):
            assert value == "data:,"
    assert "@import" not in published and "//" not in report.CSS
    assert 'name="viewport"' in published
    headings = re.findall(r"<h2>(.*?)</h2>", published)
    assert headings == [
        *("Learning curve", "What became of the rules", "Hall of fame"),
        *("Accuracy against complexity", "Workers", "Settings and versions"),
    ]


def test_numbers_of_the_page_are_those_of_the_records(published):
    lines = {folder: (folder / "records.jsonl").read_text().splitlines() for folder in PUBLISHED}
    records = [json.loads(line) for folder in PUBLISHED for line in lines[folder]]
    text = Page(published).text
    assert f"{len(PUBLISHED)} runs, {len(records):,} rules, finished" in text
    best: dict[str, float] = {}
    for record in records:
        if record["status"] == "ok":
            best.setdefault(record["key"], record["reward"])
    top = sorted(best.values(), reverse=True)[: report.MOST]
    shown = [float(y) for y in re.findall(r'<div class="what"><b>([\d.]+)</b> &nbsp; <math', published)]
    assert shown == pytest.approx(top, abs=5e-5)
    for algorithm in ("trpo", "random"):
        mine = [json.loads(line) for f in PUBLISHED if algorithm in f.name for line in lines[f]]
        ways = Counter("dup" if r["cached_from"] is not None else r["status"] for r in mine)
        for number in ways.values():
            assert f"{number:,} {number / len(mine):.0%}" in text
    dots = re.findall(r'<path d="((?:M[\d.]+ [\d.]+h0)+)"', published)
    drawn = sum(path.count("h0") for path in dots)
    fine = sum(record["status"] == "ok" for record in records)
    front = len(re.findall(r"<tr><td>\d+<td>0", published))
    assert drawn == fine + len(best) + front


def test_front_is_what_nothing_simpler_beats(published):
    rows = [(int(n), float(y)) for n, y in re.findall(r"<tr><td>(\d+)<td>([\d.]+)<td><math", published)]
    best: dict[str, float] = {}
    for folder in PUBLISHED:
        for line in results.read_lines(folder / "records.jsonl"):
            if line["status"] == "ok":
                best.setdefault(line["key"], line["reward"])
    # A key such as neg(mul(drop0.3#0(m),rmsprop)) names each node once.
    sized = {(len(re.findall(r"[^(),]+", re.sub(r"#\d+", "", key))), y) for key, y in best.items()}
    unbeaten = sorted(
        p for p in sized if not any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in sized)
    )
    assert rows == [(n, pytest.approx(y, abs=5e-5)) for n, y in unbeaten]


def test_same_runs_give_the_same_bytes(published):
    assert report.page(PUBLISHED) == published


# A run whose page can be worked out by hand: one worker, seven trainings, two rejected rules.
SWEEP = [[1e-3, 0.2], [1e-2, 0.5], [1e-1, 0.49], [1.0, None]]
STATUSES = ("ok", "ok", "diverged", "ok", "diverged", "ok", "rejected", "rejected", "rejected")
REWARDS = (0.5, 0.7, 0.0, 0.4, 0.0, 0.6, 0.0, 0.0, 0.0)
STARTS = (10.0, 20.0, 40.0, 50.0, 60.0, 70.0)  # ten seconds of work each, and ten without


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> str:
    folder = make_run(tmp_path_factory.mktemp("plain") / "run", samples=len(STATUSES), people={})
    adam = {"name": "adam", "rule": "adam 1 id id mul", "status": "ok", "reward": 0.3, "lr": 1e-3}
    adam |= {"sweep": [[1e-3, 0.4], [1e-2, 0.3], [1e-1, 0.1], [1.0, None]], "curve": [0.3]}
    adam |= {"start_s": 0.0, "wall_s": 10.0, "worker": "worker-1", "error": None}
    (folder / "baselines.jsonl").write_text(json.dumps(adam) + "\n")
    rows = results.read_lines(folder / "records.jsonl")
    for k, (row, status, reward) in enumerate(zip(rows, STATUSES, REWARDS, strict=True)):
        row |= {"status": status, "reward": reward, "sweep": SWEEP, "lr": 1e-2, "key": str(k)}
        row |= {"rule": "m g2 id exp div", "cached_from": None, "error": None, "worker": "worker-1"}
        row |= {"start_s": None, "wall_s": None}
        if status == "rejected":
            row["error"] = "does not move the weights" if k == 6 else "never looks at the gradient"
        else:
            row |= {"start_s": STARTS[k], "wall_s": 10.0}
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return report.page([folder])


def chart(page: str, title: str) -> ElementTree.Element:
    [svg] = re.findall(rf'<svg [^>]*aria-label="{title}">.*?</svg>.*?</svg>', page, re.S)
    return ElementTree.fromstring(svg)


def test_advice_stands_beside_each_rule(plain):
    text, good = Page(plain).text, "good from 0.01 to 0.1, 1 decade"
    wanted = f"lr 0.01, {good}; Adam's best is 0.001, so this is 10 times Adam's; #"
    assert text.count(wanted) == 4
    wanted = (
        "lr 0.001 or less (the smallest tried), no other rate as good; Adam's best is 0.001, the same;"
    )
    assert text.count(wanted) == 1


def test_sparkline_rises_with_accuracy_and_rings_the_best_rate():
    line = {"sweep": SWEEP, "lr": 1e-2}
    svg = ElementTree.fromstring(report.sparkline(line, "red", 0.5))
    curve, cross = (path.get("d") for path in svg.iter("path"))
    x, y = np.array(re.findall(r"([\d.]+) ([\d.]+)", curve), float).T
    assert y[1] < y[2] < y[0]  # upwards is less: 0.5, 0.49, 0.2
    np.testing.assert_allclose(np.diff(x), x[1] - x[0], atol=0.2)  # a decade is a decade
    [ring], [name] = svg.iter("circle"), svg.iter("text")
    assert (float(ring.get("cx")), float(ring.get("cy"))) == (x[1], y[1])
    assert name.text == "0.01" and float(name.get("x")) == x[1]
    assert float(re.match(r"M([\d.]+)", cross)[1]) > x[2]


def test_best_so_far_is_the_maximum_and_the_other_curve_the_mean(plain):
    texts = {t: [x.text for x in chart(plain, t).iter("text")] for t in ("Every rule", "Best so far")}
    assert "TRPO 0.700" in texts["Best so far"] and "Adam 0.300" in texts["Best so far"]
    assert "TRPO 0.000" in texts["Every rule"]  # the last two were rejected
    [steps] = [
        path.get("d")
        for path in chart(plain, "Best so far").iter("path")
        if "H" in path.get("d")[5:] and path.get("stroke-width") == "2"
    ]
    heights = [float(y) for y in re.findall(r"V([\d.]+)", steps)]
    assert heights == sorted(heights, reverse=True) and len(heights) == len(REWARDS) - 1


def test_workers_bars_have_their_colours_and_their_busy_share(plain):
    strokes = Counter(path.get("stroke") for path in chart(plain, "Workers of run").iter("path"))
    assert strokes[report.style.CONTROLLER] == 5  # Adam and four rules
    assert strokes[report.style.DIVERGED] == 2
    assert "1 worker, busy 88% of 80 s" in Page(plain).text  # 70 of 80 s


def test_settings_are_those_of_the_run(plain):
    text = plain[plain.index("Settings and versions") :]
    rows = dict(re.findall(r"<tr><td>([^<]*)<td>([^<]*)", text))
    preset = {"dataset": "fashion-mnist-sample", "downsample": "stride", "samples": "9", "seed": "0"}
    assert rows.items() >= {**preset, "command": "test", "algorithm": "trpo", "epochs": "5"}.items()


def test_rejected_rules_are_counted_by_the_test_that_rejected_them(plain):
    text = Page(plain).text
    assert "rejected: does not move the weights 1 11%" in text
    assert "rejected: never looks at the gradient 2 22%" in text


def test_one_is_not_a_plural(tmp_path):
    folder = make_run(tmp_path / "run", samples=1, workers=1)
    text = Page(report.page([folder])).text
    assert "1 run, 1 rule, finished" in text and "1 worker, busy" in text
    folder = make_run(tmp_path / "begun", samples=1, begun=True)
    assert "1 of 1 run not finished" in Page(report.page([folder])).text


def test_ids_of_a_page_are_unique_even_if_folders_have_one_name(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
    folders = [make_run(tmp_path / place / "run", seed=k, samples=9) for k, place in enumerate("ab")]
    ids = [value for name, value in Page(report.page(folders)).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_run_in_progress_is_shown_as_such(tmp_path):
    folder = make_run(tmp_path / "begun", samples=7, people={}, begun=True, algorithm="reinforce")
    text = Page(report.page([folder])).text
    assert "in progress, 7 of 100 rules" in text
    assert "No random search is among these runs" in text
    assert "7 100%" in text and "Hall of fame" in text


def test_run_in_which_nothing_trained_is_shown_too(tmp_path):
    folder = make_run(tmp_path / "run", samples=3, people={})
    lines = results.read_lines(folder / "records.jsonl")
    failed = [
        line | {"status": "diverged", "reward": 0.0, "lr": None, "curve": [], "key": str(k)}
        for k, line in enumerate(lines)
    ]
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in failed))
    text = Page(report.page([folder])).text
    assert "No rule has trained to the end yet" in text and "diverged 3" in text


def test_nothing_from_a_file_becomes_markup(tmp_path):
    evil = '<script>alert("x")</script>'
    folder = make_run(tmp_path / "<b>run & co", samples=12)
    lines = results.read_lines(folder / "records.jsonl")
    ok = next(line for line in lines if line["status"] == "ok" and line["cached_from"] is None)
    best = ok | {"rule": evil, "infix": evil, "reward": 0.99, "worker": evil, "key": evil, "error": evil}
    rejected = best | {"status": "rejected", "key": "other", "reward": 0.0}
    text = "".join(json.dumps(line) + "\n" for line in [*lines, best, rejected])
    (folder / "records.jsonl").write_text(text)
    meta = json.loads((folder / "meta.json").read_text()) | {"command": evil}
    (folder / "meta.json").write_text(json.dumps(meta))
    page = Page(report.page([folder]))
    assert "script" not in page.tags and "b" in page.tags
    assert page.text.count(evil) >= 3 and "<b>run & co" in page.text


def test_command_writes_beside_the_run_or_where_it_is_told(tmp_path, capsys):
    folder = make_run(tmp_path / "run", samples=10)
    assert report.main([str(folder)]) == 0
    assert capsys.readouterr().out == f"Wrote {folder / 'report.html'}\n"
    assert report.main([str(folder), "-o", str(tmp_path / "new" / "page.html")]) == 0
    assert (tmp_path / "new" / "page.html").read_text() == (folder / "report.html").read_text()


UNKNOWN = [("dataset", "stamps"), ("downsample", "fold"), ("algorithm", "luck"), ("dataset", ["x"])]
UNKNOWN += [("filters", "many"), ("dataset", None), ("samples", None), ("child_seed", None)]


def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys):
    run = str(make_run(tmp_path / "run", samples=5))
    wide = str(make_run(tmp_path / "wide", samples=5, filters=64))
    odd = []
    for k, (name, value) in enumerate(UNKNOWN):
        odd.append(str(make_run(tmp_path / f"odd{k}", samples=5)))
        config = json.loads((tmp_path / f"odd{k}" / "config.json").read_text())
        config.pop(name) if value is None else config.update({name: value})
        (tmp_path / f"odd{k}" / "config.json").write_text(json.dumps(config))
    wrong = [[], ["nowhere"], [run, wide], [run, "-o", "/proc/nothing/x.html"], [run, "--color"]]
    for argv in [*wrong, *([run] for run in odd)]:
        with pytest.raises(SystemExit) as stop:
            report.main(argv)
        out, err = capsys.readouterr()
        assert stop.value.code == 2 and out == "" and err.count("\n") == 1
        assert err.startswith("python -m plots.report: error: ")


# --- in a browser ---------------------------------------------------------------------------------

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Browsers have no windows as narrow as a phone, but frames are as narrow as one likes.
FRAME = """<title></title><body style="margin:0">
<script>onmessage = e => document.title = e.data</script>
<iframe src="page.html" style="border:0; width:%dpx; height:9000px"></iframe>"""
# Appended to a copy of the page: what a reader would trip over, told to the frame's owner.
MEASURE = """<script>
const wrong = [], wide = document.documentElement;
if (wide.scrollWidth > innerWidth) wrong.push("page is " + wide.scrollWidth + " wide");
for (const text of document.querySelectorAll("svg text")) {
  const box = text.getBoundingClientRect(), frame = text.closest("svg").getBoundingClientRect();
  const inside = box.left >= frame.left - 1 && box.right <= frame.right + 1 &&
                 box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
  if (!inside) wrong.push("cut off: " + text.textContent);
  if (box.height < 9) wrong.push("too small: " + text.textContent);
}
for (const svg of document.querySelectorAll("svg[role]"))
  if (svg.getBoundingClientRect().width > 620) wrong.push("stretched: " + svg.ariaLabel);
for (const math of document.querySelectorAll("math"))
  if (math.getBoundingClientRect().height < 8) wrong.push("no formula: " + math.textContent);
const maths = document.querySelectorAll("math").length;
parent.postMessage(JSON.stringify({ wrong, maths, view: innerWidth }), "*");
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the PATH")
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(("which", "formulas"), [("published", report.MOST), ("plain", 4)])
def test_browser_draws_the_page_readably_and_without_complaint(
    which, formulas, width, request, tmp_path
):
    page = request.getfixturevalue(which)
    (tmp_path / "page.html").write_text(page.replace("</body>", MEASURE + "</body>"), "utf-8")
    (tmp_path / "frame.html").write_text(FRAME % width, "utf-8")
    flags = "--headless --no-sandbox --disable-gpu --hide-scrollbars --enable-logging=stderr".split()
    flags += ["--virtual-time-budget=10000", "--window-size=1400,9000"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={tmp_path / 'shot.png'}"]
    address = (tmp_path / "frame.html").as_uri()
    command = [BROWSER, *flags, "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "CONSOLE" not in done.stderr, done.stderr
    [title] = re.findall(r"<title>(.*?)</title>", done.stdout)
    found = json.loads(title)
    assert found["view"] == width
    assert found["wrong"] == []
    assert found["maths"] >= formulas
    assert (tmp_path / "shot.png").stat().st_size > 20_000
