"""The study: its standing against brute force, its searches against search.py's, its files resumed."""

import json
import math
import random
import re
from dataclasses import fields

import numpy as np
import pytest
from helpers import HERE, refusal, undrawn

import loop
import results
from dsl import Rule
from loop import BATCH, ProposerConfig
from nosbench import search as table_search
from nosbench import standings, study
from nosbench.figures import study as figure
from nosbench.oracle import make_oracle, top_families
from nosbench.table import Table
from search import PRESETS


def config(name="random", **settings) -> study.Config:
    settings = study.SPACE | study.SETTINGS[name] | {"samples": 200} | settings
    return study.Config(**settings)


@pytest.mark.parametrize("k", [1, 300])
def test_entropy_of_a_uniform_draw_is_its_logarithm(k, table):
    class Uniform:
        def __init__(self):
            first = np.unique(table.family, return_index=True)[1][:k]
            self.config, self.rules = config(), [table.rule(i) for i in table.measured[first]]

        def ask(self, n):
            assert self.config.candidates == 1
            rng = random.Random(0)
            return [rng.choice(self.rules) for _ in range(n)]

    assert study.entropy(Uniform(), make_oracle(config(), 0)) == pytest.approx(math.log(k), abs=0.02)


@pytest.mark.parametrize("name, lag", [("random", 0), ("evolution", 1), ("reinforce-new", 3)])
def test_a_search_of_the_study_is_one_of_search_py(name, lag, tmp_path, monkeypatch):
    """Same rules, same rewards, counted at several checkpoints: only the run folder is left out."""
    ours, told = config(name, samples=203, lag=lag, seed=7, table_seed=2), []
    names = [field.name for field in fields(ProposerConfig) if field.type is not bool]
    flags = [f"--{x.replace('_', '-')}={getattr(ours, x)}" for x in names if x != "constraints"]
    with undrawn():
        assert table_search.main([*flags, "--table-seed", "2", "--out", str(tmp_path / "run")]) == 0
    records, table = results.read_records(tmp_path / "run"), Table.load("micro")
    numbers = [table.number(Rule.parse(record["rule"])) for record in records]

    def make_proposer(*args, **kwargs):
        proposer = loop.make_proposer(*args, **kwargs)
        learn = proposer.tell
        proposer.tell = lambda rules, rewards: told.extend(rewards) or learn(rules, rewards)
        return proposer

    monkeypatch.setattr(study, "make_proposer", make_proposer)
    assert all(mark % BATCH == 0 for mark in study.CHECKPOINTS)
    monkeypatch.setattr(study, "CHECKPOINTS", tuple(range(100, 201, 5)))  # some find a top family
    monkeypatch.setattr(study, "PROBES", 10)
    line = study.search(ours)
    assert told == [r["reward"] if r["status"] == "ok" else None for r in records]
    assert None in told or name != "random"
    assert line["checkpoints"] == [*study.CHECKPOINTS, 203]  # all samples are one
    families = table.family[numbers].tolist()
    # Evolution repeats near-copies, of which several count in a mean; random search repeats whole rules.
    assert (len(set(families)) < 203) == (name != "reinforce-new")
    scores, fresh = table.accuracy[:, 2], table.accuracy[:, :2].mean(1)
    by = {"found": scores, "found_fresh": fresh}
    tops = {column: set(top_families(ours, mean)[0].tolist()) for column, mean in by.items()}
    distinct = list(dict.fromkeys(families))
    for place, n in enumerate(line["checkpoints"]):
        groups = {}
        for number, family in zip(numbers[:n], families, strict=False):
            groups.setdefault(family, set()).add(number)
        means = [(scores[list(group)].mean(), fresh[list(group)].mean()) for group in groups.values()]
        means.sort(key=lambda pair: -pair[0])
        found = len(tops["found"] & set(distinct[:n])) if n <= len(distinct) else None
        expected = {"best": means[0][0], "best_fresh": means[0][1], "found_by_distinct": found}
        expected |= {"top10_fresh": np.mean([pair[1] for pair in means[:10]]), "distinct": len(groups)}
        expected |= {"distinct_100": len(set(families[n - 100 : n])) / 100}
        expected |= {"latest": np.mean([record["reward"] for record in records[n - n // 5 : n]])}
        expected |= {column: len(top & set(groups)) for column, top in tops.items()}
        assert {column: line[column][place] for column in expected} == pytest.approx(expected)


def test_a_study_is_resumed_and_another_setting_under_its_name_is_refused(tmp_path, capsys):
    flags = ["random", "--samples", "100", "--workers", "1", "--out", str(tmp_path)]
    assert study.main([*flags, "--seeds", "3"]) == 0
    whole = (tmp_path / "random.jsonl").read_text()
    first = "".join(whole.splitlines(keepends=True)[:2])
    capsys.readouterr()  # what a slow machine has said meanwhile
    for other, what in (
        (["--lag", "2"], "another lag"),
        (["--candidates", "2"], "--candidates makes another setting of random; give it a --name"),
        (["--table-seeds", "0"], "another table_seed"),  # what settings are chosen on is not reported
    ):
        assert what in refusal(study.main, [*flags, "--seeds", "3", *other], capsys)

    old = [{k: v for k, v in json.loads(line).items() if k != "identity"} for line in first.splitlines()]
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    assert "another identity" in refusal(study.main, [*flags, "--name", "old"], capsys)
    assert standings.Setting(tmp_path / "old.jsonl").counted == "classes"
    said = refusal(figure.main, [str(tmp_path), "-o", str(tmp_path / "no.png")], capsys)
    assert "counted (random by class and random by family)" in said
    (tmp_path / "old.jsonl").unlink()

    (tmp_path / "random.jsonl").write_text(first + '{"seed": 10')  # a line that was being written
    plan, configs = study.configure(study.make_parser().parse_args([*flags, "--seeds", "3"]))
    study.study("random", configs["random"], plan, tmp_path / "random.jsonl", HERE)
    assert (tmp_path / "random.jsonl").read_text() == whole
    lines = results.read_lines(tmp_path / "random.jsonl")
    seeds = [(line["seed"], line["table_seed"]) for line in lines]
    assert seeds == [(100, 1), (101, 2), (102, 1)]
    assert lines[0]["latest"] != lines[2]["latest"]

    pictures = figure.draw([tmp_path], tmp_path / "study.png")
    assert len(pictures) == 4 and all(path.exists() for path in pictures)
    settings = standings.read([tmp_path])
    values = settings[0].values
    for by, rules in (("sampled", settings[0].rules), ("distinct", values["distinct"].mean(0))):
        drawn = figure.picture(settings, by).axes[0].lines[0]
        np.testing.assert_allclose(drawn.get_xdata(), rules)
        np.testing.assert_allclose(drawn.get_ydata(), values["found_fresh"].mean(0))
    assert settings[0].seeds == seeds
    np.testing.assert_allclose(values["latest"][2], lines[2]["latest"])


def write(folder, name, seed=0, candidates=1, checkpoints=(100,), **columns):
    """Append a search to the file of a study's setting; columns that are not given rise to a half."""
    rising = [0.2, 0.25, 0.5][-len(checkpoints) :]
    line = dict.fromkeys((*standings.COLUMNS, "found_by_distinct"), rising) | columns
    line |= {"name": name, "seed": seed, "table_seed": seed + 1, "checkpoints": checkpoints}
    line["config"] = {"algorithm": name.split("-")[0], "candidates": candidates}
    with (folder / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def test_table_says_what_the_lines_say(tmp_path):
    # The ten best of 200 rules against random search's of 1,000, and the top rules of each search.
    made = (("random", [0.1, 0.3], [10, 20]), ("reinforce", [0.35, 0.45], [40, 20]))
    for name, best, found in made:
        for seed in (0, 1):
            columns = {"found": [0, 1, found[seed]], "distinct": [100, 400, 500 * (seed + 1)]}
            columns |= {"top10_fresh": [best[seed], 0.0, best[seed] + 0.1]}
            columns |= {"found_by_distinct": [1, 5 if seed else None, None]}
            write(tmp_path, name, seed, checkpoints=(200, 500, 1000), **columns)
    settings = standings.read([tmp_path])
    text = standings.table(settings)
    assert text.startswith("After 1,000 sampled rules, counted by class, ")
    assert "| top classes, own seed |" in text and "famil" not in text
    for setting in settings:
        setting.identity, setting.counted = "family", "families"
    renamed = text.replace("classes", "families").replace("by class", "by family")
    assert standings.table(settings) == renamed
    rows = [row.strip("| ").split(" | ") for row in text.splitlines()]
    standing, course, early, ratios, _ = [row for row in rows if row[0] == "reinforce"]
    assert standing[1:3] == ["2", "0.500 ± 0.000"]
    assert standing[6] == "30 ± 14" and standing[8] == "750 ± 354" and standing[-1] == "-"
    assert course[1:] == ["1 / 0", "30 / 0"]
    assert early[1].startswith("+0.1000 [")
    high = 2 * math.exp(12.7062 * 2 / 3)  # t of one degree of freedom, times the error of the logarithm
    low, found = re.fullmatch(r"2.00 \[(.*), (.*)\] \(4.00, 1.00\)", ratios[1]).groups()
    assert low == "0.00" and float(found) == pytest.approx(high, rel=1e-3)


def test_kinds_of_settings_stand_apart_beside_random_search_and_the_laptop_preset_is_one(tmp_path):
    for name in ("random", "ppo-paper", "trpo"):
        write(tmp_path, name)
    for name in ("random-new", "trpo-new", "trpo-long"):
        write(tmp_path, name, candidates=16)
    settings = standings.read([tmp_path])
    assert [s.name for s in settings][:3] == ["trpo", "trpo-long", "trpo-new"]
    names = {k: [s.name for s in group] for k, group in figure.by_kind(settings).items()}
    new, paper = ["trpo-new", "random-new"], ["ppo-paper", "random"]
    assert names["new"] == new and names["long"] == ["trpo-long", "random-new"]
    assert names["paper"] == paper and names["plain"] == ["trpo", "random"] and len(names) == 4
    alone = figure.by_kind([s for s in settings if s.name == "random"])
    assert [[s.name for s in group] for group in alone.values()] == [["random"]]
    preset = PRESETS["laptop"] | {"algorithm": "trpo"}
    assert preset.items() >= study.SETTINGS["trpo-long"].items()
