"""The micro child: hundreds of tiny networks, each with a rule and a rate of its own, trained at once.

The paper's protocol (section 4.1) in small, to measure every depth-1 rule in minutes. A multilayer
perceptron, 49-14-10 with tanh, sees 7 x 7 Fashion-MNIST pictures, noisy and with pixels scaled over
2.5 decades, so that optimizers differ. Each of 7 learning rates trains for 60 batches of 48 pictures;
the best one (a tie goes to the smaller) continues for 60 more. The score is how many of 2,000
validation images the weights then classify correctly.

A seed fixes initial weights, batches, noise and the drops' masks, which all rules and rates share. So
a score depends on (rule, seed) alone, not on what else is measured with it. The meaning of a rule is
dsl's; networks share no number, and a stack is but faster. Nothing to run here.
Read next: build.py, which measures all rules.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data import HERE, NUM_CLASSES, SAMPLE, load, prepare
from dsl import BETAS, BINARY, DROP, EPS, MAX_GROUPS, OPERANDS, UNARY, ParameterStep, Rule
from nosbench.table import NO_RATE, NONE, Scores

RATES = tuple(10.0**exponent for exponent in range(-5, 2))
SWEEP_STEPS, LONG_STEPS = 60, 60  # the long run goes on where the best rate's short run ended
BATCH, NUM_VALIDATION, NUM_TEST = 48, 2000, 2000
NOISE, DECADES = 0.7, 2.5  # standard deviation beside pixels of 1; spread of their scales

INPUTS, HIDDEN = 49 + 1, 14  # the constant input makes a bias a weight; so does a constant hidden unit
ROWS = 17  # of INPUTS numbers: 14 of the first layer, then 10 * (14 + 1) of the second fill 3 more
SPLIT, SIZE = HIDDEN * INPUTS, ROWS * INPUTS  # where the second layer's weights begin and end

CHUNK = 32  # rules in a stack: more leave the processor's cache, fewer spend the time on calls

PROTOCOL = {
    "child": f"perceptron {INPUTS - 1}-{HIDDEN}-{NUM_CLASSES}, tanh, {SIZE} weights",
    "data": f"{SAMPLE}, 7 x 7 block means, noise {NOISE}, scales over {DECADES} decades",
    "batch": BATCH,
    "rates": RATES,
    "steps": (SWEEP_STEPS, LONG_STEPS),
    "validation": NUM_VALIDATION,
    "test": NUM_TEST,
}

# Shapes: R rules, M models (a rule has one or 7 of them), N images, P = SIZE weights of a model.


# --- what all rules share -------------------------------------------------------------------------


class Inputs(NamedTuple):
    """The data set as inputs of the network."""

    images: Tensor  # to train with, float32 [INPUTS, N]
    labels: Tensor  # int64 [N]
    validation: list[Tensor]  # for each class, its images [INPUTS, n]
    test: list[Tensor]


@lru_cache(maxsize=1)
def pictures() -> Inputs:
    """Shrink, standardise and spoil the pictures; nothing here depends on a seed."""
    prepare(SAMPLE, HERE)
    data = load(SAMPLE, HERE)
    pool, held_out = data.split()
    train, test = (
        torch.from_numpy(images.reshape(-1, 7, 4, 7, 4).mean((2, 4)).reshape(-1, 49)).float()
        for images in (data.train_images, data.test_images)
    )
    labels, test_labels = (
        torch.from_numpy(np.array(labels)).long() for labels in (data.train_labels, data.test_labels)
    )
    mean, std = train[pool].mean(0), train[pool].std(0)
    generator = torch.Generator().manual_seed(0)
    scale = 10 ** (-DECADES * torch.rand(49, generator=generator))

    def inputs(images: Tensor) -> Tensor:
        images = (images - mean) / std
        images = (images + NOISE * torch.randn(images.shape, generator=generator)) * scale
        return torch.cat([images, torch.ones(len(images), 1)], 1).T.contiguous()

    def by_class(images: Tensor, labels: Tensor) -> list[Tensor]:
        return [images[:, labels == c].contiguous() for c in range(NUM_CLASSES)]

    train, test, held_out = inputs(train), inputs(test), held_out[:NUM_VALIDATION]
    validation = by_class(train[:, held_out], labels[held_out])
    return Inputs(train[:, pool], labels[pool], validation, by_class(test, test_labels))


class Setup(NamedTuple):
    """What a seed fixes, T = SWEEP_STEPS + LONG_STEPS."""

    w: Tensor  # initial weights [P]
    images: list[Tensor]  # T batches [INPUTS, BATCH]
    targets: list[Tensor]  # their one-hot labels [NUM_CLASSES, BATCH]
    noise: Tensor  # standard normal [T, P]
    uniform: Tensor  # [T, 2 * MAX_GROUPS, P]; a rule's n-th drop keeps where the n-th is at least p


@lru_cache(maxsize=4)
def make_setup(seed: int) -> Setup:
    generator = torch.Generator().manual_seed(seed)
    steps = SWEEP_STEPS + LONG_STEPS
    bound = torch.full((SIZE,), INPUTS**-0.5)  # as nn.Linear: 1 / sqrt(inputs), here with the constant
    bound[SPLIT:] = HIDDEN**-0.5
    w = bound * (2 * torch.rand(SIZE, generator=generator) - 1)
    images, labels, *_ = pictures()
    order = torch.randperm(len(labels), generator=generator)[: steps * BATCH].split(BATCH)
    one_hot = torch.eye(NUM_CLASSES)
    noise = torch.randn(steps, SIZE, generator=generator)
    # Those of one group first: the table's rules need no more.
    draws = [torch.rand(steps, 2 * n, SIZE, generator=generator) for n in (1, MAX_GROUPS - 1)]
    return Setup(
        w,
        [images[:, batch].contiguous() for batch in order],
        [one_hot[:, labels[batch]] for batch in order],
        noise,
        torch.cat(draws, 1),
    )


# --- the network, M at once -----------------------------------------------------------------------


def second_layer(w: Tensor) -> Tensor:
    return w[:, SPLIT:].view(len(w), NUM_CLASSES, HIDDEN + 1)


def forward(w: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return hidden units [M, HIDDEN + 1, N], the last one constant, and logits [M, NUM_CLASSES, N].

    All models see the same images, so the first layer of all is one product. It multiplies the second
    layer's rows too, for nothing: cheaper than to copy the first layer's out of w [M, P].
    """
    rows = w.view(-1, INPUTS) @ images  # [M * ROWS, N]
    hidden = rows.view(len(w), ROWS, -1)[:, : HIDDEN + 1].tanh_()
    hidden[:, HIDDEN] = 1
    return hidden, second_layer(w) @ hidden


def gradient(w: Tensor, images: Tensor, targets: Tensor) -> Tensor:
    """Return each model's gradient [M, P] of its mean cross-entropy on a batch."""
    hidden, logits = forward(w, images)
    error = (logits.softmax(1) - targets) / images.shape[1]  # by the logits [M, NUM_CLASSES, N]
    second = error @ hidden.transpose(1, 2)  # [M, NUM_CLASSES, HIDDEN + 1]
    back = second_layer(w).transpose(1, 2) @ error  # [M, HIDDEN + 1, N]
    back *= 1 - hidden * hidden  # that of tanh, 0 for the constant unit
    first = (back.view(-1, images.shape[1]) @ images.T).view(len(w), HIDDEN + 1, INPUTS)
    return torch.cat([first[:, :HIDDEN].flatten(1), second.flatten(1)], 1)


def count_correct(w: Tensor, part: list[Tensor]) -> np.ndarray:
    """Return how many images of a part each model classifies correctly, uint16 [M]; NONE if diverged.

    `part` holds the images of each class.
    """
    correct = torch.zeros(len(w), dtype=torch.int64)
    for c, images in enumerate(part):
        logits = forward(w, images)[1]
        hits = logits[:, c] >= logits.amax(1)  # 50 times faster than argmax; NaN is no answer
        if c:  # of equal logits the first one counts
            hits &= logits[:, c] > logits[:, :c].amax(1)
        correct += hits.sum(1)
    # A weight that is not finite never becomes finite again, so a look at the end is enough.
    return torch.where(w.isfinite().all(1), correct, int(NONE)).numpy().astype(np.uint16)


# --- the rules, on their models -------------------------------------------------------------------


class StackStep(ParameterStep):
    """A step of a stack of models, which all see the same noise."""

    def __init__(self, *args, noise: Tensor):
        super().__init__(*args, generator=None)
        self.noise = noise  # [P]

    def normal(self, std: float) -> Tensor:
        return (self.noise * std).expand_as(self.g)


def runs(items: list, width: int, start: int = 0) -> Iterator[tuple]:
    """Yield (item, models) for equal items in a row: the slice of their models, `width` an item."""
    for item, group in groupby(items):
        end = start + width * len(list(group))
        yield item, slice(start, end)
        start = end


class Stack:
    """M models in training: `width` for each rule, next to each other.

    Args:
        rules: of equally many groups; fast if neighbours share tokens, right in any order.
        w: weights [M, P]; trained in place.
        lr: learning rates [M, 1].
        state: moving averages and step of a ParameterStep.
    """

    def __init__(self, rules: list[Rule], w: Tensor, lr: Tensor, state: dict):
        self.rules, self.w, self.lr, self.state = rules, w, lr, state
        self.operands = {token for rule in rules for token in rule.operands}
        width, [self.depth] = len(w) // len(rules), {len(rule.groups) for rule in rules}

        def argument(rule: Rule, k: int, side: int) -> tuple[str, str, int | None]:
            if (k, side) not in rule.live:  # nobody looks at it: anything will do
                return rule.operands[0], "id", None
            operand, unary = rule.groups[k][side], rule.groups[k][2 + side]
            return operand, unary, rule.draws.index((k, side)) if unary in DROP else None

        # What a group computes: (binary function, models, arguments of the left side, of the right).
        self.plan = []
        for k in range(self.depth):
            pieces = []
            for binary, models in runs([rule.groups[k][4] for rule in rules], width):
                members = rules[models.start // width : models.stop // width]
                sides = [
                    list(runs([argument(rule, k, side) for rule in members], width, models.start))
                    for side in range(1 if binary == "left" else 2)
                ]
                pieces.append((binary, *sides, *[None] * (2 - len(sides))))
            self.plan.append(pieces)

    def train(self, task: Setup, first: int, last: int) -> None:
        """Take the steps first ... last - 1 of a task."""
        for step in range(first, last):
            g = gradient(self.w, task.images[step], task.targets[step])
            self.w.sub_(self.lr * self.update(g, task.noise[step], task.uniform[step]))

    def update(self, g: Tensor, noise: Tensor, uniform: Tensor) -> Tensor:
        """Return the updates [M, P], as dsl.apply_rule defines them, of a rule on its models."""
        group = {"betas": BETAS, "eps": EPS, "total_steps": SWEEP_STEPS + LONG_STEPS}
        step = StackStep(self.w, g, self.state, group, noise=noise)
        values = {token: OPERANDS[token].value(step) for token in self.operands}
        draws = uniform[: 2 * self.depth]
        keep = [{token: draw >= p for token, p in DROP.items()} for draw in draws]

        def side(arguments: list | None) -> Tensor | None:
            if arguments is None:  # left does not look at it
                return None
            pieces = []
            for (operand, unary, draw), models in arguments:
                masks = () if draw is None else (keep[draw][unary],)
                pieces.append(UNARY[unary].value(values[operand][models], *masks))
            return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

        for k, plan in enumerate(self.plan):
            pieces = [BINARY[b].value(side(left), side(right), step.eps) for b, left, right in plan]
            values[f"r{k + 1}"] = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return values[f"r{self.depth}"]

    def select(self, models: Tensor) -> "Stack":
        """Return a stack of one model for each rule, as far trained as they are here."""
        state = {
            name: value[models] if isinstance(value, Tensor) else value
            for name, value in self.state.items()
        }
        return Stack(self.rules, self.w[models], self.lr[models], state)


# --- scores ---------------------------------------------------------------------------------------


def measure(rules: list[str], seed: int) -> Scores:
    """Measure rules: a sweep of the learning rate, then a long run at the best one.

    Args:
        rules: of equally many groups.
    Returns:
        Scores in the order of the rules.
    """
    parsed, task = [Rule.parse(rule) for rule in rules], make_setup(seed)
    # Neighbours share operands, then the binary function, and what they share is computed in one go.
    shared = lambda i: [[group[k] for k in (0, 1, 4, 2, 3)] for group in parsed[i].groups]  # noqa: E731
    order = sorted(range(len(rules)), key=shared)
    chunks = [order[start : start + CHUNK] for start in range(0, len(order), CHUNK)]
    parts = [_measure([parsed[i] for i in chunk], task) for chunk in chunks]
    back = np.argsort(order)
    return Scores(*(np.concatenate(column)[back] for column in zip(*parts, strict=True)))


@torch.no_grad()
def _measure(rules: list[Rule], task: Setup) -> Scores:
    lr = torch.tensor(RATES).repeat(len(rules)).unsqueeze(1)  # [M, 1]
    stack = Stack(rules, task.w.repeat(len(lr), 1), lr, {})
    stack.train(task, 0, SWEEP_STEPS)
    sweep = count_correct(stack.w, pictures().validation).reshape(-1, len(RATES))
    best = np.where(sweep == NONE, -1, sweep.astype(int)).argmax(1)  # the first, so the smallest rate
    stack = stack.select(torch.arange(len(rules)) * len(RATES) + torch.from_numpy(best))
    stack.train(task, SWEEP_STEPS, SWEEP_STEPS + LONG_STEPS)
    correct, test = (
        count_correct(stack.w, pictures().validation),
        count_correct(stack.w, pictures().test),
    )
    rate = np.where((sweep == NONE).all(1), NO_RATE, best).astype(np.uint8)
    return Scores(correct, test, rate, sweep)
