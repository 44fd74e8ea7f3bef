"""The tasks of transfer.py: their networks against known sizes, training against torch.optim."""

import math

import pytest
import torch
import torch.nn.functional as F
from helpers import DATA

import data
from studies import tasks
from studies.tasks import CHARACTERS, SEQUENCE, Images, WideResNet, make_task, train


def test_wide_resnets_have_their_authors_sizes_and_halve_their_maps_twice():
    for depth, width, parameters in ((28, 10, 36_479_194), (16, 4, 2_748_890)):
        with torch.device("meta"):
            net = WideResNet(depth, width)
        assert sum(p.numel() for p in net.parameters()) == parameters
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
    assert len(set(CHARACTERS)) == len(CHARACTERS) == 96 and set(tasks.reference()) <= set(CHARACTERS)
    lines = tasks.reference().split("\n")
    assert len(set(lines)) == len(lines) > 1_000  # it says nothing twice
    text = ["".join(CHARACTERS[i] for i in part.flatten().tolist()) for part in rows]
    assert "".join(text) == tasks.reference()[: sum(map(len, text))]
    assert "assert" in text[0][:3000]  # the first topic is the assert statement
    seen = {text[0][start : start + 100] for start in range(len(text[0]))}
    for part in text[1:]:
        known = sum(part[start : start + 100] in seen for start in range(len(part)))
        assert known < 0.005 * len(part)


def sample_images(precision="float32") -> Images:
    data.prepare(data.SAMPLE, DATA)
    return Images(data.SAMPLE, lambda: tasks.ConvNet((28, 28, 1), 2, "stride"), str(DATA), precision)


SGD = "g 1 id id mul", torch.optim.SGD, 0.05, {"abs": 0.03}  # one flat vector rounds otherwise than many
TRAININGS = [("text", "float32", "adam 1 id id mul", torch.optim.Adam, 3e-3, {"rel": 1e-3})]
TRAININGS += [("fashion", precision, *SGD) for precision in ("float32", "bfloat16")]


@pytest.mark.parametrize("name, precision, rule, torch_optimizer, lr, margin", TRAININGS)
def test_training_is_that_of_torch(name, precision, rule, torch_optimizer, lr, margin, monkeypatch):
    """With the same batches, the rule as the language and as torch has it."""
    task = make_task("text", "", precision) if name == "text" else sample_images(precision)
    monkeypatch.setattr(tasks, "make_task", lambda *_: task)
    examples = 200 if name == "text" else 400
    outcome = train(name, "", precision, rule, lr, 5, 2, examples, 2)
    torch.manual_seed(5)
    net = task.net()
    optimizer = torch_optimizer(net.parameters(), lr=lr)
    for epoch in range(2):
        net.train()
        for inputs, targets in task.batches(5, epoch, examples):
            optimizer.zero_grad()
            F.cross_entropy(task.logits(net, inputs), targets).backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            assert outcome.curve[epoch] == pytest.approx(task.score(net, "validation"), **margin)
    with torch.no_grad():
        assert outcome.test[1] == pytest.approx(task.score(net, "test"), **margin)
    first, second = outcome.curve
    assert second < first < len(CHARACTERS) if name == "text" else 0.1 < first < second


def test_perplexity_of_no_knowledge_and_batches_that_are_another_order_of_the_same_each_epoch():
    task = make_task("text", "", "float32")
    net = task.net()
    with torch.no_grad():
        for p in net.head.parameters():
            p.zero_()  # so that it knows nothing
        assert task.score(net, "validation") == pytest.approx(len(CHARACTERS), rel=1e-4)
    first, second = (torch.cat([x for x, _ in task.batches(0, epoch, 10**9)]) for epoch in (0, 1))
    assert not torch.equal(first, second)
    known = {tuple(row) for row in task.rows["training"][:, :-1].tolist()}
    for rows in (first, second):  # all but a last partial batch, none twice
        used = [tuple(row) for row in rows.tolist()]
        assert len(used) == task.size // 20 * 20 and set(used) <= known
        assert len(set(used)) >= len(used) - (task.size - len(known))
    again = torch.cat([x for x, _ in task.batches(0, 0, 10**9)])
    assert torch.equal(first, again)


def test_test_scores_are_looked_at_only_where_validation_was_best_and_at_the_end():
    outcome, best = train("text", "", "float32", "adam 1 id id mul", 0.3, 0, 5, 300, 5), math.inf
    for epoch, (score, test) in enumerate(zip(outcome.curve, outcome.test, strict=True)):
        best = min(best, score)
        assert (test is not None) == (score == best or epoch == 4)
    lost = train("text", "", "float32", "g 1 exp id div", 1e10, 0, 3, 100, 3)
    assert lost.curve == [None] * 3 == lost.test
    # A sweep looks at no test score and has the long run's horizon, at which this rule's decay ends.
    sweep, whole = (train("text", "", "float32", "ld g id id mul", 1.0, 0, 1, 100, h) for h in (9, 1))
    assert sweep.test == [None] != whole.test
    assert sweep.curve != whole.curve  # 5 steps, of some 250 or of nine times as many


def test_images_score_is_the_share_of_hits():
    task = sample_images()
    assert task.size == 10_000
    batches = list(task.batches(0, 0, 250))
    assert [len(labels) for _, labels in batches] == [100, 100]
    model = task.net().to(memory_format=torch.channels_last).eval()
    with torch.no_grad():
        hits = [model(x).argmax(1) == y for x, y in task.part("validation")]
        assert task.score(model, "validation") == pytest.approx(float(torch.cat(hits).float().mean()))
    assert sum(len(y) for _, y in task.part("test")) == 2_000
