"""The child: the paper's small ConvNet and its pictures, the task that rules are scored on.

Neural Optimizer Search, section 4.1: two convolutions of 32 filters, trained on 10,000 images an epoch;
the accuracy on 5,000 held-out images is a rule's reward, see training.py. Read next: controller.py.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from config import setting

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    files,
    load,
)
from data import prepare as prepare_data
from dsl import SearchSpace
from results import Say
from sameness import Families
from training import LEAST_STEPS, ProtocolConfig, Task, Trained, start_worker


@dataclass(frozen=True)
class ChildConfig(ProtocolConfig):
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
    batch_size: int = setting(100, "images in a minibatch", low=1, flag=False)
    # UNSPECIFIED: the precision of the arithmetic.
    precision: str = setting(
        "auto",
        "arithmetic; auto is bfloat16 where the processor has it",
        "child",
        choices=("auto", "float32", "bfloat16"),
    )
    screen: bool = setting(True, "reject rules that cheap tests show to be hopeless", "child")
    prune: bool = setting(True, "stop rates of the sweep whose loss falls behind", "child")

    @property
    def steps(self) -> int:
        return self.epoch_size // self.batch_size  # a last partial batch is left out

    def open(self) -> "Pictures":
        """Return the pictures, opened once a process.

        Raises:
            DataError: they are damaged, or fewer than asked for, or others than at first.
        """
        pictures = open_pictures(self)
        pictures.check()
        return pictures


# Settings of earlier versions that are constants now, with the value that they all have today.
FORMER_CHILD = {"race": False, "give_up": False}
# Children of published runs and presets, spelled here alone; "protocol" costs a quarter of the paper's.
SMALL = {"downsample": "stride", "epoch_size": 1_000}
CHILDREN = {
    "paper": {},
    "protocol": {"downsample": "stride"},
    "laptop": SMALL | {"filters": 16, "num_validation": 2_000},
    "smoke": SMALL | {"filters": 8, "num_validation": 1_000, "dataset": SAMPLE},
}


def completed(saved: dict) -> dict:
    """Return settings of a run folder, also of earlier versions, which did not prune and do not say so.

    Where epochs are too short for it, it makes no difference and counts as done.
    """
    images, size = (saved.get(name, getattr(ChildConfig, name)) for name in ("epoch_size", "batch_size"))
    with contextlib.suppress(TypeError, ZeroDivisionError):  # whoever checks the settings says so
        saved = saved | ({"prune": True} if images // size < LEAST_STEPS else {})
    return {"prune": False} | saved


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


def check_epoch(config: ChildConfig) -> None:
    """Raise DataError if an epoch asks for more images than there are, or fewer than a batch has."""
    most = NUM_IMAGES[config.dataset][0] - NUM_VALIDATION
    if not config.batch_size <= config.epoch_size <= most:
        raise DataError(
            f"--epoch-size is {config.epoch_size}; it must be {config.batch_size} (a batch) to {most} "
            f"(what {config.dataset} has beside its {NUM_VALIDATION} held-out images)"
        )


class Pictures(Task):
    """The ConvNet and the images it sees: training subset and validation subset of one data set.

    Images stay uint8 in the memory map that all workers share; a batch is normalised as it is read.
    """

    def __init__(self, config: ChildConfig):
        self.config, self.data = config, load(config.dataset, Path(config.data), config.data_sha256)
        self.files = ()  # as they were when they were looked through
        pool, held_out = self.data.split()
        check_epoch(config)
        self.train_indices = pool[: config.epoch_size]
        self.validation = held_out[: config.num_validation]
        # The mean and spread of each channel, from the training subset alone, exactly.
        images = self.data.train_images[np.sort(self.train_indices)]
        values = np.arange(256)
        counts = [np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])]
        mean = np.array([np.average(values, weights=n) for n in counts])
        square = np.array([np.average(values**2, weights=n) for n in counts])
        # One value a pixel, [H, W, C]: twice as fast as broadcasting along the three channels.
        shape = images.shape[1:]
        self.mean = torch.tensor(np.broadcast_to(mean, shape), dtype=torch.float32)
        std = np.sqrt(square - mean**2)
        self.scale = torch.tensor(np.broadcast_to(1 / std, shape), dtype=torch.float32)

    def check(self) -> None:
        """Raise DataError if the files, of which this is a memory map, hold other pictures by now."""
        config, root = self.config, Path(self.config.data)
        with contextlib.suppress(OSError):  # moved away, so what is open stays as it was
            if (now := files(config.dataset, root)) != self.files:
                load(config.dataset, root, config.data_sha256)
                self.files = now

    def batch(self, indices: np.ndarray, test: bool = False) -> tuple[Tensor, Tensor]:
        """Return images, float32 [B, C, H, W], channels-last in memory, and labels, int64 [B]."""
        data = self.data
        images = torch.from_numpy((data.test_images if test else data.train_images)[indices])
        images = images.float().sub_(self.mean).mul_(self.scale).permute(0, 3, 1, 2)  # from [B, H, W, C]
        labels = (data.test_labels if test else data.train_labels)[indices]
        return images, torch.from_numpy(labels).long()

    def model(self) -> ConvNet:
        config = self.config
        return ConvNet(IMAGE_SHAPE[config.dataset], config.filters, config.downsample)

    def batches(self, model: nn.Module, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        # The same order for every rule and rate; another one each epoch.
        order = np.random.default_rng([seed, epoch]).permutation(self.train_indices)
        for step in range(self.config.steps):
            size = self.config.batch_size
            yield self.batch(order[step * size : (step + 1) * size])

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            return model(images).float()

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self.logits(model, images), labels)

    def score(self, model: nn.Module) -> float:
        """Return the share of validation images that are classified correctly, 0 to 1."""
        return self._accuracy(model, self.validation, test=False)

    def test(self, model: nn.Module) -> float:
        """Return the same of all test images."""
        return self._accuracy(model, np.arange(len(self.data.test_labels)), test=True)

    @torch.no_grad()
    def _accuracy(self, model: nn.Module, chosen: np.ndarray, test: bool) -> float:
        correct = 0
        # Of 500 the first layer's maps would be blocks that glibc asks the system for, each time anew:
        # twice the time, and twice the memory.
        for indices in np.array_split(chosen, max(1, len(chosen) // 200)):
            images, labels = self.batch(indices, test)
            correct += int((self.logits(model, images).argmax(1) == labels).sum())
        return correct / len(chosen)


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
    config.open()
    root = Path(config.data).absolute()
    return replace(config, data=str(root), data_sha256=checksum(config.dataset, root))


def resolve_precision(precision: str) -> str:
    """Turn "auto" into bfloat16 where the processor multiplies it natively, else float32."""
    if precision != "auto":
        return precision
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


@dataclass(frozen=True)
class Child(Trained, ChildConfig):
    """The child as what scores the rules of a search; loop.Scorer says what each method is for."""

    def __str__(self) -> str:
        return f"{self.dataset}, {self.precision}"

    def resolve(self, space: SearchSpace, say: Say) -> "Child":
        dataset = choose(self.dataset, Path(self.data))
        child = replace(self, dataset=dataset, precision=resolve_precision(self.precision))
        check_epoch(child)
        if self.dataset != dataset == SAMPLE:
            say(
                "WARNING: CIFAR-10 is not on disk; the embedded Fashion-MNIST sample takes its place.\n"
                "         For the paper's data run first: python data.py cifar10"
            )
        return child

    def fetch(self, say: Say) -> "Child":
        prepare_data(self.dataset, Path(self.data))
        return identify(self)

    def prepare(self) -> None:
        start_worker()
        self.open()

    def identity(self) -> Families:
        return Families(swept=len(self.lr_exponents) > 1)
