"""The report: its numbers are the records', it loads nothing, and a browser draws it."""

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers import refusal
from made_runs import make_run, rewrite_config, rewrite_records

import results
from plots import report

PUBLISHED = sorted(
    (Path(__file__).parent.parent.parent / "runs" / "published").glob("laptop-cifar10-*-s[012]")
)
HEADINGS = [
    *("Learning curve", "The controller", "What became of the rules", "Hall of fame"),
    *("Accuracy against size", "Workers", "Settings and versions"),
]


class Page(HTMLParser):
    """A page that was checked for balanced tags: its tags, attributes, visible text and tables."""

    VOID = ("meta", "link", "img")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.words, self.attributes = [], [], [], []
        self.tables: list[list[list[str]]] = []
        self.feed(text)
        assert self.open == [], "tags are left open"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def images(self) -> list[bytes]:
        start = "data:image/png;base64,"
        sources = [value for name, value in self.attributes if name == "src"]
        assert all(source.startswith(start) for source in sources)
        return [base64.b64decode(source.removeprefix(start), validate=True) for source in sources]


# A run whose page can be worked out by hand: one worker, six trainings, three rejected rules.
SWEEP = [[1e-3, 0.2], [1e-2, 0.5], [1e-1, 0.49], [1.0, None]]
STATUSES = ("ok", "ok", "diverged", "ok", "diverged", "ok", "rejected", "rejected", "rejected")
REWARDS = (0.5, 0.7, 0.0, 0.4, 0.0, 0.6, 0.0, 0.0, 0.0)
KEYS = ("g", "mul(g,exp(m))", "v", "neg(g)", "log(g)", "add(g,m)", "1", "2", "3")
STARTS = (10.0, 20.0, 40.0, 50.0, 60.0, 70.0)  # ten seconds of work each, and ten without


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("plain") / "run", samples=len(STATUSES), people={})
    adam = {"name": "adam", "rule": "adam 1 id id mul", "status": "ok", "reward": 0.55, "lr": 1e-3}
    adam |= {"sweep": [[1e-3, 0.4], [1e-2, 0.3], [1e-1, 0.1], [1.0, None]], "curve": [0.3]}
    adam |= {"start_s": 0.0, "wall_s": 10.0, "worker": "worker-1", "error": None}
    (folder / "humans.jsonl").write_text(json.dumps(adam) + "\n")
    rows = results.read_lines(folder / "records.jsonl")
    for k, (row, status, reward) in enumerate(zip(rows, STATUSES, REWARDS, strict=True)):
        row |= {"status": status, "reward": reward, "sweep": SWEEP, "lr": 1e-2, "key": KEYS[k]}
        row |= {"rule": "m g2 id exp div", "infix": f"rule {k}", "cached_from": None, "error": None}
        row |= {"worker": "worker-1", "start_s": None, "wall_s": None, "curve": [reward]}
        if status == "rejected":
            row["error"] = "does not move the weights" if k == 6 else "never looks at the gradient"
        else:
            row |= {"start_s": STARTS[k], "wall_s": 10.0}
    return rewrite_records(folder, rows)


@pytest.fixture(scope="module")
def plain(plain_run) -> str:
    return report.page([plain_run])


def test_page_is_whole_and_loads_nothing(plain):
    page = Page(plain)
    assert not {"script", "iframe", "object", "base", "svg"} & set(page.tags)
    assert {value for name, value in page.attributes if name == "href"} == {"data:,"}
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert "@import" not in plain and "url(" not in report.CSS
    assert re.findall(r"<h2>(.*?)</h2>", plain) == HEADINGS
    assert len(page.images) == 4
    assert all(image.startswith(b"\x89PNG\r\n") and len(image) > 10_000 for image in page.images)
    assert len({value for name, value in page.attributes if name == "alt"}) == 4


def test_numbers_of_the_page_are_those_of_the_records(plain):
    page = Page(plain)
    assert "1 run, 9 rules, finished. Best rule: 0.7000. " in page.text
    assert "Best human optimizer, trained alike: Adam, 0.5500." in page.text
    funnel, fame, front, settings = page.tables
    assert dict(funnel) == {
        "": "TRPO",
        "sampled": "9 (100%)",
        "trained to the end": "4 (44%)",
        "diverged": "2 (22%)",
        "rejected: never looks at the gradient": "2 (22%)",
        "rejected: does not move the weights": "1 (11%)",
    }
    rates, lowest = ["0.01 (0.01..0.1)", "10x"], ["<=0.001 (<=0.001..<=0.001)", "<=1x"]
    rule = "m g2 id exp div"
    assert fame[1:] == [
        ["1", "0.7000", "rule 1", *rates, rule, "#1 of run"],
        ["2", "0.6000", "rule 5", *rates, rule, "#5 of run"],
        ["", "0.5500", "Adam", *lowest, "adam 1 id id mul", "made by people"],
        ["3", "0.5000", "rule 0", *rates, rule, "#0 of run"],
        ["4", "0.4000", "rule 3", *rates, rule, "#3 of run"],
    ]
    # Of two nodes there is neg(g) alone, and g is better.
    assert front[1:] == [["1", "0.5000", "rule 0"], ["3", "0.6000", "rule 5"], ["4", "0.7000", "rule 1"]]
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
    # Nothing has trained, and nobody needs a worker or a controller.
    folder = make_run(tmp_path / "run", samples=3, people={}, algorithm="random")
    failed = {"status": "diverged", "reward": 0.0, "lr": None, "curve": [], "start_s": None}
    rows = [line | failed for line in results.read_lines(folder / "records.jsonl")]
    page = Page(report.page([rewrite_records(folder, rows)]))
    for why in ("no rule has trained to the end", "no run has a controller"):
        assert f"No figure: {why}" in page.text
    assert ["diverged", "3 (100%)"] in page.tables[0]
    assert "Workers" not in page.text and len(page.images) == 1


def test_nothing_from_a_file_becomes_markup(tmp_path):
    evil = '<script>alert("x")</script>'
    folder = make_run(tmp_path / "<b>run & co", samples=12)
    lines = results.read_lines(folder / "records.jsonl")
    ok = next(line for line in lines if line["status"] == "ok" and line["cached_from"] is None)
    best = ok | {"rule": evil, "infix": evil, "reward": 0.99, "worker": evil, "key": evil, "error": evil}
    rejected = best | {"status": "rejected", "key": "other", "reward": 0.0}
    rewrite_records(folder, [*lines, best, rejected])
    meta = json.loads((folder / "meta.json").read_text()) | {"command": evil}
    (folder / "meta.json").write_text(json.dumps(meta))
    page = Page(report.page([folder]))
    assert not {"script", "b"} & set(page.tags)
    assert page.text.count(evil) >= 4 and "<b>run & co" in page.text


def test_command_writes_over_reports_alone(plain_run, plain, capsys):
    page = plain_run / "report.html"
    page.write_text(report.START + "an older one")
    assert report.main([str(plain_run)]) == 0
    assert capsys.readouterr().out == f"Wrote {page}\n"
    assert page.read_text() == plain
    records = (plain_run / "records.jsonl").read_bytes()
    what = refusal(report.main, [str(plain_run), "-o", str(plain_run / "records.jsonl")], capsys)
    assert "exists and is no report" in what
    assert (plain_run / "records.jsonl").read_bytes() == records


UNKNOWN = [("dataset", "stamps"), ("downsample", "fold"), ("algorithm", "luck"), ("dataset", ["x"])]
UNKNOWN += [("filters", "many"), ("dataset", None), ("samples", None), ("child_seed", None)]


def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys):
    run = str(make_run(tmp_path / "run", samples=5))
    wide = str(make_run(tmp_path / "wide", samples=5, filters=64))
    wrong = [["nowhere"], [run, wide], [run, "--color"], [], [run, "-o", str(tmp_path)]]
    for k, (name, value) in enumerate(UNKNOWN):
        folder = make_run(tmp_path / f"odd{k}", samples=5)
        wrong.append([str(rewrite_config(folder, {} if value is None else {name: value}, name))])
    for argv in wrong:
        assert refusal(report.main, argv, capsys).startswith("python -m plots.report: error: ")


# --- in a browser ---------------------------------------------------------------------------------

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Browsers have no windows as narrow as a phone, but frames are as narrow as one likes.
FRAME = """<title></title><body style="margin:0">
<script>onmessage = e => document.title = e.data</script>
<iframe src="page.html" style="border:0; width:%dpx; height:9000px"></iframe>"""
# Appended to a copy of the page: what a reader would trip over, told to the frame's owner.
MEASURE = """<script>
onload = () => {
  const wide = document.documentElement.scrollWidth, wrong = [], images = document.images;
  if (wide > innerWidth) wrong.push("page is " + wide + " wide");
  for (const image of images)
    if (!image.naturalWidth || image.width < 0.9 * Math.min(innerWidth - 28, 760))
      wrong.push("picture: " + image.alt);
  const told = { wrong, images: images.length, view: innerWidth };
  parent.postMessage(JSON.stringify(told), "*");
}
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the PATH")
def test_browser_draws_the_page_of_six_runs_within_any_window(tmp_path):
    [page] = report.draw(PUBLISHED, tmp_path / "page.html")
    text = page.read_text("utf-8")
    assert len(text) < 2_000_000
    page.write_text(text.replace("</body>", MEASURE + "</body>"), "utf-8")
    flags = "--headless --no-sandbox --disable-gpu --hide-scrollbars --enable-logging=stderr".split()
    flags += ["--virtual-time-budget=10000", "--window-size=1400,9000", "--dump-dom"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "frame.html").as_uri()]
    for width in (390, 1280):
        (tmp_path / "frame.html").write_text(FRAME % width, "utf-8")
        done = subprocess.run([BROWSER, *flags], capture_output=True, text=True, timeout=300)
        assert "CONSOLE" not in done.stderr, done.stderr
        [title] = re.findall(r"<title>(.*?)</title>", done.stdout)
        assert json.loads(title) == {"wrong": [], "images": 4, "view": width}
