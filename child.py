"""The child: a small ConvNet trained with one rule; its held-out accuracy is the rule's score.

Neural Optimizer Search, section 4.1. A worker that receives a rule sweeps the learning rate, 10^-5 to
10^1, training one epoch of 10,000 images with each; the best rate goes on to 5 epochs and the
accuracy on 5,000 held-out images is the reward. `evaluate_rule` does that; it is what workers run.
`evaluate_and_test` also looks at the test images, for the final comparison alone.
A score depends on (rule, config, seed) alone, never on the worker or the machine's load.
Read next: screen.py, whose tests come before training.
"""

import sys
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import current_process
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import MAX_SEED, setting
from data import (
    ANY,
    IMAGE_SHAPE,
    NAMES,
    NUM_CLASSES,
    NUM_IMAGES,
    NUM_VALIDATION,
    SAMPLE,
    DataError,
    checksum,
    choose,
    load,
    prepare,
)
from dsl import BETAS, EPS, ParameterStep, Rule, SearchSpace
from sameness import Families
from screen import screen


@dataclass(frozen=True)
class ChildConfig:
    """What a score depends on beside the rule and the seed; defaults are the paper's where known."""

    dataset: str = setting(
        "auto",
        "pictures; auto is CIFAR-10 if on disk, else the sample",
        "data",
        choices=("auto", *NAMES),
    )
    data: str = setting("data", "folder that holds the data sets", "data")
    data_sha256: str = setting(ANY, "checksum of the pictures; auto is any", flag=False)
    # UNSPECIFIED: how the ConvNet shrinks its maps: max-pooling, or stride 2 at a quarter of the cost.
    downsample: str = setting(
        "pool", "how each block halves its maps", "child", choices=("pool", "stride")
    )
    filters: int = setting(32, "filters in each convolution", "child", low=1)
    # UNSPECIFIED: whether an epoch of the long run is 10,000 images, as in the sweep, or all of them.
    epoch_size: int = setting(
        10_000, "training images in an epoch, in sweep and long run", "child", low=1
    )
    num_validation: int = setting(
        NUM_VALIDATION, "held-out images that give the reward", "child", low=1, high=NUM_VALIDATION
    )
    # No search has asked for other values, so these have no flag; code can change them.
    epochs: int = setting(5, "of the long run, the sweep's one included", low=1, flag=False)
    batch_size: int = setting(100, "images in a minibatch", low=1, flag=False)
    beta_horizon: float = setting(
        1.0, "factor on the averages' memory, 1 / (1 - beta)", low=0.1, high=1e6, flag=False
    )
    eps: float = setting(EPS, "delta, added to what is divided by", low=0, flag=False)
    lr_exponents: tuple[float, ...] = setting(
        tuple(range(-5, 2)), "rates of the sweep: 10 to these", low=-10, high=10, least=1, flag=False
    )
    # UNSPECIFIED: the precision of the arithmetic.
    precision: str = setting(
        "auto",
        "arithmetic; auto is bfloat16 where the processor has it",
        "child",
        choices=("auto", "float32", "bfloat16"),
    )
    screen: bool = setting(True, "reject rules that cheap tests show to be hopeless", "child")


# Settings of earlier versions that are constants now, with the value that they all have today.
FORMER = {"race": False, "give_up": False}

# Children of published runs and presets, spelled here alone; "protocol" costs a quarter of the paper's.
SMALL = {"downsample": "stride", "epoch_size": 1_000}
CHILDREN = {
    "paper": {},
    "protocol": {"downsample": "stride"},
    "laptop": SMALL | {"filters": 16, "num_validation": 2_000},
    "smoke": SMALL | {"filters": 8, "num_validation": 1_000, "dataset": SAMPLE},
}


@dataclass(frozen=True)
class ChildResult:
    """What a worker sends back: plain numbers.

    status is "ok", "diverged" or "rejected", by the test that `error` names; accuracy (of the last
    epoch, 0 to 1) and lr are None if it is not ok; sweep is a list of (lr, accuracy or None if it
    diverged); curve the accuracy after each epoch at the best rate.
    """

    status: str
    error: str | None
    accuracy: float | None
    lr: float | None
    sweep: list[tuple[float, float | None]]
    curve: list[float | None]
    start_s: float  # Unix time
    wall_s: float
    cpu_s: float
    worker: str


class ConvNet(nn.Module):
    """Two 3x3 convolutions with batch norm and ReLU, each halving its maps, and a linear head."""

    # UNSPECIFIED: padding, pooling and head. Pooling comes before batch norm: a third cheaper than
    # after it and no worse.

    def __init__(self, image_shape: tuple[int, int, int], filters: int, downsample: str):
        super().__init__()
        height, width, channels = image_shape
        stride = 2 if downsample == "stride" else 1
        self.pool = nn.MaxPool2d(2) if downsample == "pool" else nn.Identity()
        # No bias: the batch norm that follows would subtract it.
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(filters)
        self.head = nn.Linear(filters * (height // 4) * (width // 4), NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, C, H, W] (channels-last in memory) to logits [N, 10]."""
        x = F.relu(self.norm1(self.pool(self.conv1(x))))  # [N, filters, H/2, W/2]
        x = F.relu(self.norm2(self.pool(self.conv2(x))))  # [N, filters, H/4, W/4]
        return self.head(x.permute(0, 2, 3, 1).flatten(1))  # in memory order, so nothing is copied


def flatten_parameters(net: nn.Module) -> nn.Parameter:
    """Move all parameters into one vector, of which they and their gradients become views.

    The rule then runs once a step instead of once a tensor; rules are element-wise, so it is the same.

    Returns:
        The vector, float32 [P], with a zero gradient that backward adds to.
    """
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in net.parameters()]))
    flat.grad = torch.zeros_like(flat)
    sizes = [p.numel() for p in net.parameters()]
    pieces = zip(net.parameters(), flat.data.split(sizes), flat.grad.split(sizes), strict=True)
    for p, values, gradient in pieces:
        p.data, p.grad = values.view_as(p), gradient.view_as(p)
    return flat


class Descent:
    """One vector in training with a rule: RuleOptimizer without what only other people's tools need.

    Its random operands come one after another from one generator, as in all scores on record.

    Args:
        weights: float32 [P], with a gradient.
        seed: of the random operands.
        betas, eps, total_steps: as in RuleOptimizer.
    """

    def __init__(
        self, weights: Tensor, rule: str, lr: float, seed: int, total_steps: int, betas=BETAS, eps=EPS
    ):
        self.weights, self.rule, self.lr, self.state = weights, Rule.parse(rule), lr, {}
        self.settings = {"betas": betas, "eps": eps, "total_steps": total_steps}
        self.generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def step(self) -> None:
        """w <- w - lr * update(g, w, moving averages)"""
        g = self.weights.grad
        step = ParameterStep(self.weights, g, self.state, self.settings, self.generator)
        self.weights.sub_(self.lr * step.update(self.rule))


def check_epoch(config: ChildConfig) -> None:
    """Raise DataError if an epoch asks for more images than there are, or fewer than a batch has."""
    most = NUM_IMAGES[config.dataset][0] - NUM_VALIDATION
    if not config.batch_size <= config.epoch_size <= most:
        raise DataError(
            f"--epoch-size is {config.epoch_size}; it must be {config.batch_size} (a batch) to {most} "
            f"(what {config.dataset} has beside its {NUM_VALIDATION} held-out images)"
        )


class Pictures:
    """The images that a child sees: training subset and validation subset of one data set.

    Images stay uint8 in the memory map that all workers share; a batch is normalised as it is read.
    """

    def __init__(self, config: ChildConfig):
        self.data = load(config.dataset, Path(config.data), config.data_sha256)
        pool, held_out = self.data.split()
        check_epoch(config)
        self.training, self.validation = pool[: config.epoch_size], held_out[: config.num_validation]
        # The mean and spread of each channel, from the training subset alone, exactly.
        images = self.data.train_images[np.sort(self.training)]
        values = np.arange(256)
        counts = [np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])]
        mean = np.array([np.average(values, weights=n) for n in counts])
        square = np.array([np.average(values**2, weights=n) for n in counts])
        # One value a pixel, [H, W, C]: twice as fast as broadcasting along the three channels.
        shape = images.shape[1:]
        self.mean = torch.tensor(np.broadcast_to(mean, shape), dtype=torch.float32)
        std = np.sqrt(square - mean**2)
        self.scale = torch.tensor(np.broadcast_to(1 / std, shape), dtype=torch.float32)

    def batch(self, indices: np.ndarray, test: bool = False) -> tuple[Tensor, Tensor]:
        """Return images, float32 [B, C, H, W], channels-last in memory, and labels, int64 [B]."""
        data = self.data
        images = torch.from_numpy((data.test_images if test else data.train_images)[indices])
        images = images.float().sub_(self.mean).mul_(self.scale).permute(0, 3, 1, 2)  # from [B, H, W, C]
        labels = (data.test_labels if test else data.train_labels)[indices]
        return images, torch.from_numpy(labels).long()


@lru_cache(maxsize=2)
def open_pictures(config: ChildConfig) -> Pictures:
    """Return the pictures of a config, opened once a process.

    Raises:
        DataError: the data set is damaged, or smaller than the config asks for.
    """
    return Pictures(config)


def identify(config: ChildConfig) -> ChildConfig:
    """Return a config that says where its pictures are, and which these are, for good.

    Raises:
        DataError: they are not there, or not those that it says already.
    """
    open_pictures(config)
    root = Path(config.data).absolute()
    return replace(config, data=str(root), data_sha256=checksum(config.dataset, root))


def resolve_precision(precision: str) -> str:
    """Turn "auto" into bfloat16 where the processor multiplies it natively, else float32."""
    if precision != "auto":
        return precision
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


class Training:
    """One ConvNet in training with one rule and one learning rate."""

    def __init__(self, rule: str, lr: float, config: ChildConfig, seed: int):
        self.config, self.seed, self.lr = config, seed, lr
        self.pictures = open_pictures(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # same start for all rates and all rules
            image_shape = IMAGE_SHAPE[config.dataset]
            self.net = ConvNet(image_shape, config.filters, config.downsample)
        self.weights = flatten_parameters(self.net)
        # The decays' horizon is the long run's, in the sweep too. A last partial batch is left out.
        self.steps = config.epoch_size // config.batch_size  # of an epoch
        total_steps = config.epochs * self.steps
        # UNSPECIFIED: whether rules treat batch norm and biases alike; they do here.
        betas = tuple(max(0.0, 1 - (1 - beta) / config.beta_horizon) for beta in BETAS)
        self.optimizer = Descent(self.weights, rule, lr, seed, total_steps, betas, config.eps)
        self.curve: list[float | None] = []

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            return self.net(images).float()

    def epoch(self) -> float | None:
        """Train for an epoch; return (and note) validation accuracy, None if it diverged."""
        self.curve.append(self.accuracy() if self._train() else None)
        return self.curve[-1]

    def _train(self) -> bool:
        """Return False as soon as a weight is not finite; the loss alone can recover."""
        # The same order for every rule and rate; another one each epoch.
        order = np.random.default_rng([self.seed, len(self.curve)]).permutation(self.pictures.training)
        self.net.train()
        for step in range(self.steps):
            batch = order[step * self.config.batch_size : (step + 1) * self.config.batch_size]
            images, labels = self.pictures.batch(batch)
            self.weights.grad.zero_()
            F.cross_entropy(self.forward(images), labels).backward()
            self.optimizer.step()
            # The sum is a cheap first look; it alone may overflow.
            weights = self.weights.detach()
            if not weights.sum().isfinite() and not weights.isfinite().all():
                return False
        return True

    @torch.no_grad()
    def accuracy(self, test: bool = False) -> float:
        """Return the share of validation (or all test) images that are classified correctly, 0 to 1."""
        self.net.eval()
        pictures, correct = self.pictures, 0
        chosen = np.arange(len(pictures.data.test_labels)) if test else pictures.validation
        for indices in np.array_split(chosen, max(1, len(chosen) // 500)):
            images, labels = pictures.batch(indices, test)
            correct += int((self.forward(images).argmax(1) == labels).sum())
        return correct / len(chosen)


def train_best(rule: str, config: ChildConfig, seed: int) -> tuple[ChildResult, Training | None]:
    """Return what `evaluate_rule` returns, and the training at the best rate, if there was one."""
    start_s, cpu_s = time.time(), time.process_time()
    best: Training | None = None
    sweep: list[tuple[float, float | None]] = []
    failed_test = screen(Rule.parse(rule)) if config.screen else None
    for exponent in [] if failed_test else sorted(config.lr_exponents):
        training = Training(rule, 10.0**exponent, config, seed)
        accuracy = training.epoch()
        sweep.append((training.lr, accuracy))
        # A tie goes to the smaller rate. The best one is kept as it is and simply goes on.
        if accuracy is not None and (best is None or accuracy > best.curve[0]):
            best = training
    while best is not None and best.curve[-1] is not None and len(best.curve) < config.epochs:
        best.epoch()

    accuracy = best.curve[-1] if best is not None else None
    result = ChildResult(
        status="rejected" if failed_test else "diverged" if accuracy is None else "ok",
        error=failed_test,
        accuracy=accuracy,
        lr=None if accuracy is None else best.lr,
        sweep=sweep,
        curve=best.curve if best is not None else [],
        start_s=start_s,
        wall_s=time.time() - start_s,
        cpu_s=time.process_time() - cpu_s,
        worker=current_process().name,
    )
    return result, best


def evaluate_rule(rule: str, config: ChildConfig, seed: int) -> ChildResult:
    """Score a rule: screen it, sweep the learning rate, train on at the best one, section 4.1.

    Args:
        rule: its string.
        config: with data set and precision resolved.
        seed: of initial weights, order of the data and random operands.
    """
    return train_best(rule, config, seed)[0]


def evaluate_and_test(rule: str, config: ChildConfig, seed: int) -> tuple[ChildResult, float | None]:
    """Score a rule as `evaluate_rule` does; return also the test accuracy of the final weights.

    It is apart from the score so that nothing that selects can see it; None if training failed.
    """
    result, best = train_best(rule, config, seed)
    return result, best.accuracy(test=True) if result.status == "ok" else None


def train_curve(
    rule: str, lr: float, config: ChildConfig, seed: int, epochs: int
) -> tuple[list[float | None], float]:
    """Train with one rule and one rate; the horizon of a rule's decays stays `config.epochs`.

    Returns:
        Validation accuracy after each of the epochs, None from where it diverged; CPU seconds.
    """
    cpu_s, training = time.process_time(), Training(rule, lr, config, seed)
    while len(training.curve) < epochs and training.epoch() is not None:
        pass
    lost = [None] * (epochs - len(training.curve))
    return training.curve + lost, time.process_time() - cpu_s


def start_worker() -> None:
    """Prepare a worker process: one thread each, or a hundred workers would fight for the cores."""
    torch.set_num_threads(1)


# --- as what scores the rules of a search ---------------------------------------------------------


@dataclass(frozen=True)
class Child(ChildConfig):
    """The child as what scores the rules of a search; search.Scorer says what each method is for."""

    child_seed: int = setting(
        0, "the first: of weights, order of images, random operands", "child", low=0, high=MAX_SEED
    )
    cpu_limit_s: float = setting(
        600.0, "CPU seconds that one rule may use; 0 is no limit", "child", low=0, high=1e7
    )

    def __str__(self) -> str:
        return f"{self.dataset}, {self.precision}"

    @property
    def score_seed(self) -> int:
        return self.child_seed

    @property
    def num_seeds(self) -> int:
        return MAX_SEED + 1 - self.child_seed

    def resolve(self, space: SearchSpace) -> "Child":
        dataset = choose(self.dataset, Path(self.data))
        child = replace(self, dataset=dataset, precision=resolve_precision(self.precision))
        check_epoch(child)
        if self.dataset != dataset == SAMPLE:
            print(
                "WARNING: CIFAR-10 is not on disk; the embedded Fashion-MNIST sample takes its place.\n"
                "         For the paper's data run first: python data.py cifar10",
                file=sys.stderr,
            )
        return child

    def fetch(self) -> "Child":
        prepare(self.dataset, Path(self.data))
        return identify(self)

    def prepare(self) -> None:
        start_worker()
        open_pictures(self)

    def evaluate(self, rule: str, seed: int) -> ChildResult:
        return evaluate_rule(rule, self, seed)

    def identity(self) -> Families:
        return Families(swept=len(self.lr_exponents) > 1)
