"""The figures, drawn from small run folders: what is on the axes is what is in the records."""

import itertools
import json
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, Config, refusal
from made_runs import PEOPLE, START_S, make_run, rewrite_config, rewrite_records
from matplotlib.text import Text

import results
from child import FORMER_CHILD, Child
from export import tree
from loop import SearchConfig
from plots import entropy, hall_of_fame, learning_curve, report, style, timeline
from plots.runs import FORMER, departures, notes, plural, ranked, read, read_groups
from rules import find
from sameness import by_family

FIGURES = {"learning_curve": learning_curve, "entropy": entropy}
FIGURES |= {"hall_of_fame": hall_of_fame, "timeline": timeline}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, list[Path]]:
    """Return run folders to draw, by what is special about them."""
    root = tmp_path_factory.mktemp("runs")
    three = [make_run(root / f"trpo{seed}", seed=seed, samples=40 + 5 * seed) for seed in range(3)]
    twins = [make_run(root / f"random{seed}", seed=seed, algorithm="random") for seed in range(2)]
    return {
        "one": three[:1],
        "seeds": three,
        "twins": [*three, *twins],
        "settings": [three[0], make_run(root / "kl", max_kl=0.03, entropy_coeff=0.02, pause_s=900)],
        "deep": [make_run(root / "deep", samples=30, iterations=2, algorithm="ppo", workers=40)],
        "begun": [make_run(root / "begun", samples=7, people={}, begun=True, algorithm="reinforce")],
        "first": [make_run(root / "first", samples=5, people={"sgd": 0.7})],
    }


@pytest.fixture(autouse=True)
def close_figures():
    yield
    style.plt.close("all")


def by_gid(axes, gid: str) -> list:
    return [artist for artist in axes.get_children() if artist.get_gid() == gid]


def drawn_texts(figure) -> list[Text]:
    """Return all texts that a reader sees; matplotlib keeps some tick labels beyond the limits."""
    beyond = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            hidden = [tick for tick in ticks if not low <= tick.get_loc() <= high]
            beyond.update(text for tick in hidden for text in tick.findobj(Text))
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text not in beyond]
    return [text for text in texts if text.get_text().strip()]


def records_of(folders: list[Path]) -> list[dict]:
    return [record for folder in folders for record in results.read_records(folder)]


def best_trained(records: list[dict]) -> list[float]:
    """Return the running maximum over the rules that trained to the end, the slow way."""
    ok = [[r["reward"] for r in records[: n + 1] if r["status"] == "ok"] for n in range(len(records))]
    return [max(rewards, default=np.nan) for rewards in ok]


def picture(name: str, folders: list[Path]):
    """Return a figure as `draw` makes it, still open."""
    if name == "tree":
        return tree.picture(find(folders))
    if name == "timeline":
        return timeline.picture([read(folder) for folder in folders])
    groups = [g for g in read_groups(folders) if name != "entropy" or g.algorithm != "random"]
    if name == "hall_of_fame":
        return hall_of_fame.picture(groups, ranked(groups))
    return FIGURES[name].picture(groups)


DRAWN = {"learning_curve": "twins settings begun", "entropy": "settings deep"}
DRAWN |= {"hall_of_fame": "twins deep", "timeline": "settings deep"}
DRAWN |= {"tree": "sgd powersign m-over-exp-g2 powersign-clip-g"}
PLACES = [f"{name} {case}" for name, cases in DRAWN.items() for case in cases.split()]


@pytest.mark.parametrize("place", PLACES)
def test_no_text_is_cut_off_or_hidden_by_other_text(place, folders):
    name, case = place.split()
    figure = picture(name, folders.get(case, case))
    figure.draw_without_rendering()
    boxes = {text: Text.get_window_extent(text) for text in drawn_texts(figure)}  # without arrows
    inside = figure.bbox.padded(1)
    for text, box in boxes.items():
        assert inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1), text
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        covered = a.intersection(a, b)
        assert covered is None or min(covered.width, covered.height) < 2, (one, other)


@pytest.mark.parametrize("name", FIGURES)
def test_files_are_a_png_and_an_svg_whose_text_is_text(name, folders, tmp_path, capsys):
    target = tmp_path / "new" / "figure.png"
    assert FIGURES[name].main([str(folders["begun"][0]), "-o", str(target)]) == 0
    output = capsys.readouterr()
    assert output == (f"Wrote {target} and {target.with_suffix('.svg')}\n", "")
    png, svg = target.read_bytes(), target.with_suffix(".svg").read_text()
    assert png.startswith(b"\x89PNG\r\n") and len(png) > 20_000
    assert "Fashion-MNIST sample, strided ConvNet: REINFORCE controller" in svg
    says = {
        "learning_curve": ["best of REINFORCE", "duplicates: 1", "not finished"],
        "entropy": ["op1", "u2", "Families in the last 100 rules"],
        "hall_of_fame": ["rule 1", "g * exp(", "learning rate"],
        "timeline": ["3 workers, busy", "score", "minutes"],
    }
    assert all(text in svg for text in says[name])


def test_default_place_is_the_first_run_and_the_bytes_are_always_the_same(folders, tmp_path, capsys):
    folder, seen = make_run(tmp_path / "run", samples=10), []
    both, older = [folder, folders["one"][0]], ", in place of an older one"
    for runs, stem, again in (([folder], "", ""), (both, "-2-runs", ""), (both, "-2-runs", older)):
        assert timeline.main(list(map(str, runs))) == 0
        png, svg = (folder / f"timeline{stem}.{kind}" for kind in ("png", "svg"))
        assert capsys.readouterr().out == f"Wrote {png} and {svg}{again}\n"
        seen.append((png.read_bytes(), svg.read_bytes()))
    assert seen[0] != seen[1] == seen[2]


@pytest.mark.parametrize("name", [*FIGURES, "report"])
def test_wrong_input_is_one_line_and_exit_code_2(name, folders, tmp_path, capsys):
    empty, other = str(tmp_path / "empty"), str(tmp_path / "other")
    results.Run.create(Path(empty), asdict(Config(dataset="fashion-mnist-sample")), {}).close()
    results.Run.create(Path(other), {"iterations": 4000}, {}).close()
    run, before = str(folders["one"][0]), sorted(tmp_path.rglob("*"))
    wrong = [[str(tmp_path / "nothing")], [empty], [other], [run, "--colour", "red"], []]
    wrong += [[run, "-o", "/proc/nothing/figure.png"]]
    if name == "entropy":  # of a controller
        wrong.append(list(map(str, folders["twins"][-2:])))
    for argv in wrong:
        line = refusal(FIGURES.get(name, report).main, argv, capsys)
        assert line.startswith(f"python -m plots.{name}: error: "), argv
    assert sorted(tmp_path.rglob("*")) == before


def test_seeds_are_one_group_and_settings_are_two(folders, tmp_path):
    groups = read_groups(folders["twins"][::-1])
    # That a random search does not use the controllers' settings makes no difference.
    facts = [(group.label, len(group.runs), group.settings) for group in groups]
    assert facts == [("TRPO", 3, ""), ("random", 2, "")]
    groups = read_groups(folders["settings"])
    labels = ["TRPO, entropy 0.0015, max KL 0.0001", "TRPO, entropy 0.02, max KL 0.03"]
    assert [(group.label, group.settings) for group in groups] == [(label, "") for label in labels]
    assert "--max-kl 0.03 (there 0.0001)" in notes(groups) and "--max-kl 0.0001 (" not in notes(groups)
    flags = "--entropy-coeff 0.02 (there 0.0015), --max-kl 0.03 (there 0.0001)"
    assert f"{flags} in {labels[1]}" in notes(groups)  # the other has not got them
    assert groups[0].color != groups[1].color
    [alone] = read_groups([make_run(tmp_path / "alone", prune=False, guide_width=0.3)])
    assert "--no-prune" in notes([alone]) and "--prune" not in notes([alone]).replace("--no-prune", "")
    assert "guide-width" not in notes([alone])  # which TRPO does not use
    # A label names all that differs, or the small print does.
    plain = {"samples": 5, "max_kl": 0.03, "entropy_coeff": 0.02}
    changes = ({}, {"entropy_coeff": 0.1}, {"lag": 3}, {"elite_coeff": 0.3, "entropy_growth": 0.5})
    made = [make_run(tmp_path / str(i), **plain | change) for i, change in enumerate(changes)]
    labels = [group.label.removeprefix("TRPO, entropy ") for group in read_groups(made[:3])]
    assert labels == ["0.02, lag 20", "0.1, lag 20", "0.02, lag 3"]
    groups = read_groups(made)
    assert [group.label for group in groups] == ["TRPO 1", "TRPO 2", "TRPO 3", "TRPO 4"]
    assert "TRPO 4: entropy 0.02, entropy growth 0.5, elite 0.3, lag 20." in notes(groups)


def test_paper_preset_means_all_of_it(tmp_path):
    paper = json.loads(json.dumps(asdict(Config())))
    assert departures(paper | {"seed": 3, "data": "elsewhere", "dataset": "cifar10"}) == {}
    changes = {"iterations": 1, "lag": 3, "subset": "full", "constraints": [], "samples": 500}
    changes |= {"downsample": "stride", "filters": 16, "max_kl": 0.1}
    for name, value in changes.items():
        assert departures(paper | {name: value}) == {name: (value, paper[name])}
    unused = {"algorithm": "random", "lag": 3, "max_kl": 9.0, "population": 9}
    assert departures(paper | unused) == {"algorithm": ("random", "trpo")}
    assert departures(paper | {"table": "micro", "filters": 3}) == {"table": ("micro", "none")}
    [group] = read_groups([make_run(tmp_path / "run", samples=5, dataset="cifar10", downsample="pool")])
    run = group.runs[0]._replace(config=paper | {"dataset": "cifar10"})
    for runs, said in (([run], True), (group.runs, False), ([run, *group.runs], False)):
        assert ("TRPO: the paper preset." in notes([group._replace(runs=runs)])) == said


def test_runs_of_other_versions_are_one_group_unless_a_setting_differs(tmp_path):
    new = rewrite_config(make_run(tmp_path / "new", samples=5), {}, *FORMER, "candidates", "start_from")
    old = rewrite_config(make_run(tmp_path / "old", samples=5, seed=1), FORMER)
    assert [group.label for group in read_groups([new, old])] == ["TRPO"]
    rewrite_config(old, {"cg_iters": 9})
    assert [g.label for g in read_groups([new, old])] == ["TRPO, cg iters 5", "TRPO, cg iters 9"]
    rewrite_config(old, {"cg_iters": 5, "ppo_clip": 0.9})  # which TRPO does not use
    assert len(read_groups([new, old])) == 1
    rewrite_config(old, {"race": True})
    with pytest.raises(results.RunError, match="differ in race"):
        read_groups([new, old])


def test_figures_know_the_settings_as_their_classes_declare_them_and_need_no_torch(tmp_path):
    known = {}
    for cls in (*reversed(Child.__mro__), *reversed(SearchConfig.__mro__)):
        if own := cls.__dict__.get("__annotations__", {}).keys() & {f.name for f in fields(Config)}:
            known[cls.__name__] = {n: getattr(cls, n) for n in cls.__annotations__ if n in own}
    expected = json.dumps(known | {"FORMER_CHILD": FORMER_CHILD}, indent=1) + "\n"
    path = ROOT / "plots" / "settings.json"
    assert path.read_text("utf-8") == expected, f"{path} must be:\n{expected}"
    run = make_run(tmp_path / "run", samples=20)
    rewrite_records(run, [record | {"family": record["id"]} for record in results.read_records(run)])
    draw = "import sys; from plots import report; assert report.main(sys.argv[1:]) == 0"
    command = [sys.executable, "-c", f"{draw}; assert 'torch' not in sys.modules", str(run)]
    subprocess.run(command, cwd=ROOT, check=True)


ODD = [("dataset", "stamps"), ("downsample", "fold"), ("algorithm", "luck"), ("dataset", ["x"])]
ODD += [("filters", "many"), ("dataset", None), ("samples", None), ("child_seed", None)]
ODD += [
    ("filters", -3),
    ("epoch_size", 0),
    ("batch_size", 0),
    ("precision", "double"),
    ("lr_exponents", []),
]


def test_what_means_nothing_or_does_not_compare_is_refused(folders, tmp_path):
    for i, (name, value) in enumerate(ODD):
        odd = make_run(tmp_path / f"odd{i}", samples=5)
        rewrite_config(odd, {} if value is None else {name: value}, name)
        with pytest.raises(results.RunError, match=name.replace("_", ".")):
            read(odd)
    one = folders["one"][0]
    wide = make_run(tmp_path / "wide", samples=5, filters=64)
    again = make_run(tmp_path / "again", samples=5)
    for other, why in ((wide, "differ in filters"), (again, "same search, same seed")):
        with pytest.raises(results.RunError, match=why):
            read_groups([one, other])
    with pytest.raises(results.RunError, match="differ in iterations"):
        entropy.draw([one, *folders["deep"]], tmp_path / "figure.png")
    known = [make_run(tmp_path / x, samples=5, seed=7, child_seed=int(x), data_sha256=x) for x in "78"]
    with pytest.raises(results.RunError, match="have other pictures"):
        read_groups([one, *known])
    assert len(read_groups([one, known[0]])[0].runs) == 2  # older runs do not say it
    assert len(read_groups([one, one])[0].runs) == 1
    timeline.picture([read(one), read(again), read(wide)])  # time compares in any case


def test_labels_of_what_is_beyond_the_limits_stay_beside_the_axes():
    figure, axes = style.plt.subplots()
    axes.set_ylim(0, 1)
    style.label_right(axes, [(-50, "low", "red"), (np.nan, "no", "red"), (70, "high", "red")])
    figure.draw_without_rendering()
    low, high = (Text.get_window_extent(text).get_points()[:, 1].mean() for text in axes.texts)
    beside = axes.get_window_extent()
    assert beside.y0 - 1 <= low < high <= beside.y1 + 1


@pytest.mark.parametrize("case", ["one", "twins", "begun", "first"])
def test_every_record_is_drawn_once(case, folders):
    groups = read_groups(folders[case])
    _, every, strip = learning_curve.picture(groups).axes
    for group in groups:
        expected = {"trained": [], "duplicate": [], "failed": []}
        for record in group.records:
            ok, new = record["status"] == "ok", record["cached_from"] is None
            expected["failed" if not ok else "trained" if new else "duplicate"].append(record)
        for kind in ("trained", "duplicate"):
            [dots] = by_gid(every, f"{group.label} {kind}")
            points = [(record["id"] + 1, record["reward"]) for record in expected[kind]]
            assert sorted(map(tuple, dots.get_offsets().tolist())) == sorted(points)
            opacity = dots.get_facecolors()[:, 3]
            assert (opacity > 0).all() if kind == "trained" else not opacity.any()  # hollow
        [marks] = by_gid(strip, f"{group.label} failed")
        assert sorted(marks.get_xdata()) == sorted(r["id"] + 1 for r in expected["failed"])
        assert marks.get_color() == style.DIVERGED


@pytest.mark.parametrize("case", ["one", "seeds"])
def test_lines_are_means_over_seeds_with_a_band_from_lowest_to_highest(case, folders):
    top, every, _ = learning_curve.picture(read_groups(folders[case])).axes
    runs = [records_of([folder])[:40] for folder in folders[case]]
    bests = np.array(list(map(best_trained, runs)))
    [best], [mean] = by_gid(top, "TRPO best"), by_gid(every, "TRPO mean")
    np.testing.assert_allclose(best.get_ydata(), bests.mean(0))
    rewards = np.array([[record["reward"] for record in run] for run in runs])
    window = 12 if case == "seeds" else 10  # a quarter of the longest run
    means = {n: rewards[:, n - window : n].mean() for n in range(window, 41)}
    assert dict(zip(mean.get_xdata(), mean.get_ydata(), strict=True)) == pytest.approx(means)
    said = [text.get_text() for text in every.get_legend().get_texts()]
    bands = by_gid(top, "TRPO best band")
    assert f"mean of the last {window} rules" in said
    several = case == "seeds"
    assert len(bands) == len(by_gid(every, "TRPO mean band")) == several
    assert ("lowest to highest seed" in said) == several
    for outline in bands[0].get_paths() if several else ():
        for x in np.flatnonzero(np.isfinite(bests).all(0)):
            at_x = outline.vertices[outline.vertices[:, 0] == x + 1, 1]
            assert {bests[:, x].min(), bests[:, x].max()} <= set(at_x)
    level = {line.get_color(): line.get_ydata()[0] for line in top.get_lines() if not line.get_gid()}
    assert level == {style.HUMAN[name]: reward for name, reward in PEOPLE.items()}
    labels = {text.get_text() for text in top.texts}
    assert {"SGD 0.702", "Momentum 0.705", "RMSProp 0.706", "Adam 0.789"} <= labels
    assert top.get_ylim()[0] < 0.702 and top.get_ylim()[1] > bests.mean(0)[-1]  # a close-up


def test_entropy_lines_are_the_updates(folders):
    figure = picture("entropy", folders["twins"])
    updates = [results.read_lines(folder / "updates.jsonl")[:8] for folder in folders["seeds"]]
    entropies = np.array([[update["entropy"] for update in run] for run in updates])  # [S, U, 5]
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    for k, slot in enumerate(("op1", "op2", "u1", "u2", "b")):
        [line] = by_gid(panels["Entropy per token"], f"TRPO {slot} 0")
        np.testing.assert_allclose(line.get_ydata(), entropies[:, :, k].mean(0))
    [line] = by_gid(panels["Entropy of the whole rule"], "TRPO total")
    np.testing.assert_allclose(line.get_ydata(), entropies.sum(2).mean(0))
    [line] = by_gid(panels["Families or keys in the last 100 rules"], "TRPO share")
    shares = [[1 - number / samples for number in range(8)] for samples in (40, 45, 50)]
    np.testing.assert_allclose(line.get_ydata(), np.mean(shares, 0))
    steps = panels["KL of each update"]
    assert "3 rejected" in [text.get_text() for text in steps.texts]
    assert list(by_gid(steps, "TRPO x")[0].get_xdata()) == [3, 3, 3]
    assert len(by_gid(steps, "TRPO .")[0].get_xdata()) == 8 + 9 + 10
    assert not any("random" in (artist.get_gid() or "") for artist in figure.findobj())
    titles = [axes.get_title(loc="left") for axes in picture("entropy", folders["deep"]).axes]
    assert [f"Entropy per token, group {k}" in titles for k in (1, 2, 3)] == [True, True, False]


def test_hall_of_fame_draws_the_best_families_and_the_human_optimizers(folders):
    curves, sweep, strip, legend = picture("hall_of_fame", folders["twins"]).axes
    families = results.best_families(records_of(folders["twins"]), name=by_family())
    best = [family.best for family in families]
    humans = results.read_humans(folders["one"][0])
    names = [*(f"rule {k}" for k in range(1, 7)), "SGD", "Momentum", "RMSProp", "Adam"]
    for name, record in zip(names, [*best[:6], *humans], strict=True):
        [line] = by_gid(curves, name)
        np.testing.assert_array_equal(line.get_ydata(), record["curve"])
        [line], [lost] = by_gid(sweep, name), by_gid(strip, name)
        pairs = [[x, y] for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True) if y > 0]
        assert pairs == [pair for pair in record["sweep"] if pair[1]]
        assert list(lost.get_xdata()) == [lr for lr, y in record["sweep"] if y is None]
    formulas = [text.get_text() for text in legend.get_legend().get_texts()]
    for k, (text, family) in enumerate(zip(formulas, families[:6], strict=True), 1):
        assert text.startswith(f"rule {k}:  {family.best['infix']}  ({family.reward:.3f}")
        assert f", {plural(family.num_rules, 'rule')}, " in text
        assert (f" sd {family.spread:.3f}, " in text) if family.spread else " sd " not in text


def test_timeline_has_a_bar_for_every_training_and_cuts_out_a_pause(folders):
    [axes, _] = picture("timeline", folders["one"]).axes
    lines = results.read_humans(folders["one"][0]) + records_of(folders["one"])
    timed = [line for line in lines if line["wall_s"] is not None]
    assert any(line["status"] == "timeout" for line in lines) and len(timed) < len(lines)
    for worker, kind in itertools.product(range(3), ("trained", "failed")):
        of = [line for line in timed if line["worker"] == f"worker-{worker}"]
        of = [line for line in of if (line["status"] == "ok") == (kind == "trained")]
        mine = [((x["start_s"] - START_S) / 60, (x["start_s"] + x["wall_s"] - START_S) / 60) for x in of]
        [bars] = by_gid(axes, f"worker-{worker} {kind}")
        drawn = [(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in bars.get_paths()]
        np.testing.assert_allclose(sorted(drawn), sorted(mine), atol=1e-6)
        heights = [path.vertices[:, 1] for path in bars.get_paths()]
        assert all(y.min() < worker < y.max() for y in heights)
    end_s = max(line["start_s"] + line["wall_s"] for line in timed) - START_S
    busy = sum(line["wall_s"] for line in timed) / (3 * end_s)
    assert f"3 workers, busy {busy:.0%} of {end_s:.0f} s" == axes.get_title(loc="left")
    run = read(folders["settings"][1])
    [(since, until)] = pauses = timeline.pauses(timeline.jobs(run))
    assert 890 < until - since < 910
    assert timeline.clock(np.array([until]), START_S, pauses) * 60 == pytest.approx(since - START_S)
    [axes, _] = timeline.picture([run]).axes
    assert axes.get_xlim()[1] * 60 < 150 and "pause of 15 min" in [t.get_text() for t in axes.texts]
