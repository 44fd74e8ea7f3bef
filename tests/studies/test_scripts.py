"""Command lines of the studies: real trainings, killed and resumed; bad input is one line."""

import importlib
import shlex
import shutil
from operator import itemgetter
from pathlib import Path

import pytest
from helpers import ROOT, history, killed, refusal
from made import changed_copy
from made_runs import rewrite_config

import results
from studies import compare, longrun, rescore, robustness, transfer
from studies.analysis import read_summary
from studies.trials import FORMERLY, from_folder, read_trials, study_of

COMPARE = ["--top", "2", "--seeds", "2", "--finalists", "1", "--final-seeds", "2"]
FLAGS = {
    compare: [*COMPARE, "--also", "powersign", "adam"],
    rescore: ["--top", "2", "--seeds", "1"],
    longrun: ["--top", "3", "--epochs", "3", "--seeds", "1", "--confirm-seeds", "2"],
    robustness: ["--top", "1", "--seeds", "1"],
    transfer: ["text", "--epochs", "1", "--sweep-examples", "100", "--confirm-seeds", "2"],
}
STUDIES = [study for study in FLAGS if study is not transfer]  # that begin with a search
IDS = {"ids": lambda study: study.__name__}


@pytest.fixture(scope="module", autouse=True)
def few_changes():
    """Robustness with two of its twelve changes, transfer with two of its seven rates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(robustness, "CHANGED", ("eps", "batch_size"))
        patch.setattr(robustness, "FACTORS", (0.5,))
        patch.setattr(transfer, "EXPONENTS", range(-3, -1))
        yield


SLOW = [pytest.param(study, marks=pytest.mark.slow) for study in FLAGS if study is not compare]


@pytest.fixture(scope="module", params=[compare, *SLOW], ids=[study.__name__ for study in FLAGS])
def finished(request, searched, tmp_path_factory) -> tuple:
    """A study and the folder of a run of it, whose search is gone."""
    study, folder = request.param, tmp_path_factory.mktemp("runs") / "run"
    search = shutil.copytree(searched, folder.parent / "search")
    what = [] if study is transfer else [str(search)]
    assert study.main([*what, *FLAGS[study], "--workers", "2", "--out", str(folder)]) == 0
    shutil.rmtree(search)
    return study, folder


def test_a_study_is_resumed_to_the_same_records_and_summary(finished, tmp_path):
    study, folder = finished
    for lines in (1, -1):  # in its first stage and in its last
        broken = killed(folder, tmp_path / f"broken{lines}", lines, torn='{"id": 7, "sta')
        for made in broken.glob("summary.*"):
            made.unlink()
        assert study.main(["--resume", str(broken), "--workers", "2"]) == 0
        whole, again = (sorted(history(run), key=itemgetter("id")) for run in (folder, broken))
        assert again == whole
        for name in ("summary.csv", "summary.txt"):
            assert (broken / name).read_text() == (folder / name).read_text()


def test_a_complete_study_is_only_shown_and_records_of_other_jobs_end_one(finished, tmp_path, capsys):
    study, folder = finished
    before = (folder / "records.jsonl").read_bytes()
    assert study.main(["--resume", str(folder)]) == 0
    out = capsys.readouterr().out  # from the records, not from the text that was written
    assert "already complete" in out and (folder / "summary.txt").read_text() in out
    assert (folder / "records.jsonl").read_bytes() == before
    pictures = [path.name for path in folder.glob("*.png")]
    assert pictures == ([] if study.FIGURE is None else [f"{study.FIGURE.split('.')[-1]}.png"])
    rows = [row | {"seed": 7} if row["id"] == 2 else row for row in read_trials(folder)[:4]]
    broken = changed_copy(killed(folder, tmp_path / "killed", 4), tmp_path / "other", rows)
    assert study.main(["--resume", str(broken), "--workers", "1"]) == 1
    said = capsys.readouterr().err
    assert "record 2 is not" in said and "--resume" not in said
    if study is not transfer:  # whose text is no picture
        broken = killed(folder, tmp_path / "pictures", 1)
        child = results.read_config(broken)["child"]
        assert len(child["data_sha256"]) == 64
        rewrite_config(broken, {"child": child | {"data_sha256": "0" * 64}})
        assert "holds other pictures" in refused(study, ["--resume", str(broken)], tmp_path, capsys)


PUBLISHED = {compare: "compare-protocol-cifar10", rescore: "tier-rescored", transfer: "transfer-wrn"}
PUBLISHED |= {study: f"{study.__name__[8:]}-strided-cifar10" for study in (longrun, robustness)}


@pytest.mark.parametrize("study", PUBLISHED, **IDS)
def test_folders_of_older_versions_are_read(study, capsys):
    folder = ROOT / "runs" / "published" / PUBLISHED[study]
    assert results.read_config(folder)["script"] == f"{study.__name__.split('.')[-1]}.py"
    assert study.main(["--resume", str(folder)]) == 0
    assert "already complete" in capsys.readouterr().out


@pytest.mark.slow
def test_published_summaries_are_those_of_their_records():
    """As today's code has them; p values are drawn, and columns may have come or gone."""
    seen, now_called = set(), {old: new for new, old in FORMERLY.items()}
    for folder in sorted((ROOT / "runs" / "published").iterdir()):
        rows = read_summary(folder)
        if not rows or (name := study_of(folder)) is None:
            continue
        study = importlib.import_module(f"studies.{now_called.get(name, name)}")
        again, _ = study.report(from_folder(study, folder), read_trials(folder))
        assert len(again) == len(rows)
        for row, now in zip(rows, again, strict=True):
            for column in row.keys() & now.keys():
                if isinstance(row[column], float):
                    assert now[column] == pytest.approx(row[column], rel=0.2, abs=1e-9), (folder, column)
        seen.add(study)
    assert len(seen) == 7


OTHER = [({"race": True}, "eps", "eps, race"), ({"race": False, "gone": 1}, "", "gone")]
OTHER += [({}, "eps", "eps")]


@pytest.mark.parametrize("change, lost, wrong", OTHER)
def test_an_unfinished_run_of_another_version_does_not_go_on(change, lost, wrong, tmp_path):
    whole = ROOT / "runs" / "published" / "tier-rescored"
    folder = killed(whole, tmp_path / "killed", 3)
    plan = from_folder(rescore, folder)  # its race is False, as today
    for place in (folder, shutil.copytree(whole, tmp_path / "whole")):
        saved = results.read_config(place)
        child = {name: value for name, value in saved["child"].items() if name != lost}
        rewrite_config(place, {"child": child | change})
    with pytest.raises(results.RunError, match=f"settings of another version: {wrong}$"):
        from_folder(rescore, folder)
    assert from_folder(rescore, tmp_path / "whole") == plan  # enough to report


def refused(study, argv: list[str], tmp_path: Path, capsys) -> str:
    """Return the line with which a study refuses flags; nothing was made."""
    before = sorted(tmp_path.rglob("*"))
    line = refusal(study.main, argv, capsys)
    assert line.startswith(f"python -m {study.__name__}: error: ")
    assert sorted(tmp_path.rglob("*")) == before
    return line


OWN = {  # flags of one study, and why they are wrong
    compare: {"--top 4": "--finalists is 5", "--seeds 1": "--seeds is 1; it must be at least 2"}
    | {"--rates years": "invalid choice: 'years'", "--also adamm": "unknown rule 'adamm'"},
    longrun: {"--top 0": "--top is 0; it must be at least 1"},
    robustness: {"--rules 'g g id'": "wrong length"},
    transfer: {"--rules 'g g id'": "wrong length", "--epochs 0": "at least 1"},
}


@pytest.mark.parametrize("study", FLAGS, **IDS)
def test_wrong_flags_are_one_line_and_exit_code_2(study, searched, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    what = "text" if study is transfer else str(searched)
    nothing = "no TASK given (wrn, a Wide ResNet" if study is transfer else "no RUN given"
    for argv, why in (
        ([], nothing),
        ([what, "--workers", "0"], "--workers is 0; it must be at least 1"),
        ([what, "--out", str(searched)], "exists already"),
        ([what, "--topp", "3"], "unrecognized arguments"),
        (["--resume", str(searched), "--workers", "2"], f"no run of {study.__name__}"),
        (["--resume", "nowhere", "--workers", "2"], "nowhere is not a run folder"),
        (["--resume", "nowhere", "--out", "there"], "--resume takes only --workers"),
        *(([what, *shlex.split(flags)], why) for flags, why in OWN.get(study, {}).items()),
    ):
        assert why in refused(study, argv, tmp_path, capsys)


@pytest.mark.parametrize("study", STUDIES, **IDS)
def test_runs_that_cannot_be_scored_again_are_refused(study, searched, tmp_path, capsys):
    published = ROOT / "runs" / "published"
    lost = [r | {"status": "diverged"} for r in results.read_records(searched)]
    no_room = {"batch_size": (5, "no factor of 10"), "eps": (1e-3, "was searched with a changed")}

    def copy(name, *records, **config) -> Path:
        return changed_copy(searched, tmp_path / name, *records, **config)

    for runs, why in (
        ([Path("nothing")], "no readable"),
        ([copy("table", table="micro")], "searched a table"),
        ([searched, copy("filters", filters=3)], "differ in filters"),
        ([searched, copy("pictures", data_sha256="0" * 64)], "differ in data_sha256"),
        ([copy("alone", data_sha256="0" * 64)], "holds other pictures"),
        ([copy("odd", filters="many")], "config.json: --filters"),
        ([copy("failed", lost)], "no rule has trained"),
        ([published / PUBLISHED[compare]], "another script than search.py"),
        ([published / "laptop-cifar10-random-s10-race"], "scored with race True, which is gone"),
        ([published / "laptop-cifar10-random-s10-give-up"], "scored with give_up True, which is gone"),
        *(([copy(x, **{x: y})], why) for x, (y, why) in no_room.items() if study is robustness),
    ):
        assert why in refused(study, [*map(str, runs), "--out", str(tmp_path / "out")], tmp_path, capsys)
