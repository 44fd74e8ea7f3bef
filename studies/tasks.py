"""Other networks and tasks for the rules that a search found; the controller is not trained again.

    wrn      a Wide ResNet 16-1 (Zagoruyko and Komodakis 2016) on CIFAR-10, all 45,000 training images
    fashion  the search's ConvNet, strided, on Fashion-MNIST, all 55,000 training images
    text     an LSTM that reads Python's own reference, character by character, and predicts the next

Neural Optimizer Search, section 5. Each is a network, batches to train it with and a score: accuracy
of a classifier, perplexity of a language model. `train` does it with one rule and one rate. No
augmentation, decay or schedule: the rule alone moves the weights. Nothing to run here; read next:
transfer.py.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from child import ChildConfig, ConvNet
from data import IMAGE_SHAPE, NUM_CLASSES, NUM_IMAGES, NUM_VALIDATION, checksum
from rules import turn
from training import Apart, Flat, begin_evaluation, equip

BATCH = 100  # images
SEQUENCE, SEQUENCES = 64, 20  # characters in a sequence, sequences in a batch
CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
EMBEDDING, HIDDEN = 32, 128  # of the language model

# --- networks -------------------------------------------------------------------------------------


class Block(nn.Module):
    """Batch norm, ReLU and a 3x3 convolution, twice, beside a shortcut."""

    def __init__(self, channels: int, filters: int, stride: int):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(filters)
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.shortcut = None
        if (channels, stride) != (filters, 1):
            self.shortcut = nn.Conv2d(channels, filters, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to [N, filters, H / stride, W / stride]."""
        h = F.relu(self.norm1(x))
        beside = x if self.shortcut is None else self.shortcut(h)
        return beside + self.conv2(F.relu(self.norm2(self.conv1(h))))


class WideResNet(nn.Module):
    """WRN-depth-width: three groups of blocks, of which the second and third halve the maps."""

    def __init__(self, depth: int = 16, width: int = 1):
        super().__init__()
        blocks, channels = [], 16
        self.conv = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        for group, filters in enumerate((16 * width, 32 * width, 64 * width)):
            for number in range((depth - 4) // 6):
                blocks.append(Block(channels, filters, 2 if group and not number else 1))
                channels = filters
        self.blocks, self.norm = nn.Sequential(*blocks), nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, 32, 32] to logits [N, 10]."""
        x = F.relu(self.norm(self.blocks(self.conv(x))))
        return self.head(x.mean((2, 3)))


class LanguageModel(nn.Module):
    """A single-layer LSTM over characters, which begins each sequence afresh."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(len(CHARACTERS), EMBEDDING)
        self.lstm = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, len(CHARACTERS))

    def forward(self, x: Tensor) -> Tensor:
        """Map characters, int64 [N, SEQUENCE], to logits of the next ones [N * SEQUENCE, V]."""
        return self.head(self.lstm(self.embedding(x))[0].flatten(0, 1))


# --- tasks ----------------------------------------------------------------------------------------


class Images:
    """A classifier and its pictures; `parts` names what it is scored on."""

    batch_size = BATCH

    def __init__(self, dataset: str, net: Callable[[], nn.Module], root: str, precision: str):
        self.net, self.precision = net, precision
        self.size = NUM_IMAGES[dataset][0] - NUM_VALIDATION
        child = ChildConfig(dataset=dataset, data=root, epoch_size=self.size)
        self.pictures = replace(child, data_sha256=checksum(dataset, Path(root))).open()

    def batches(self, seed: int, epoch: int, examples: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = np.random.default_rng([seed, epoch]).permutation(self.pictures.train_indices)[:examples]
        for start in range(0, len(order) - BATCH + 1, BATCH):
            yield self.pictures.batch(order[start : start + BATCH])

    def check(self) -> None:
        """Raise DataError if the pictures are others by now."""
        self.pictures.check()

    def part(self, name: str) -> Iterator[tuple[Tensor, Tensor]]:
        test = name == "test"
        chosen = np.arange(len(self.pictures.data.test_labels)) if test else self.pictures.validation
        for indices in np.array_split(chosen, len(chosen) // 500):
            yield self.pictures.batch(indices, test)

    def logits(self, net: nn.Module, inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
            return net(inputs).float()

    def score(self, net: nn.Module, name: str) -> float:
        """Return the share of images of a part that are classified correctly."""
        hits = [self.logits(net, images).argmax(1) == labels for images, labels in self.part(name)]
        return float(torch.cat(hits).float().mean())


def reference() -> str:
    """Return the text: Python's reference by topic, a paragraph that came before left out.

    The reference says some things under several topics; held out, they would be known by heart.
    """
    paragraphs = "\n\n".join(topics[name] for name in sorted(topics)).split("\n\n")
    different = dict.fromkeys(" ".join(paragraph.split()) for paragraph in paragraphs)
    return "".join(c for c in "\n".join(different) if c in CHARACTERS)


def text_hash() -> str:
    """Return a hash of the text, which is another one in another version of Python."""
    return hashlib.blake2b(reference().encode(), digest_size=8).hexdigest()


class Text:
    """A character-level language model and the reference that Python ships as `pydoc_data.topics`."""

    batch_size = SEQUENCES

    def __init__(self):
        self.net = LanguageModel
        number = {character: i for i, character in enumerate(CHARACTERS)}
        rows, text = [], [number[c] for c in reference()]
        for end in range(SEQUENCE + 1, len(text) + 1, SEQUENCE + 1):
            rows.append(text[end - SEQUENCE - 1 : end])
        # Whole stretches are held out, so that hardly a sentence is cut between two parts.
        self.rows, first = {}, 0
        for name, tenths in (("training", 8), ("validation", 9), ("test", 10)):
            last = len(rows) * tenths // 10
            self.rows[name] = torch.tensor(rows[first:last])
            first = last
        self.size = len(self.rows["training"])

    def batches(self, seed: int, epoch: int, examples: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = np.random.default_rng([seed, epoch]).permutation(self.size)[:examples]
        for start in range(0, len(order) - SEQUENCES + 1, SEQUENCES):
            rows = self.rows["training"][torch.from_numpy(order[start : start + SEQUENCES])]
            yield rows[:, :-1], rows[:, 1:].flatten()

    def check(self) -> None:
        """It is in memory."""

    def logits(self, net: nn.Module, inputs: Tensor) -> Tensor:
        return net(inputs)

    def score(self, net: nn.Module, name: str) -> float:
        """Return exp(mean cross-entropy) of the next character over a part."""
        losses = [
            F.cross_entropy(self.logits(net, rows[:, :-1]), rows[:, 1:].flatten(), reduction="none")
            for rows in self.rows[name].split(200)
        ]
        return float(torch.cat(losses).mean().exp())


DATASETS = {"wrn": "cifar10", "fashion": "fashion-mnist", "text": None}  # that each task needs
METRICS = {"wrn": "accuracy", "fashion": "accuracy", "text": "perplexity"}
BEST = {"accuracy": max, "perplexity": min}


@lru_cache(maxsize=1)
def make_task(name: str, root: str, precision: str) -> Images | Text:
    """Return a task, opened once a process.

    Args:
        root: folder of the data sets.
        precision: "float32" or "bfloat16", of the classifiers' products.
    Raises:
        DataError: its data set is missing or damaged.
    """
    if name == "text":
        return Text()
    nets = {"wrn": WideResNet, "fashion": lambda: ConvNet(IMAGE_SHAPE["fashion-mnist"], 32, "stride")}
    return Images(DATASETS[name], nets[name], root, precision)


# --- training -------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What one training measured: plain numbers, None from where it diverged.

    `curve` is the validation score after each epoch, `test` that of the test set where the validation
    score was the best so far, and after the last epoch; nothing is chosen by it.
    """

    curve: list[float | None]
    test: list[float | None]
    cpu_s: float


def train(
    name: str, root: str, precision: str, rule: str, lr: float, seed: int, epochs: int, examples: int,
    horizon: int,
) -> Outcome:  # fmt: skip
    """Train a task's network with one rule and one rate; a worker calls it.

    Args:
        name, root, precision: of the task, as `make_task` has them.
        rule: its string.
        seed: of weights, order and random operands.
        examples: images, or sequences, in an epoch; all if there are fewer.
        horizon: epochs of all examples over which a rule's decays end. Fewer epochs are a sweep, in
            which nobody looks at the test set.
    """
    cpu_s, task, best = time.process_time(), make_task(name, root, precision), BEST[METRICS[name]]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = task.net()
    weights, optimizer = equip(net, rule, lr, seed, horizon * (task.size // task.batch_size))
    curve: list[float | None] = [None] * epochs
    test: list[float | None] = [None] * epochs
    for epoch in range(epochs):
        if not train_epoch(task, net, weights, optimizer, task.batches(seed, epoch, examples)):
            break
        again = lambda: task.batches(seed, 0, examples)  # noqa: E731
        begin_evaluation(net, optimizer, lambda net, batch: loss_of(task, net, *batch), again)
        with torch.no_grad():
            score = task.score(net, "validation")
            if not math.isfinite(score):  # a perplexity may overflow before a weight does
                break
            curve[epoch] = score
            if epochs == horizon and (epoch == epochs - 1 or score == best(curve[: epoch + 1])):
                test[epoch] = task.score(net, "test")
    task.check()
    return Outcome(curve, test, time.process_time() - cpu_s)


def loss_of(task: Images | Text, net: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(task.logits(net, inputs), targets)


def train_epoch(task, net: nn.Module, weights: Flat | Apart, optimizer, batches) -> bool:
    """Take a step on every batch; return False as soon as a weight is not finite."""
    turn("train", net, optimizer)
    for inputs, targets in batches:
        weights.zero()
        loss_of(task, net, inputs, targets).backward()
        optimizer.step()
        if not weights.finite():
            return False
    return True
