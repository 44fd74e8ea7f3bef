"""The tasks of transfer.py: their networks against known sizes, training against torch.optim."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import data
from studies import tasks
from studies.tasks import CHARACTERS, SEQUENCE, Images, WideResNet, make_task, train

DATA = Path(__file__).parent.parent.parent / "data"


@pytest.mark.parametrize("depth, width, parameters", [(28, 10, 36_479_194), (16, 4, 2_748_890)])
def test_wide_resnets_have_their_authors_sizes(depth, width, parameters):
    with torch.device("meta"):
        net = WideResNet(depth, width)
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_wide_resnet_halves_its_maps_twice():
    net, shapes = WideResNet(16, 1), []
    for block in net.blocks:
        block.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert shapes == [(16, 32, 32)] * 2 + [(32, 16, 16)] * 2 + [(64, 8, 8)] * 2


def test_text_is_cut_into_three_parts_that_share_nothing():
    task = make_task("text", "", "float32")
    rows = [*task.rows.values()]
    assert all(part.shape[1] == SEQUENCE + 1 for part in rows)
    sizes = [len(part) for part in rows]
    assert sizes[0] == task.size > 8 * sizes[1] * 0.9 and abs(sizes[1] - sizes[2]) <= 1
    text = ["".join(CHARACTERS[i] for i in part.flatten().tolist()) for part in rows]
    assert "".join(text) == tasks.reference()[: sum(map(len, text))]
    assert "assert" in text[0][:3000]  # the first topic is the assert statement
    seen = {text[0][start : start + 100] for start in range(len(text[0]))}
    for part in text[1:]:
        known = sum(part[start : start + 100] in seen for start in range(len(part)))
        assert known < 0.005 * len(part)


def test_perplexity_of_a_model_that_knows_nothing_is_the_number_of_characters():
    task = make_task("text", "", "float32")
    net = task.net()
    with torch.no_grad():
        for p in net.head.parameters():
            p.zero_()
        assert task.score(net, "validation") == pytest.approx(len(CHARACTERS), rel=1e-4)


def test_training_is_that_of_torch_with_the_same_batches():
    """Adam as a rule of the language and as torch has it, through an epoch of the language model."""
    task, examples = make_task("text", "", "float32"), 200
    outcome = train("text", "", "float32", "adam 1 id id mul", 3e-3, 5, 2, examples, 2)
    torch.manual_seed(5)
    net = task.net()
    adam = torch.optim.Adam(net.parameters(), lr=3e-3)
    for epoch in range(2):
        for inputs, targets in task.batches(5, epoch, examples):
            adam.zero_grad()
            F.cross_entropy(task.logits(net, inputs), targets).backward()
            adam.step()
        with torch.no_grad():
            assert outcome.curve[epoch] == pytest.approx(task.score(net, "validation"), rel=1e-3)
    with torch.no_grad():
        assert outcome.test[1] == pytest.approx(task.score(net, "test"), rel=1e-3)
    assert outcome.curve[1] < outcome.curve[0] < len(CHARACTERS)


def test_batches_are_another_order_of_the_same_sequences_each_epoch():
    task = make_task("text", "", "float32")
    first, second = (torch.cat([x for x, _ in task.batches(0, epoch, 10**9)]) for epoch in (0, 1))
    assert not torch.equal(first, second)
    known = {tuple(row) for row in task.rows["training"][:, :-1].tolist()}
    for rows in (first, second):  # all but a last partial batch, none twice
        used = [tuple(row) for row in rows.tolist()]
        assert len(used) == task.size // 20 * 20 and set(used) <= known
        assert len(set(used)) >= len(used) - (task.size - len(known))
    again = torch.cat([x for x, _ in task.batches(0, 0, 10**9)])
    assert torch.equal(first, again)


def test_a_diverged_training_has_no_scores():
    outcome = train("text", "", "float32", "g 1 exp id div", 1e10, 0, 3, 100, 3)
    assert outcome.curve == [None] * 3 == outcome.test


def test_test_scores_are_looked_at_only_where_validation_was_best_and_at_the_end():
    outcome = train("text", "", "float32", "adam 1 id id mul", 0.3, 0, 5, 300, 5)
    best = math.inf
    for epoch, (score, test) in enumerate(zip(outcome.curve, outcome.test, strict=True)):
        best = min(best, score)
        assert (test is not None) == (score == best or epoch == 4)


def test_a_sweep_looks_at_no_test_score_and_has_the_long_runs_horizon():
    rule = "ld g id id mul"  # its decay ends at the horizon
    sweep = train("text", "", "float32", rule, 1.0, 0, 1, 100, 1)
    assert sweep.test != [None]
    assert train("text", "", "float32", rule, 1.0, 0, 1, 100, 9).test == [None]
    longer = train("text", "", "float32", rule, 1.0, 0, 1, 100, 9).curve
    assert longer != sweep.curve  # 5 steps, of some 250 or of nine times as many


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_classifier_is_trained_as_torch_does(monkeypatch, precision):
    data.prepare(data.SAMPLE, DATA)
    net = lambda: tasks.ConvNet((28, 28, 1), 2, "stride")  # noqa: E731
    task = Images(data.SAMPLE, net, str(DATA), precision)
    monkeypatch.setattr(tasks, "make_task", lambda *_: task)
    outcome = train("fashion", str(DATA), precision, "g 1 id id mul", 0.05, 3, 2, 400, 2)
    torch.manual_seed(3)
    plain = net()
    sgd = torch.optim.SGD(plain.parameters(), lr=0.05)
    for epoch in range(2):
        plain.train()
        for images, labels in task.batches(3, epoch, 400):
            sgd.zero_grad()
            F.cross_entropy(task.logits(plain, images), labels).backward()
            sgd.step()
        plain.eval()
        with torch.no_grad():
            # One flat vector rounds otherwise than many tensors, and steps make more of it.
            assert outcome.curve[epoch] == pytest.approx(task.score(plain, "validation"), abs=0.03)
    assert outcome.curve[1] > outcome.curve[0] > 0.1 and outcome.test[1] is not None


def test_images_score_is_the_share_of_hits():
    data.prepare(data.SAMPLE, DATA)
    net = lambda: tasks.ConvNet((28, 28, 1), 2, "stride")  # noqa: E731
    task = Images(data.SAMPLE, net, str(DATA), "float32")
    assert task.size == 10_000
    batches = list(task.batches(0, 0, 250))
    assert [len(labels) for _, labels in batches] == [100, 100]
    model = task.net().to(memory_format=torch.channels_last).eval()
    with torch.no_grad():
        hits = [model(x).argmax(1) == y for x, y in task.part("validation")]
        assert task.score(model, "validation") == pytest.approx(float(torch.cat(hits).float().mean()))
    assert sum(len(y) for _, y in task.part("test")) == 2_000


def test_text_has_known_characters_alone_and_says_nothing_twice():
    assert len(set(CHARACTERS)) == len(CHARACTERS) == 96
    assert set(tasks.reference()) <= set(CHARACTERS)
    lines = tasks.reference().split("\n")
    assert len(set(lines)) == len(lines) > 1_000
