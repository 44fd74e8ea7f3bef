"""Tests of training.py and child.py against torch.optim, numpy and a plain loop, on patches of light."""

import math
import pickle
import shutil
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import child
from child import ChildConfig
from data import SAMPLE, DataError
from dsl import SearchSpace
from training import Training, evaluate_and_test, evaluate_rule, fall_behind

SGD, ADAM = "g g id id left", "adam g id id left"
ZERO = "g g id id sub"
CONSTANT = "1 g id id left"
EXPLODES = "1 1 id id sub | r1 r1 log id left"  # log|0|: infinite from the first step, at any rate
GROWS = "g 1e-1w id id sub"  # SGD whose weights grow: fine at small rates, infinite at huge ones


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data folder with separable pictures in the sample's place and a few in CIFAR-10's."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    (root / SAMPLE).mkdir()
    for split, n in (("train", 15_000), ("test", 2_000)):
        labels = rng.integers(0, 10, n, dtype=np.uint8)
        images = rng.integers(0, 120, (n, 28, 28, 1), dtype=np.uint8)
        for k in range(10):
            row, column = 4 + 12 * (k // 5), 1 + 5 * (k % 5)
            images[labels == k, row : row + 8, column : column + 5] += 60
        wrong = rng.random(n) < 0.05  # so that no net is perfect and gradients never vanish
        labels[wrong] = rng.integers(0, 10, wrong.sum())
        np.save(root / SAMPLE / f"{split}_images.npy", images)
        np.save(root / SAMPLE / f"{split}_labels.npy", labels)
    (root / "cifar10").mkdir()
    for split, n in (("train", 50_000), ("test", 10_000)):
        labels = (np.arange(n) % 10).astype(np.uint8)
        np.save(root / "cifar10" / f"{split}_labels.npy", labels)
        file = root / "cifar10" / f"{split}_images.npy"  # sparse: what is not written takes no room
        images = np.lib.format.open_memmap(file, "w+", np.uint8, (n, 32, 32, 3))
        if split == "train":
            pool, held_out = split_by_hand(labels)
            for rows in (pool[:200], held_out[:50]):
                colours = rng.integers(0, (250, 120, 30), (len(rows), 32, 32, 3))
                images[np.sort(rows)] = colours + (5, 60, 200)
        del images
    return root


def split_by_hand(labels):
    """The split as data.py promises it: a constant permutation, its first 5,000 held out."""
    order = np.random.default_rng(0).permutation(len(labels))
    return order[5_000:], order[:5_000]


@pytest.fixture
def config(root):
    sizes = {"filters": 4, "epoch_size": 300, "epochs": 3, "batch_size": 20, "num_validation": 200}
    how = {"downsample": "stride", "lr_exponents": (-4, -3, -2, -1), "precision": "float32"}
    how |= {"dataset": SAMPLE, "data": str(root), "screen": False}  # hopeless rules are wanted here
    return ChildConfig(**sizes, **how)


def outcome(result):
    """All of a result but its times and its worker."""
    return result.status, result.accuracy, result.lr, result.sweep, result.curve


@pytest.mark.parametrize("dataset", [SAMPLE, "cifar10"])
def test_batches_are_the_normalised_pictures_and_the_net_has_30698_parameters(config, root, dataset):
    pictures = child.Pictures(replace(config, dataset=dataset, epoch_size=200, num_validation=50))
    stored = np.load(root / dataset / "train_images.npy", mmap_mode="r")
    stored_labels = np.load(root / dataset / "train_labels.npy")
    subset = stored[np.sort(pictures.train_indices)].astype(np.float64)
    mean, std = subset.mean((0, 1, 2)), subset.std((0, 1, 2))
    for indices in (pictures.train_indices[[3, 0, 7]], pictures.validation[:5]):
        images, labels = pictures.batch(indices)
        assert images.dtype == torch.float32 and labels.dtype == torch.int64
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert labels.tolist() == stored_labels[indices].tolist()
        expected = ((stored[indices] - mean) / std).transpose(0, 3, 1, 2)
        np.testing.assert_allclose(images.numpy(), expected, atol=1e-5)  # float32
    for downsample in ("pool", "stride"):
        net = child.ConvNet((32, 32, 3), 32, downsample)
        assert sum(p.numel() for p in net.parameters()) == 30_698
        assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def reordered(weight):
    """The weights of a head whose inputs are in the order channel, row, column."""
    return weight.view(10, 7, 7, -1).permute(0, 3, 1, 2).flatten(1)


def plain_net(config):
    """The same network, channels first, of torch's own layers."""
    stride, pool = (2, nn.Identity()) if config.downsample == "stride" else (1, nn.MaxPool2d(2))
    filters, layers = config.filters, []
    for channels in (1, filters):
        layers += [nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False), pool]
        layers += [nn.BatchNorm2d(filters), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(filters * 7 * 7, 10))
    net[-1].weight.data = reordered(net[-1].weight.data)
    return net


def train_plainly(config, seed, epochs, make_optimizer, schedule=lambda step: 1.0):
    """Train from scratch without any of either: the net and the accuracy after each epoch."""
    folder = f"{config.data}/{config.dataset}"
    images, labels = (np.load(f"{folder}/train_{what}.npy") for what in ("images", "labels"))
    pool, held_out = split_by_hand(labels)
    pool, held_out = pool[: config.epoch_size], held_out[: config.num_validation]
    mean, std = images[pool].mean(), images[pool].std()

    def batch(indices):
        x = torch.tensor((images[indices] - mean) / std, dtype=torch.float32)
        return x.permute(0, 3, 1, 2).contiguous(), torch.tensor(labels[indices].astype(np.int64))

    torch.manual_seed(seed)
    net, curve = plain_net(config), []
    optimizer = make_optimizer(net.parameters())
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    for epoch in range(epochs):
        net.train()
        order = np.random.default_rng([seed, epoch]).permutation(pool)
        for start in range(0, config.epoch_size - config.batch_size + 1, config.batch_size):
            x, y = batch(order[start : start + config.batch_size])
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
            scheduler.step()
        net.eval()
        with torch.no_grad():
            x, y = batch(held_out)
            curve.append(float((net(x).argmax(1) == y).float().mean()))
    return net, curve


def assert_same_weights(training, net, tolerance):
    """Compare a Training with a plain net, relative to how far training moved each tensor."""
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        start = plain_net(training.config)
    rows = zip(training.net.named_parameters(), net.parameters(), start.parameters(), strict=True)
    for (name, got), expected, before in rows:
        got = reordered(got) if name == "head.weight" else got
        moved = (expected - before).norm()
        assert moved > 0 and (got - expected).norm() < tolerance * moved, name


@pytest.mark.parametrize("downsample, seed", [("stride", 0), ("pool", 1)])
def test_curve_equals_a_plain_training_loop_with_torch_adam(config, downsample, seed):
    # The last 10 images of an epoch are left out; 1,203 validation images make uneven batches.
    config = replace(config, downsample=downsample, epoch_size=210, num_validation=1_203)
    result = evaluate_rule(ADAM, config, seed)
    net, curve = train_plainly(config, seed, 3, lambda p: torch.optim.Adam(p, lr=result.lr))
    # Channels-last sums round differently, which may turn a few pictures in doubt.
    np.testing.assert_allclose(result.curve, curve, atol=5 / 1_203)
    training = Training(ADAM, result.lr, config, seed)
    for _ in range(3):
        training.epoch()
    assert training.curve == result.curve
    assert_same_weights(training, net, 2e-3)  # Adam enlarges rounding where the gradient is tiny


def test_anybodys_optimizer_trains_as_in_a_plain_loop(config):
    result = evaluate_rule("torch.optim.AdamW(weight_decay=0.5, betas=(0.8, 0.9))", config, 4)
    how = {"lr": result.lr, "weight_decay": 0.5, "betas": (0.8, 0.9)}
    _, curve = train_plainly(config, 4, 3, lambda p: torch.optim.AdamW(p, **how))
    np.testing.assert_allclose(result.curve, curve, atol=3 / 200)
    assert result.accuracy > 0.5 and len(result.sweep) == 4
    diverged = evaluate_rule("torch.optim.SGD(momentum=0.9)", replace(config, lr_exponents=(9, 10)), 4)
    assert diverged.status == "diverged"


def test_decays_see_the_long_runs_horizon_in_the_sweep(config):
    training = Training("g ld id id mul", 0.1, config, 0)
    training.epoch()
    sgd = partial(torch.optim.SGD, lr=0.1)
    net, _ = train_plainly(config, 0, 1, sgd, lambda step: 1 - step / 45)  # of three epochs
    assert_same_weights(training, net, 1e-3)  # float32 rounding of plain SGD
    net, _ = train_plainly(config, 0, 1, sgd, lambda step: 1 - step / 15)
    with pytest.raises(AssertionError):
        assert_same_weights(training, net, 1e-2)


def test_a_screened_rule_costs_no_training_and_the_others_score_the_same(config):
    rejected = evaluate_rule(CONSTANT, replace(config, screen=True), 0)
    assert outcome(rejected) == ("rejected", None, None, [], [])
    assert rejected.error == "ignores the gradient"
    for rule in (SGD, "m 1 drop0.3 id left"):
        plain, screened = (evaluate_rule(rule, replace(config, screen=on), 0) for on in (False, True))
        assert outcome(plain) == outcome(screened) and plain.error is screened.error is None


def test_sweep_is_a_plain_loop_at_each_rate_in_order_and_the_best_one_goes_on(config):
    config = replace(config, lr_exponents=(-1, -4, 0, -1.5))
    result = evaluate_rule(SGD, config, 0)
    for lr, accuracy in result.sweep:
        _, (expected,) = train_plainly(config, 0, 1, lambda p, lr=lr: torch.optim.SGD(p, lr=lr))
        assert accuracy == pytest.approx(expected, abs=1.01 / 200)
    rates, accuracies = zip(*result.sweep, strict=True)
    assert rates == (1e-4, pytest.approx(0.0316, abs=1e-4), 1e-1, 1.0)
    assert result.lr == rates[int(np.argmax(accuracies))] != rates[0]
    assert result.curve[0] == max(accuracies)
    assert len(result.curve) == config.epochs and result.curve[-1] == result.accuracy
    assert len(set(accuracies)) > 2
    # The smaller rate wins a tie, and one epoch ends with the sweep.
    result = evaluate_rule(ZERO, replace(config, lr_exponents=(0, -3, -1), epochs=1), 0)
    assert len({accuracy for _, accuracy in result.sweep}) == 1
    assert result.lr == 1e-3 and result.curve == [result.accuracy] == [result.sweep[0][1]]


@pytest.mark.parametrize("rule, same_rate", [(ADAM, False), ("g m drop0.3 id left", True)])
def test_a_pruned_sweep_is_the_whole_one_without_the_rates_whose_loss_is_behind(config, rule, same_rate):
    """Judged by hand from the losses of whole epochs; what goes on is trained as if nothing had been."""
    config = replace(config, epoch_size=1_000, batch_size=10, epochs=2, lr_exponents=tuple(range(-4, 2)))
    whole, losses = evaluate_rule(rule, config, 3), []
    for exponent in config.lr_exponents:
        training = Training(rule, 10.0**exponent, replace(config, prune=False), 3)
        training.epoch()
        losses.append([float(loss) for loss in training.losses])
    gone = [False] * len(losses)
    for look in (20, 60):
        late = [np.mean(some[look - 5 : look]) if len(some) >= look else np.inf for some in losses]
        late = [
            loss if np.isfinite(loss) and not out else np.inf
            for loss, out in zip(late, gone, strict=True)
        ]
        learned = min(late) < losses[0][0] - 0.2
        gone = [loss == np.inf or (learned and loss > min(late) + 0.3) for loss in late]
        assert learned and 0 < sum(gone) < len(gone)
    unpruned = evaluate_rule(rule, replace(config, prune=False), 3)
    expected = [(lr, None if stop else y) for (lr, y), stop in zip(unpruned.sweep, gone, strict=True)]
    assert whole.sweep == expected
    assert whole.lr == max((y, -lr) for lr, y in expected if y is not None)[1] * -1
    assert (whole.lr == unpruned.lr) == same_rate
    if same_rate:
        assert outcome(whole) == outcome(unpruned)[:3] + (expected, unpruned.curve)


def test_nothing_is_pruned_before_anything_is_learned_or_in_a_short_epoch(config):
    assert fall_behind(2.3, [2.3, 2.11, 9.0, math.inf]) == [False, False, False, True]
    assert fall_behind(2.3, [2.0, 2.1, 2.29, math.inf]) == [False, False, False, True]
    assert fall_behind(2.3, [2.0, 2.1, 2.31, math.inf]) == [False, False, True, True]
    assert fall_behind(2.3, [math.inf, math.inf]) == [True, True] and fall_behind(0.0, []) == []
    # Uphill: the losses of large rates are far above the lowest, which is hardly below the first.
    uphill = replace(config, epoch_size=1_000, batch_size=10, epochs=1, lr_exponents=(-4, -2, -1))
    sweeps = [
        outcome(evaluate_rule("g 1 neg id left", replace(uphill, prune=x), 0)) for x in (True, False)
    ]
    assert sweeps[0] == sweeps[1] and [score for _, score in sweeps[0][3]].count(None) == 1  # diverged
    short = replace(config, epoch_size=99 * config.batch_size, lr_exponents=(-3, 1), epochs=1)
    assert outcome(evaluate_rule(GROWS, short, 0)) == outcome(
        evaluate_rule(GROWS, replace(short, prune=False), 0)
    )
    assert evaluate_rule(EXPLODES, replace(config, batch_size=3), 0).status == "diverged"


def test_test_accuracy_is_that_of_the_final_weights_and_changes_no_score(config, root):
    images, labels = (np.load(root / SAMPLE / f"test_{name}.npy") for name in ("images", "labels"))
    result, test_accuracy = evaluate_and_test(ADAM, config, 3)
    assert outcome(result) == outcome(evaluate_rule(ADAM, config, 3))
    training = Training(ADAM, result.lr, config, 3)
    for _ in range(config.epochs):
        training.epoch()
    pictures = training.task
    x = (torch.from_numpy(images).float() - pictures.mean) * pictures.scale
    training.net.eval()
    with torch.no_grad():
        expected = (training.net(x.permute(0, 3, 1, 2)).argmax(1).numpy() == labels).mean()
    assert test_accuracy == pytest.approx(expected, abs=1.5 / len(labels))  # sums rounded otherwise
    assert 0.5 < test_accuracy != result.accuracy
    assert evaluate_and_test(EXPLODES, config, 0)[1] is None


def test_diverging_rule_stops_at_once_and_a_rate_that_diverges_loses_to_the_others(config):
    result = evaluate_rule(EXPLODES, config, 0)
    assert outcome(result) == ("diverged", None, None, [(10.0**k, None) for k in range(-4, 0)], [])
    training = Training(EXPLODES, 0.1, config, 0)
    assert training.epoch() is None and training.curve == [None]
    assert training.optimizer.state["step"] == 1  # of 15
    result = evaluate_rule(GROWS, replace(config, lr_exponents=(10, -2, -1)), 0)
    assert result.status == "ok" and result.lr in (1e-2, 1e-1) and result.accuracy > 0.5
    assert result.sweep[2] == (1e10, None) and None not in result.curve


def test_rule_that_diverges_after_the_sweep_has_no_score(config):
    # w doubles at each of 60 steps an epoch, and float32 ends at 2^128: in the third epoch.
    config = replace(config, epochs=4, batch_size=5, lr_exponents=(1,))
    result = evaluate_rule("1e-1w g neg id left", config, 0)
    assert result.status == "diverged" and result.accuracy is None and result.lr is None
    assert result.sweep[0][1] is not None and result.sweep[0][1] == result.curve[0]
    assert result.curve[-1] is None and len(result.curve) == 3 and None not in result.curve[:-1]


def test_only_weights_that_are_not_finite_count_as_diverged(config):
    """A constant rule ignores the gradient, so a NaN loss leaves its weights alone."""
    training = Training("1 g neg id left", 1e36, config, 0)  # 15 steps: all weights are 1.5e37
    assert training.epoch() is not None
    images, labels = training.task.batch(training.task.train_indices[:20])
    training.net.train()
    assert F.cross_entropy(training.task.logits(training.net, images), labels).isnan()
    assert not training.weights.vector.detach().sum().isfinite()  # the sum overflows, no weight does
    assert training.weights.vector.isfinite().all()

    infinite = Training(CONSTANT, 1e38, config, 0)  # the least float32 is -3.4e38
    assert infinite.epoch() is None and infinite.optimizer.state["step"] == 4


def test_random_operands_follow_the_childs_seed(config):
    """One step of a rule of noise alone moves the weights by the noise of a generator with that seed."""
    for seed in (0, 7):
        one_step = replace(config, epoch_size=20)
        training = Training("noise 1 id id left", 0.1, one_step, seed)
        start = training.weights.vector.detach().clone()
        training.epoch()
        generator = torch.Generator().manual_seed(seed)
        noise = 0.01 * torch.randn(len(start), generator=generator)
        assert torch.equal(training.weights.vector.detach(), start - 0.1 * noise)


def test_bfloat16_agrees_roughly_with_float32(config):
    configs = [replace(config, precision=precision) for precision in ("float32", "bfloat16")]
    results = [evaluate_rule(ADAM, config, 0) for config in configs]
    exact, rounded = (np.array([accuracy for _, accuracy in result.sweep]) for result in results)
    assert np.abs(exact - rounded).max() < 0.1  # bfloat16 has 8 bits: a few pictures in 200
    assert results[1].accuracy > 0.9
    plain, coarse = (Training(ADAM, 1e-3, config, 0) for config in configs)
    images, _ = plain.task.batch(plain.task.train_indices[:20])
    outputs = [training.task.logits(training.net, images) for training in (plain, coarse)]
    assert outputs[1].dtype == coarse.weights.vector.dtype == torch.float32
    error = (outputs[0] - outputs[1]).norm() / outputs[0].norm()
    assert 1e-4 < error < 0.03  # rounded indeed, to about 2^-8


def test_a_worker_computes_on_one_thread_in_the_precision_that_the_processor_has():
    torch.set_num_threads(2)
    child.start_worker()
    assert torch.get_num_threads() == 1
    assert child.resolve_precision("float32") == "float32"
    assert child.resolve_precision("bfloat16") == "bfloat16"
    assert child.resolve_precision("auto") in ("float32", "bfloat16")
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    if "avx512_bf16" in capabilities:  # torch asks the processor itself
        native = capabilities["avx512_bf16"] or capabilities.get("amx_bf16", False)
        assert child.resolve_precision("auto") == ("bfloat16" if native else "float32")


def test_a_training_whose_pictures_are_overwritten_has_no_score(config, root, tmp_path):
    shutil.copytree(root / SAMPLE, tmp_path / SAMPLE)
    config = child.identify(replace(config, data=str(tmp_path)))
    training, labels = Training(ADAM, 1e-2, config, 0), tmp_path / SAMPLE / "train_labels.npy"
    labels.touch()
    assert training.epoch() == training.score()
    labels.rename(away := tmp_path / "moved away")
    assert training.epoch() == training.score()
    away.rename(labels)
    np.save(labels, 9 - np.load(labels))
    for step in (training.epoch, training.score, lambda: evaluate_rule(ADAM, config, 0)):
        with pytest.raises(DataError, match="holds other pictures"):
            step()


def test_a_search_has_its_scores_from_evaluate_rule(config, root):
    """The scorer travels to the workers: as plain data."""
    scorer = child.Child(**asdict(config) | {"precision": "auto"}, child_seed=3)
    scorer = scorer.resolve(SearchSpace(1), print)
    assert scorer.precision == child.resolve_precision("auto")
    scorer = pickle.loads(pickle.dumps(replace(scorer, precision="float32")))
    result = scorer.evaluate(ADAM, 3)
    assert outcome(result) == outcome(evaluate_rule(ADAM, config, 3))
    plain = [value for pair in result.sweep for value in pair] + result.curve
    assert {type(value) for value in (*plain, result.lr, result.wall_s, result.cpu_s)} == {float}
    assert outcome(scorer.evaluate(ADAM, 0)) == outcome(evaluate_rule(ADAM, config, 0))
    with pytest.raises(DataError, match="10001"):
        replace(scorer, epoch_size=10_001).resolve(SearchSpace(1), print)
