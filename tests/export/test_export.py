"""Exported optimizers, imported where this project is not, against RuleOptimizer, step by step."""

import importlib
import inspect
import math
import random
import subprocess
import sys
from functools import partial

import pytest
import torch
from processes import children
from test_structure import PLACE

import dsl
import rules
from dsl import SUBSETS, Rule, RuleOptimizer, SearchSpace, as_reals
from export import code as export
from export import foreach
from export.advice import NO_RATE

TOTAL, STEPS, LR = 4, 6, 0.05  # steps of a decay, and two beyond it
SHAPES = [(3, 5), (), (2, 4, 3, 3)]
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.complex64)


def follow(make, job, path=None):
    """Return the weights before each step, of a path if given, and after the last, and the state."""
    params = [w.clone(memory_format=torch.preserve_format).requires_grad_() for w in job["weights"]]
    groups = [{"params": params[1:]}, {"params": params[:1], "lr": job["other_lr"]}]
    optimizer, walked = make(groups, **job["settings"]), [job["weights"]]
    for t, grads in enumerate(job["grads"]):
        for p, w, g in zip(params, path[t] if path else params, grads, strict=True):
            p.data.copy_(w)
            p.grad = None if g is None else g.clone(memory_format=torch.preserve_format)
        optimizer.step()
        for p, g in zip(params, grads, strict=True):
            assert g is None or torch.allclose(p.grad, g, 0, 0, equal_nan=True), "p.grad was changed"
        walked.append([p.detach().clone() for p in params])
    return walked, [dict(optimizer.state[p]) for p in params]


def follow_alone(folder, jobs) -> None:
    """Follow the exported files where nothing of this project can be imported."""
    sys.modules.update({name: None for name in sys.modules if name.split(".")[0] in PLACE})
    sys.path.insert(0, str(folder))
    paths = {}
    for module, (_, job) in jobs.items():
        cls = importlib.import_module(module).Found
        known = inspect.signature(cls).parameters
        job["settings"] = {key: value for key, value in job["settings"].items() if key in known}
        if "betas" in job["settings"]:  # as many as the rule takes
            job["settings"]["betas"] = job["settings"]["betas"][: len(known["betas"].default)]
        paths[module] = follow(cls, job, job["path"])
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("dsl")
    torch.save(paths, folder / "paths.pt")


def make_job(seed: int, shapes=SHAPES, dtypes=DTYPES, scale=1.0, **settings) -> dict:
    """Return weights of several dtypes and their gradients, some missing, some without values."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape, dtype):
        wide = torch.complex128 if dtype.is_complex else torch.float64
        x = torch.randn(shape, generator=generator, dtype=wide).to(dtype)
        return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x

    kinds = [(shape, dtype) for dtype in dtypes for shape in shapes]
    grads = [[scale * draw(*kind) for kind in kinds] for _ in range(STEPS)]
    grads[1][1] = grads[4][-3] = None  # these parameters fall a step behind
    return {
        "weights": [draw(*kind) for kind in kinds],
        "grads": grads,
        "settings": {"lr": LR, "total_steps": TOTAL, "seed": seed, **settings},
        "other_lr": 0.3,
    }


def run_exported(folder, jobs: dict[str, tuple[Rule, dict]]) -> dict:
    """Export the rules as modules, follow each in one new process; return paths by module."""
    for module, (rule, job) in jobs.items():
        (folder / f"{module}.py").write_text(export.export(rule, "Found", []), "utf-8")
        job["path"], job["state"] = follow(partial(RuleOptimizer, rule=rule), job)
    with children(follow_alone, folder, jobs) as (process,):
        process.join()
        assert process.exitcode == 0
    return torch.load(folder / "paths.pt", weights_only=False)


def some_rules(number: int, seed: int = 0) -> list[Rule]:
    """Return random rules of depth 1 to 3 over every token, the random ones and the decays included."""
    rng = random.Random(seed)
    spaces = [SearchSpace(depth, **SUBSETS["arxiv"]) for depth in (1, 2, 3)]
    return [spaces[k % 3].sample(rng) for k in range(number)]


def random_jobs(number: int, seed: int) -> dict:
    scales = (1.0, 1e-3, 1e-6)
    rules_ = enumerate(some_rules(number, seed))
    return {f"random{k}": (rule, make_job(k, scale=scales[k % 7 % 3])) for k, rule in rules_}


def check(jobs: dict, paths: dict) -> None:
    for module, (rule, job) in jobs.items():
        path, states = paths[module]
        # RuleOptimizer rounds lr * update before it subtracts: half a unit of the larger of the two
        # weights, at every step anew. Numbers such as exp(2) C and torch may round apart, too.
        for step, after in enumerate(path[1:]):
            for w, wanted, got in zip(*job["path"][step : step + 2], after, strict=True):
                assert wanted.dtype == got.dtype and wanted.shape == got.shape
                if torch.equal(wanted, got):
                    continue  # the usual case, and quick
                w, wanted, got = map(as_reals, (w, wanted, got))
                exact = [x.double().nan_to_num(0, 1e300, -1e300) for x in (w, wanted, got)]
                larger = torch.maximum(exact[0].abs(), exact[1].abs())
                room = 3 * (step + 1) * torch.finfo(w.dtype).eps * larger
                assert torch.equal(wanted.isnan(), got.isnan()), f"{rule}, step {step}"
                assert ((exact[1] - exact[2]).abs() <= room).all(), f"{rule}, step {step}"
        kept = {foreach.AVERAGES[token]: token for token in rule.kept}
        for state, wanted in zip(states, job["state"], strict=True):
            assert state.keys() - {"step"} == kept.keys(), "only what the rule reads is kept"
            for name, token in kept.items():
                same = {"rtol": 0, "atol": 0, "equal_nan": True}
                torch.testing.assert_close(state[name], wanted[token], **same)  # dtype included


def special_jobs() -> dict:
    """Return jobs in which something is unusual: settings, non-finite gradients, large tensors."""
    wild = make_job(5)
    for bad, grads in zip((math.nan, math.inf, -math.inf, 0.0), wild["grads"], strict=False):
        for g in grads:
            if g is not None and g.dim():
                g[0] = bad
    # Blocks have 2**18 elements: one tensor of a block and a bit, many small ones, one that cannot be
    # cut since its memory is not in order.
    shapes = [(2**18 + 21,), *[(7,)] * 9, (2, 75, 42, 42)]
    large = make_job(6, shapes, dtypes=(torch.float32,))
    settings = {"betas": (0.5, 0.9, 0.7), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}
    jobs = {"wild": wild, "large": large, "settings": make_job(7, **settings, foreach=False)}
    texts = {
        "powersign": "sign_g sign_m id id mul | r1 g exp id mul",
        "signs": "sign_g sign_m id id add",  # no gradient beside it that would be NaN as well
        "clips": "gamma rmsprop clip1e-4 clip1e-3 sub | r1 adam sign id add",
        "draws": "noise m drop0.3 drop0.5 add | r1 g id drop0.1 sub",
        # Constants that are not finite, or are in float64 alone, which has the larger range.
        "log0": "1 1 log id left | r1 g log id mul",
        "log_difference": "1 1 id id sub | r1 g log id mul",
        "exp803": "1 2 exp exp mul | r1 2 id id mul | r2 r1 id id mul | r3 g exp id mul",
        "exp100": "1 2 exp exp mul | r1 2 id exp mul | r2 g exp id mul",
        "log_exp100": "1 2 exp exp mul | r1 2 id exp mul | r2 1 exp id left | r3 g log id mul",
        "power_inf": "1 1 id id sub | 2 r1 id log pow | r2 g id id add",
        "inf_power": "1 1 id id sub | r1 g log id pow | r2 g id id sub",
        "nan": "1 1 id id sub | r1 r1 log log sub | g r2 id id add",
        "clip_inf": "1 1 id id sub | r1 1 log id left | r2 g clip1e-3 id mul",
    }
    return {
        f"{what}_{which}": (Rule.parse(text), dict(job))
        for which, text in texts.items()
        for what, job in jobs.items()
        if what != "large" or which in ("powersign", "draws")
    }


@pytest.fixture(scope="module")
def jobs() -> dict:
    named = {f"named_{n.replace('-', '_')}": (rules.find(n), make_job(3)) for n in rules.NAMED_RULES}
    return random_jobs(24, seed=0) | special_jobs() | named


@pytest.fixture(scope="module")
def paths(jobs, tmp_path_factory) -> dict:
    return run_exported(tmp_path_factory.mktemp("exported"), jobs)


@pytest.mark.parametrize("kind", ["random", "wild", "large", "settings", "named"])
def test_exported_file_follows_rule_optimizer(kind, jobs, paths):
    some = {module: job for module, job in jobs.items() if module.startswith(kind)}
    check(some, paths)
    assert len(some) >= {"random": 24, "named": len(rules.NAMED_RULES)}.get(kind, 2)


@pytest.mark.slow
def test_exported_files_follow_rule_optimizer_on_a_thousand_more(tmp_path):
    jobs = random_jobs(1000, seed=1)
    check(jobs, run_exported(tmp_path, jobs))


LACKS = {"sgd": ["self.state[p] ", "_sign(", "_drop", "beta1", "eps:", "seed:", '"step"]', "_cos"]}
LACKS |= {"powersign": ["eps:", "beta2,", "exp_avg_sq", "seed:", '"step"]', "_drop(", "repeat"]}
LACKS |= {"adam": ["beta3", "seed:", "_sign(", "total_steps:", "_draw("]}


@pytest.mark.parametrize("rule, lacks", LACKS.items())
def test_file_holds_only_what_the_rule_needs(rule, lacks):
    text = export.export(rules.find(rule), "Found", [])
    code = text.split('"""', 2)[2]  # without the docstring
    assert [word for word in lacks if word in code] == []


def test_files_are_formatted_and_clean(tmp_path):
    for k, rule in enumerate([*map(rules.find, rules.NAMED_RULES), *some_rules(30, seed=3)]):
        advice = ["lr 0.1, good from 0.01 to 0.1, 1 decade; Adam's best is 0.001 [cifar10, 6 seeds]"]
        about = "larger steps where gradient and average agree; reported, from memory, not checked"
        text = export.export(rule, "FoundOptimizer", advice, remark=f"# {NO_RATE}", about=about)
        (tmp_path / f"rule{k}.py").write_text(text, "utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    select = ["--select", "E,F,W,I,UP,C4,RET", "--target-version", "py310"]
    for command in (["check", *select], ["format", "--check", "--diff"]):
        command = [*ruff, *command, "--isolated", "."]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:]


def test_docstring_has_formula_rates_and_an_example_that_trains():
    text = export.export(rules.find("powersign-ld"), "PowerSign", ["lr 0.5, good"], 0.5, "")
    names, doc = {"model": torch.nn.Linear(2, 1)}, text.split('"""')[1]
    assert "update = exp(ld * sign(g) * sign(m)) * g" in doc and "lr 0.5, good" in doc
    exec(text, names)
    names["loss"] = names["model"](torch.ones(2)).square().sum()
    assert "#" not in doc  # nothing to remark on a rate that was measured
    example = [line.strip() for line in doc.splitlines() if "optimizer" in line or "backward" in line]
    exec("\n".join(example[-4:]), names)
    assert names["optimizer"].param_groups[0]["lr"] == 0.5
    assert names["optimizer"].state[names["model"].weight]["exp_avg"].abs().sum() > 0


@pytest.mark.parametrize("name", ["Found", "NAMED", "HELP"])
def test_no_name_is_mistaken_for_a_place_to_fill_in_and_no_data_set_leaves_the_docstring(name):
    names: dict = {"__name__": "exported"}
    exec(export.export(rules.find("powersign"), name, ['x"""\nraise SystemExit\n\\']), names)
    assert names[name].__name__ == name


def test_what_export_does_not_know_yet_is_refused_in_one_line(monkeypatch):
    why = r"^export does not know 'new' yet: add it to \w+ in [\w/.]+$"
    tables = (
        (dsl.OPERANDS, "g new id id mul"),
        (dsl.UNARY, "g m new id mul"),
        (dsl.BINARY, "g m id id new"),
    )
    for table, rule in tables:
        monkeypatch.setitem(table, "new", next(iter(table.values())))
        with pytest.raises(ValueError, match=why):
            export.export(Rule.parse(rule), "Found", [])


def test_two_equal_parts_are_computed_once():
    lines = foreach.Code(Rule.parse("g2 m exp id mul | r1 r1 log id add")).lines
    names = [line.split("(")[0].split(" = ")[-1] for line in lines]
    assert names == "lerp_ mul _exp div mul_ absolute log_ add_ _descend".split()


HIDING = "math torch Tensor Columns div super _update group self int".split()
NAMES = [(name, "identifier") for name in ("", "1st", "class", "My-Rule", "a b")]
NAMES += [(name, f"'{name}' means something else") for name in HIDING]


@pytest.mark.parametrize("name, why", NAMES)
def test_a_name_that_no_class_can_have_or_that_hides_another_is_refused(name, why):
    with pytest.raises(ValueError, match=why):
        export.export(rules.find("adam"), name, [])
