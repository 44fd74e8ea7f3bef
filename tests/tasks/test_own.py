"""Tasks of one's own: faults are told before a search, and what is right trains as torch does."""

import json
import random
import re
import shutil
import sys
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import AVERAGED, DATA

import data
import search
from child import ChildConfig
from dsl import RuleOptimizer
from loop import TIMES
from rules import NAMED_RULES, make_optimizer, turn
from tasks import pilot
from tasks.own import OwnTask, TaskConfig, forget_changed, open_task, sources
from training import TaskFault, Training, evaluate_and_test, evaluate_rule

ADAM, SGD = NAMED_RULES["adam"].rule, NAMED_RULES["sgd"].rule
EXAMPLES = [Path(pilot.__file__).with_name(f"{name}.py") for name in ("charlm", "imports", "oscillator")]

# A line through noisy points; the score is minus the mean squared error.
TINY = """
import numpy as np, torch
from torch import nn
from training import Task

class Line(Task):
    score_name, lower_is_better, epochs = "squared error", True, 2
    def __init__(self):
        rng = np.random.default_rng(0)
        self.x = torch.from_numpy(rng.normal(size=(60, 3))).float()
        self.y = self.x @ torch.tensor([1.0, -2.0, 3.0])
        self.y += 0.3 * torch.from_numpy(rng.normal(size=60)).float()
    def model(self):
        return nn.Linear(3, 1)
    def batches(self, model, seed, epoch):
        order = np.random.default_rng([seed, epoch]).permutation(40)
        for start in range(0, 40, 4):
            yield order[start : start + 4]
    def loss(self, model, rows):
        return (model(self.x[rows])[:, 0] - self.y[rows]).square().mean()
    def score(self, model):
        print("no part of the answer", end="")
        return ((model(self.x[40:])[:, 0] - self.y[40:]) ** 2).mean().item()
    def trivial(self):
        return float(self.y[40:].square().mean())
"""


NAMES = """
class Line(Base):
    pass
"""


def write(folder: Path, text: str = TINY, name: str = "line.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def config_of(path: str, **settings) -> TaskConfig:
    task, _ = open_task(path)
    known = {"epochs": task.epochs, "sweep_epochs": 1, "rate_by": "score", "steps": 10, "screen": False}
    return TaskConfig(task=path, **known | settings)


# --- what is wrong with a task --------------------------------------------------------------------


GIVEN = "        return (model"  # of the loss
LOST = "put other tensors in the place"
KEPT = "self.__dict__.setdefault('rng', np.random.default_rng"
FAULTS = [
    ("self.y[rows]).square()", "self.z[rows]).square()", "'Line' object has no attribute 'z'"),
    (GIVEN, f"        model.zero_grad()\n{GIVEN}", LOST),
    (GIVEN, f"        model.double().float()\n{GIVEN}", LOST),
    ("rows]).square().mean()", "rows]).square()", "one number"),
    (".mean()\n    def s", ".mean() * float('nan')\n    def s", "the loss is nan at step 0"),
    ("mean().item()", "mean().item() / 0", "division by zero"),
    ("mean().item()", "mean().item() * float('inf')", "score of the untrained network is inf"),
    ("nn.Linear(3, 1)", "nn.Linear(3, 1).requires_grad_(False)", "no parameter"),
    ("range(0, 40, 4)", "range(0)", "batches has given none"),
    ("class Line(Task):", "class Line:", "one subclass of training.Task"),
    (
        "mean().item()",
        "mean().item() and None",
        "score, test and trivial; it is NoneType",
    ),
    (".mean().item()", ".tolist()", "it is list"),
    ("float(self.y[40:].square().mean())", "'good'", "it is str, 'good'"),
    (
        "import numpy as np, torch",
        "import numpy as np, torch\nfrom .screen import x",
        "import with a dot",
    ),
    ("    def loss(", "    def lose(", "abstract class Line"),
    ("def model(self):", "def model(self)", "line.py, line 13: expected ':'"),
    ("True, 2", "True, 0", "epochs is 0"),
    ("nn.Linear(3, 1)", "nn.Linear(3, 1, dtype=torch.complex64)", "parameters are complex"),
    ("return float(self.y[40:].square().mean())", "return torch.tensor(torch.nan)", "predictor is nan"),
    (".mean().item()", ".mean() + 0 * (model.zero_grad() or 0)", LOST),
    ("np.random.default_rng([seed, epoch])", f"{KEPT}(3))", "one after another"),
    ("import numpy as np, torch", "import numpy as np, torch, screen", "imports screen from beside it"),
]


@pytest.mark.parametrize("old, new, told", FAULTS, ids=[told for *_, told in FAULTS])
def test_the_dry_run_finds_a_fault(tmp_path, old, new, told):
    assert TINY.count(old) >= 1
    write(tmp_path, "", "screen.py")  # one of ours has this name
    with pytest.raises(Exception, match=re.escape(told)) as error:
        pilot.look(write(tmp_path, TINY.replace(old, new)), 0)
    assert "\n" not in str(error.value)


ORDER = "permutation(40)", "permutation(40)[[hash(str(i)) % 40 for i in range(40)]]", "same seed gives"


@pytest.mark.parametrize("old, new, told", [FAULTS[0], ORDER])
def test_a_fault_is_told_before_anything_is_made(tmp_path, capfd, old, new, told):
    path, folder = write(tmp_path, TINY.replace(old, new)), tmp_path / "run"
    with pytest.raises(SystemExit) as stop:
        search.main(["--task", path, "--preset", "smoke", "--out", str(folder)])
    said = capfd.readouterr().err
    assert stop.value.code == 2 and told in said.strip().splitlines()[-1] and not folder.exists()
    number = TINY.splitlines().index(next(x for x in TINY.splitlines() if "self.y[rows]" in x)) + 1
    own = f'File "{path}", line {number}, in loss' in said  # the user's traceback, once
    assert (said.count("Traceback") == 1) == own == (told == FAULTS[0][-1])


def test_a_dry_run_that_does_not_end_is_ended_and_what_is_no_python_has_none(tmp_path):
    with pytest.raises(TaskFault, match="do its batches end"):
        pilot.dry_run(OwnTask(task=write(tmp_path), cpu_limit_s=0.5))
    for path in ("nowhere.py", "README.md"):
        with pytest.raises(TaskFault, match="must be a Python file"):
            open_task(path)


# --- training -------------------------------------------------------------------------------------

CONVNET = """
import numpy as np, torch
import torch.nn.functional as F
from child import ConvNet, ChildConfig, open_pictures
from training import Task

class Clothes(Task):
    epochs = 2
    def __init__(self):
        sizes = dict(dataset="fashion-mnist-sample", epoch_size=300, num_validation=100)
        self.pictures = open_pictures(ChildConfig(data={root!r}, **sizes))
    def model(self):
        return ConvNet((28, 28, 1), 4, "stride")
    def batches(self, model, seed, epoch):
        order = np.random.default_rng([seed, epoch]).permutation(self.pictures.train_indices)
        return [self.pictures.batch(order[i : i + 20]) for i in range(0, 300, 20)]
    def loss(self, model, batch):
        return F.cross_entropy(model(batch[0]), batch[1])
    @torch.no_grad()
    def score(self, model):
        images, labels = self.pictures.batch(self.pictures.validation)
        return np.float32((model(images).argmax(1) == labels).float().mean())
"""


def test_the_convnet_as_a_task_of_ones_own_has_the_scores_of_the_child(tmp_path):
    """Bit for bit, through another file: the protocol is one."""
    data.prepare(data.SAMPLE, DATA)
    path = write(tmp_path, CONVNET.format(root=str(DATA)), "clothes.py")
    sizes = {"filters": 4, "epoch_size": 300, "num_validation": 100, "batch_size": 20, "epochs": 2}
    how = {"downsample": "stride", "precision": "float32", "screen": False}
    child = ChildConfig(dataset=data.SAMPLE, data=str(DATA), **how, **sizes)
    own = config_of(path, steps=15, follow_rates=False)
    for rule in (ADAM, "m 1 drop0.3 id left", "ld g id id mul"):
        ours, theirs = evaluate_rule(rule, own, 3), evaluate_rule(rule, child, 3)
        assert (ours.lr, ours.status) == (theirs.lr, theirs.status)
        for mine, other in ((ours.curve, theirs.curve), (ours.sweep, theirs.sweep)):
            np.testing.assert_allclose(mine, other, atol=1e-7)  # the score here is a float32


RESTING = TINY.replace("nn.Linear(3, 1)", "nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])")
RESTING = RESTING.replace("model(self.x[40:])", "model[0](self.x[40:])").replace(
    "model(self.x[rows])[:, 0]",
    "(model[0](self.x[rows]) + (model[1](self.x[rows]) if rows[0] % 4 == 0 else 0))[:, 0]",
)
LATER = RESTING.replace("rows[0] % 4 == 0", "self.epoch == 0").replace(
    "        order =", "        self.epoch = epoch\n        order ="
)
SPARSE = RESTING.replace("Linear(3, 1)])", "Embedding(40, 1, sparse=True)])").replace(
    "model[1](self.x[rows])", "model[1](torch.as_tensor(rows))"
)


@pytest.mark.parametrize("text", [RESTING, LATER, SPARSE], ids=["at steps", "in epochs", "sparse"])
def test_a_parameter_without_gradient_rests_as_in_torch(tmp_path, text):
    path = write(tmp_path, text)
    assert pilot.look(path, 0)["rested"] == ["1.bias", "1.weight"][text == SPARSE :]
    task, _ = open_task(path)
    training = Training(ADAM, 0.1, config_of(path, apart=True), 4)
    torch.manual_seed(4)
    net = task.model()
    optimizer = RuleOptimizer(net.parameters(), ADAM, 0.1, seed=4)
    for epoch in range(2):
        training.epoch()
        for rows in task.batches(net, 4, epoch):
            optimizer.zero_grad()
            task.loss(net, rows).backward()
            for p in net.parameters():
                p.grad = p.grad if p.grad is None else p.grad.to_dense()
            optimizer.step()
        assert training.curve[epoch] == -task.score(net)
    flat, vector = Training(ADAM, 0.1, config_of(path), 4), torch.nn.utils.parameters_to_vector
    flat.epoch(), flat.epoch()
    mine, theirs, flats = (vector(one.parameters()) for one in (training.net, net, flat.net))
    assert torch.equal(mine, theirs) and not torch.equal(mine, flats)  # it moves what should rest


def test_trainings_side_by_side_have_the_random_numbers_that_they_have_alone(tmp_path):
    noisy = TINY.replace(
        "model(self.x[rows])", "model(nn.functional.dropout(self.x[rows], 0.5))"
    ).replace("mean().item()", "mean().item() + np.random.rand() + random.random()")
    noisy = f"import random\n{noisy}"
    config = config_of(write(tmp_path, noisy))
    alone = []
    for lr in (0.01, 0.1):
        training = Training(ADAM, lr, config, 5)
        alone.append([training.epoch(), training.epoch(), training.score(test=True)])
    both = [Training(ADAM, lr, config, 5) for lr in (0.01, 0.1)]
    for epoch in range(2):
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(epoch)  # what others draw has no part in it, and goes on as it was
        assert [one.epoch() for one in both] == [curve[epoch] for curve in alone]
        assert torch.rand(()) == torch.rand((), generator=torch.Generator().manual_seed(epoch))
        assert np.random.rand() == np.random.RandomState(epoch).rand()
        assert random.random() == random.Random(epoch).random()
    assert [one.score(test=True) for one in both] == [curve[2] for curve in alone]
    assert alone[0][0] != Training(ADAM, 0.01, config, 6).epoch()


def test_weights_that_an_optimizer_evaluates_have_batch_norms_averages_of_their_own(tmp_path):
    """As the authors of schedule-free ask: batches pass again, as in training, with these weights."""
    normed = "nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))"
    path = write(tmp_path, TINY.replace("nn.Linear(3, 1)", normed))
    rule = write(tmp_path, AVERAGED, "averaged.py") + ":Averaged"
    training, (task, _) = Training(rule, 0.1, config_of(path), 4), open_task(path)
    noisy = TINY.replace("nn.Linear(3, 1)", normed.replace("nn.B", "nn.Dropout(0.5), nn.B"))
    noisy = config_of(write(tmp_path, noisy, "noisy.py"))
    looked, plain = (Training(one, 0.1, noisy, 4) for one in (rule, "torch.optim.SGD"))
    for _ in range(2):
        plain.epoch()
        assert looked.epoch() == looked.score() == looked.score(test=True)
    turn("train", looked.optimizer)  # what it trains is as without any look
    pairs = zip(looked.net.parameters(), plain.net.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    torch.manual_seed(4)
    net = task.model()
    optimizer = make_optimizer(rule, net.parameters(), 0.1)
    for epoch in range(2):
        turn("train", net, optimizer)
        for rows in task.batches(net, 4, epoch):
            optimizer.zero_grad()
            task.loss(net, rows).backward()
            optimizer.step()
        turn("eval", net, optimizer)
        stale = -task.score(net)
        net.train()
        for rows in task.batches(net, 4, 0):
            task.loss(net, rows)
        mine = -task.score(net.eval())
        assert training.epoch() == mine != pytest.approx(stale, 1e-3)


def test_rates_are_followed_off_the_edge_while_they_get_better(tmp_path):
    steep = TINY.replace(".square().mean()\n    def score", ".square().mean() * 1e-3\n    def score")
    path = write(tmp_path, steep)
    best, plain = (evaluate_rule(SGD, config_of(path, follow_rates=yes), 0) for yes in (True, False))
    assert plain.lr == 10.0 and len(plain.sweep) == 7
    rates, scores = zip(*best.sweep, strict=True)
    assert best.lr == 100.0 and rates[-1] == 1000.0 and (scores[-1] is None or scores[-1] < scores[-2])


def test_the_rate_is_that_of_the_best_score_or_of_the_least_loss(tmp_path):
    """Held-out points whose sign is turned: there the loss in training and the score disagree."""
    turned = TINY.replace("mean().item()", "mean().item() * -1")
    config, ends = config_of(write(tmp_path, turned), follow_rates=False, epochs=1), {}
    for exponent in config.lr_exponents:
        training = Training(SGD, 10.0**exponent, config, 0)
        if training.epoch() is not None:
            ends[training.lr] = training.curve[0], -training.loss
    best = [max(ends, key=lambda lr, by=by: ends[lr][by]) for by in (0, 1)]
    assert best[0] != best[1]
    for by, lr in zip(("score", "loss"), best, strict=True):
        assert evaluate_rule(SGD, replace(config, rate_by=by), 0).lr == lr


def test_a_score_far_below_the_start_is_a_failure_and_counts_as_one(tmp_path):
    config = config_of(write(tmp_path), failure=-20.0, follow_rates=False)
    sweep = dict(evaluate_rule(SGD, config, 0).sweep)
    assert sweep[10.0] is None and all(score is None or score >= -20 for score in sweep.values())
    free = dict(evaluate_rule(SGD, replace(config, failure=-1e300), 0).sweep)
    assert {lr for lr in sweep if sweep[lr] != free[lr]} and free[0.1] == sweep[0.1]
    result, test = evaluate_and_test(SGD, config, 0)
    assert result.status == "ok" and test is None  # the task has none: no second look at the same


def test_screening_tries_gradients_as_large_as_the_tasks(tmp_path):
    rule, path = "g3 1 drop0.5 neg sub", write(tmp_path)  # -1, where gradients are small
    for size, fails in ((1.0, True), (100.0, False)):
        config = config_of(path, screen=True, gradients=size, epochs=1)
        assert (evaluate_rule(rule, config, 0).status == "rejected") == fails


# --- the pilot ------------------------------------------------------------------------------------


class Made(Executor):
    """Trainings that end best at a rate of 0.01; before `turn` some of what they show is upside down.

    With `luck` the ends are random numbers and nothing else.
    """

    def __init__(self, turn: int, upside_down: str, luck: int | None = None):
        self.turn, self.upside_down, self.luck = turn, upside_down, luck

    def submit(self, task, rule, lr, config, seed):
        assert task is pilot.whole_curve and config.sweep_epochs == 1
        end = 1 - 0.1 * (np.log10(lr) + 2) ** 2 - 0.05 * (rule != ADAM)
        end += 0.01 * (seed - 6_000) * (seed in pilot.NOISE_SEEDS)
        if self.luck is not None:
            about = [self.luck, seed, round(lr * 1e5), len(rule)]
            end = float(np.random.default_rng(about).normal())
        signs = [-1 if epoch < self.turn else 1 for epoch in range(config.epochs)]
        shown = {what: [s * end if what in self.upside_down else end for s in signs]
                 for what in ("score", "loss")}  # fmt: skip
        future = Future()
        how = {"lr": lr, "untrained": 0.1, "moved": 1.0, "cpu_s": 1.0, "megabytes": 1.0}
        losses = [-value for value in shown["loss"]]
        future.set_result({**how, "scores": [*shown["score"][:-1], end], "losses": losses})
        return future


@pytest.mark.parametrize(
    "turn, upside_down, length, by",
    [(0, "", 1, "score"), (3, "score", 1, "loss"), (2, "score, loss", 3, "score")],
)
def test_the_pilot_finds_what_the_best_rates_can_be_told_by(turn, upside_down, length, by):
    """And the scale of scores: a failure is as far below the worse start as the best is above it."""
    said, found = [], {"trivial": 0.5, "sign": -1}
    config = OwnTask(task="mine.py", epochs=4, score_name="made")
    config = pilot.weigh(config, found, Made(turn, upside_down), said.append)
    assert (config.sweep_epochs, config.rate_by) == (length, by)
    noise = np.std([1 + 0.01 * k for k in range(5)], ddof=1)  # of fresh seeds alone
    assert config.noise == pytest.approx(noise) and config.human == pytest.approx(1.02)
    assert (config.untrained, config.trivial) == (pytest.approx(0.1), (-0.5,))
    assert config.failure == pytest.approx(-0.5 - 1.52) and config.scale.chance == config.untrained
    seeds = int(np.ceil((pilot.APART * noise / 0.092) ** 2))
    assert f"takes {seeds} seed{'s' * (seeds > 1)} a rule" in "\n".join(said)
    with pytest.raises(TaskFault, match="no human optimizer beats both"):
        pilot.weigh(config, found | {"trivial": -1.5}, Made(turn, upside_down), said.append)


def test_luck_alone_is_refused_though_the_best_of_many_is_far_above_chance():
    for luck in range(8):
        with pytest.raises(TaskFault, match="no human optimizer beats both"):
            pilot.weigh(OwnTask(epochs=2), {"trivial": 0.1, "sign": 1}, Made(0, "", luck), print)


# --- searches -------------------------------------------------------------------------------------


def test_a_search_from_python_and_on_a_task_that_changed(tmp_path, capfd):
    path, folder = write(tmp_path), tmp_path / "run"
    found = search.search(task=path, preset="smoke", samples=10, out=folder, workers=1)
    assert len(found.records) == 10 and len(found.humans) == 4 and found.folder == folder
    saved = json.loads((folder / "config.json").read_text())
    failure, chance, near = found.records[0]["scale"]
    assert saved["score_name"] == "minus squared error" and saved["ranks"]
    assert failure < saved["untrained"] <= chance < saved["human"] and near > 0
    assert 2 < saved["gradients"] < 5  # which is what screening tries
    for record in found.records:
        accuracy = failure if record["accuracy"] is None else record["accuracy"]
        assert record["reward"] == accuracy >= failure
    best = max(found.records, key=lambda record: record["reward"])
    assert str(found.best) == best["rule"] and found.families[0].best["id"] == best["id"]
    assert len(repr(found)) < 200 and found.best.infix() in repr(found)
    optimizer = found.make_optimizer([torch.nn.Parameter(torch.ones(2))])
    assert optimizer.defaults["lr"] == best["lr"] and optimizer.defaults["rule"] == best["rule"]
    assert search.search(resume=folder).records == found.records  # complete: read again
    assert (folder / "learning_curve.png").stat().st_size > 0
    with pytest.raises(ValueError, match="unknown settings: sample"):
        search.search(task=path, sample=3)
    with pytest.raises(ValueError, match="preset is 'lapdog'; it must be one of .*laptop"):
        search.search(task=path, preset="lapdog")
    with pytest.raises(ValueError, match="try more samples"):
        found._replace(families=[]).make_optimizer([])

    lines = (folder / "records.jsonl").read_text().splitlines(keepends=True)
    other = shutil.copytree(folder, tmp_path / "other")  # whose records no search could have written
    first = found.records[0] | {"rule": "sign_g sign_m id id mul"}
    (other / "records.jsonl").write_text(json.dumps(first) + "\n")
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    with pytest.raises(ValueError, match="could not go on"):
        search.search(resume=other)
    assert torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)
    (folder / "records.jsonl").write_text("".join(lines[:6]))
    write(tmp_path, TINY + "\n# changed\n")
    with pytest.raises(SystemExit) as stop:
        search.main(["--resume", str(folder)])
    assert stop.value.code == 2 and "has changed" in capfd.readouterr().err
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Path(path).unlink()
    with pytest.raises(SystemExit) as stop:
        search.main(["--resume", str(folder)])
    assert stop.value.code == 2 and "is missing" in capfd.readouterr().err
    assert search.main(["--resume", str(folder), "--task", write(elsewhere)]) == 0
    again = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    timeless = lambda rows: [{k: r[k] for k in r if k not in TIMES} for r in rows]  # noqa: E731
    assert timeless(again) == timeless(found.records)


def test_the_version_covers_what_the_file_imports_from_beside_it(tmp_path):
    text = "import helper_of_line\n" + TINY.replace("Line(Task)", "Base(Task)") + NAMES
    path = write(tmp_path, text)  # of two tasks that which has the other as its base
    helper = Path(write(tmp_path, "from parts_of_line import part\nBASE = 2\n", "helper_of_line.py"))
    (tmp_path / "parts_of_line").mkdir()
    part = Path(write(tmp_path / "parts_of_line", "", "part.py"))
    assert sources(path) == [Path(path).resolve(), helper.resolve(), part.resolve()]
    first, known = open_task(path)
    forget_changed(path)
    part.write_text("# changed")
    assert open_task(path) == (first, known)  # loaded once
    forget_changed(path)
    second, version = open_task(path)
    assert version != known and type(second) is not type(first)
    helper.write_text("from parts_of_line import part\nBASE = 3\n")
    forget_changed(path)
    open_task(path)
    assert sys.modules["helper_of_line"].BASE == 3


# --- what ships -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_shipped_tasks_are_learned_and_the_same_in_another_process(path):
    rates = {"charlm": 1e-2, "imports": 1e-1, "oscillator": 1e-1}
    found = pilot.dry_run(OwnTask(task=str(path)))
    assert not found["apart"] and (found["zero gradients"] > 0.1) == (path.stem == "imports")
    training = Training(ADAM, rates[path.stem], config_of(str(path), steps=found["steps"]), 1)
    while len(training.curve) < found["epochs"]:
        training.epoch()
    assert training.curve[-1] > max(found["sign"] * found["untrained"], found["sign"] * found["trivial"])


def test_the_oscillators_true_path_solves_its_equation():
    module = __import__("tasks.oscillator", fromlist=["truth"])
    t = torch.linspace(0, 1, 50, dtype=torch.float64).requires_grad_()
    x = module.truth(t)
    [speed] = torch.autograd.grad(x.sum(), t, create_graph=True)
    [acceleration] = torch.autograd.grad(speed.sum(), t, create_graph=True)
    residual = acceleration + 2 * module.DAMPING * speed + module.STIFFNESS * x
    assert residual.abs().max() < 1e-9 and x[0] == 1 and speed[0].abs() < 1e-12


def test_the_area_under_roc_is_the_share_of_pairs_in_order():
    task, _ = open_task(str(next(path for path in EXAMPLES if path.stem == "imports")))
    torch.manual_seed(0)
    model = task.model()
    pairs = task.held_out[:50], task.absent
    right, wrong = (model(torch.as_tensor(some)).detach() for some in pairs)
    task.held_out, kept = task.held_out[:50], task.held_out
    above, equal = right[:, None] > wrong[None], right[:, None] == wrong[None]
    share = above.double().mean() + 0.5 * equal.double().mean()
    assert float(task.score(model)) == pytest.approx(float(share), abs=1e-6)
    task.held_out = kept
