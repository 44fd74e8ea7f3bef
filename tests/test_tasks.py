"""The tasks of transfer.py: their networks against known sizes, training against torch.optim."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import data
import tasks
from tasks import CHARACTERS, SEQUENCE, Images, Text, WideResNet, make_task, train

DATA = Path(__file__).parent.parent / "data"


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
    text = "".join(CHARACTERS[i] for i in torch.cat(rows)[:40].flatten().tolist())
    assert "assert" in text  # the first topic is the assert statement


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
    outcome = train("text", "", "float32", "adam 1 id id mul", 3e-3, 5, 2, examples)
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
    assert len(first) == task.size // 20 * 20
    counts = [np.unique(rows.numpy(), axis=0, return_counts=True)[1].sum() for rows in (first, second)]
    assert counts[0] == counts[1]
    again = torch.cat([x for x, _ in task.batches(0, 0, 10**9)])
    assert torch.equal(first, again)


def test_a_diverged_training_has_no_scores():
    outcome = train("text", "", "float32", "g 1 exp id div", 1e10, 0, 3, 100)
    assert outcome.curve == [None] * 3 == outcome.test


def test_test_scores_are_looked_at_only_where_validation_was_best_and_at_the_end():
    outcome = train("text", "", "float32", "adam 1 id id mul", 0.3, 0, 5, 300)
    best = math.inf
    for epoch, (score, test) in enumerate(zip(outcome.curve, outcome.test, strict=True)):
        best = min(best, score)
        assert (test is not None) == (score == best or epoch == 4)


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


def test_text_keeps_no_character_that_it_cannot_number():
    assert isinstance(make_task("text", "", "float32"), Text)
    assert len(set(CHARACTERS)) == len(CHARACTERS) == 96
