"""Exported optimizers and RuleOptimizer in the frameworks that people train with, AdamW beside them.

    pip install -r requirements-ecosystem.txt
    python -m pytest -m slow tests/export/test_ecosystem.py

A framework that is not installed is skipped. Models are of a few weights, made here.
"""

import contextlib
import math

import pytest
import torch
from test_torch_tools import ALL, maker, same
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SOME = ["Adam", *(f"exported {rule}" for rule in ("powersign", "adam", "g-plus-m", "powersign-ld"))]
SOME += ["rule powersign"]


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(32, 6, generator=generator)
    return TensorDataset(x, (x.sum(1) > 0).long())


def plainly(name: str, epochs: int = 2, **settings) -> list[torch.Tensor]:
    """Train with a loop of one's own; return the weights."""
    model = net()
    optimizer = maker(name)(model.parameters(), **settings)
    for _ in range(epochs):
        train_epoch(model, optimizer)
    return [p.detach() for p in model.parameters()]


def train_epoch(model, optimizer, batches=None, backward=torch.Tensor.backward) -> list[float]:
    """Train for an epoch; return the losses."""
    losses = []
    for x, y in batches or DataLoader(data(), 8):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        backward(loss)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", SOME)
def test_lightning_trains_checkpoints_and_monitors(name, tmp_path):
    lightning = pytest.importorskip("lightning")
    from lightning.pytorch.callbacks import LearningRateMonitor
    from lightning.pytorch.loggers import CSVLogger

    class Task(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net()

        def training_step(self, batch, _):
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return maker(name)(self.parameters())

    def fit(epochs, **kw):
        task, how = Task(), {"default_root_dir": tmp_path, "logger": CSVLogger(tmp_path)}
        how |= {"callbacks": [LearningRateMonitor("step", log_momentum=True, log_weight_decay=True)]}
        how |= {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        trainer = lightning.Trainer(max_epochs=epochs, log_every_n_steps=1, **how)
        trainer.fit(task, DataLoader(data(), 8), **kw)
        return trainer, [p.detach() for p in task.parameters()]

    first, _ = fit(1)
    first.save_checkpoint(tmp_path / "half.ckpt")
    _, weights = fit(2, ckpt_path=tmp_path / "half.ckpt")
    same(weights, plainly(name))
    [*_, metrics] = sorted(tmp_path.rglob("metrics.csv"))
    columns = metrics.read_text().splitlines()[0].split(",")
    for words in ("momentum", "weight_decay"):
        assert sum(words in column for column in columns) == 1


@pytest.mark.parametrize("name", SOME)
def test_accelerate_trains_and_resumes(name, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    for half in range(2):
        accelerator, model = accelerate.Accelerator(cpu=True), net()
        optimizer = maker(name)(model.parameters())
        prepared = accelerator.prepare(model, optimizer, DataLoader(data(), 8))
        if half:
            accelerator.load_state(str(tmp_path))
        train_epoch(*prepared, accelerator.backward)
        accelerator.save_state(str(tmp_path))
    same([p.detach() for p in model.parameters()], plainly(name))


@pytest.mark.parametrize("name", SOME)
def test_transformers_trainer_trains_and_resumes(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=11, n_positions=8)
    texts = [{"input_ids": x, "labels": x} for x in torch.arange(64).reshape(8, 8) % 11]

    def run(steps, **kw):
        transformers.set_seed(0)
        model = transformers.GPT2LMHeadModel(config)
        groups = [
            {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
            {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
        ]
        args = transformers.TrainingArguments(
            str(tmp_path), max_steps=steps, save_steps=2, per_device_train_batch_size=4, report_to=[],
            use_cpu=True, disable_tqdm=True, lr_scheduler_type="constant",
        )  # fmt: skip
        trainer = transformers.Trainer(
            model, args, train_dataset=texts, optimizers=(maker(name)(groups), None)
        )
        trainer.train(**kw)
        return [p.detach().clone() for p in model.parameters()]

    whole = run(4)
    resumed = run(4, resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    same(resumed, whole)
    assert all(p.isfinite().all() for p in whole)


@pytest.mark.parametrize("name", SOME)
def test_timm_parts_weight_decay_and_schedules(name):
    timm = pytest.importorskip("timm")
    from timm.optim import param_groups_layer_decay, param_groups_weight_decay
    from timm.scheduler import CosineLRScheduler

    model = timm.create_model("resnet10t", num_classes=2)
    for groups in (param_groups_weight_decay(model, 0.1), param_groups_layer_decay(model, 0.1)):
        optimizer = maker(name)(groups)
        schedule = CosineLRScheduler(optimizer, 10, warmup_t=2, warmup_lr_init=1e-4)
        assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.1}
        scales = [group.get("lr_scale", 1.0) for group in optimizer.param_groups]
        schedule.step(1)
        halfway = [(1e-4 + 0.01) / 2 * scale for scale in scales]
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(halfway)
        model(torch.randn(2, 3, 32, 32)).square().mean().backward()
        for p in model.parameters():
            p.grad.zero_()  # so that the update is zero and the decay is left
        before = [[p.detach().clone() for p in group["params"]] for group in optimizer.param_groups]
        optimizer.step()
        for group, old in zip(optimizer.param_groups, before, strict=True):
            shrunk = 1 - group["lr"] * group["weight_decay"]
            same([p.detach() for p in group["params"]], [shrunk * p for p in old], rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", SOME)
def test_opacus_trains_privately(name):
    opacus = pytest.importorskip("opacus")
    model, engine = net(), opacus.PrivacyEngine(accountant="rdp")
    noise = {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "data_loader": DataLoader(data(), 8)}
    optimizer = maker(name)(model.parameters())
    model, optimizer, batches = engine.make_private(module=model, optimizer=optimizer, **noise)
    before = [p.detach().clone() for p in model.parameters()]
    train_epoch(model, optimizer, batches)
    assert all(not torch.equal(a, b.detach()) for a, b in zip(before, model.parameters(), strict=True))
    assert 0 < engine.get_epsilon(1e-5) < math.inf


@pytest.mark.parametrize("name", SOME)
def test_schedulefree_wraps(name):
    """Not torch's Adam: the wrapper's `z` is in its state first, which it takes for a complete one."""
    schedulefree, model = pytest.importorskip("schedulefree"), net()
    optimizer = schedulefree.ScheduleFreeWrapper(maker(name)(model.parameters()), momentum=0.9)
    optimizer.train()
    with pytest.raises(KeyError, match="exp_avg") if name == "Adam" else contextlib.nullcontext():
        losses = [loss for _ in range(20) for loss in train_epoch(model, optimizer)]
        optimizer.eval()
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ALL)
def test_torchao_quantized_weights_move(name):
    training = pytest.importorskip("torchao.prototype.quantized_training")
    from torchao.quantization import quantize_

    model = nn.Sequential(nn.Linear(64, 64, bias=False))
    quantize_(model, training.int8_weight_only_quantized_training())
    optimizer = maker(name)(model.parameters(), lr=0.1)
    before = model[0].weight.dequantize().clone()
    for step in range(3):
        inputs = torch.randn(4, 64, generator=torch.Generator().manual_seed(step))
        model(inputs).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    after = model[0].weight.dequantize()
    assert after.isfinite().all() and (after != before).float().mean() > 0.1
