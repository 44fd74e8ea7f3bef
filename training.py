"""Training: any network with any rule, and the score that the rule gets for it.

Neural Optimizer Search, section 4.1. A worker that receives a rule sweeps the learning rate, 10^-5 to
10^1, training one epoch with each; the best rate goes on to 5 epochs, and the accuracy on held-out
data is the reward. `evaluate_rule` does that; it is what workers run. `evaluate_and_test` also looks
at test data, for the final comparison alone. A score depends on (rule, config, seed) alone, never on
the machine's load; on other kinds of processors it rounds otherwise. What is trained is a `Task`: the
paper's is in child.py, others are in tasks/. Read next: child.py.
"""

import contextlib
import math
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing import current_process
from typing import Any

from config import MAX_SEED, setting

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dsl import BETAS, EPS, ParameterStep, Rule
from results import Scale
from rules import is_class, make_optimizer, turn
from screen import screen

HIGHEST = 4  # exponent up to which rates are followed
# DEVIATION: in the paper each rate of the sweep trains for an epoch; `--no-prune` does so too. Here some
# stop after one of these steps, judged by the mean loss of the latest RECENT; see `fall_behind`.
LOOKS, RECENT = (20, 60), 5
BEHIND, LEARNED = 0.3, 0.2  # in units of the loss, nats
LEAST_STEPS = 100  # that an epoch must have for it
NORM_BATCHES = 50  # which batch norm sees again: they replace all but .9^50 of its averages


# --- what is trained, and how ---------------------------------------------------------------------


class TaskFault(ValueError):
    """A task cannot be trained or searched with; the message says why and what to do."""


class Task(ABC):
    """A network, its data and its score; the ConvNet's is `Pictures`.

    Torch's, numpy's and Python's global random numbers are each training's own, so a model, dropout or
    an environment may draw from them and the same seed still gives the same score.
    """

    score_name = "accuracy"  # of what `score` returns
    lower_is_better = False
    epochs = 5  # of the long run

    @abstractmethod
    def model(self) -> nn.Module:
        """Return the untrained network."""

    @abstractmethod
    def batches(self, model: nn.Module, seed: int, epoch: int) -> Iterable:
        """Yield the batches of an epoch, from 0, whatever `loss` takes for one."""

    @abstractmethod
    def loss(self, model: nn.Module, batch) -> Tensor:
        """Return what training makes small, a single number with its graph."""

    @abstractmethod
    def score(self, model: nn.Module) -> float:
        """Return how good the network is on held-out data, which chooses rates and rules."""

    def test(self, model: nn.Module) -> float:
        """Return the same on data that nothing is chosen by; if there is none, on the held-out data."""
        return self.score(model)

    def trivial(self) -> float | None:
        """Return the score of always saying the same, such as the mean; None if it is not known."""
        return None

    def data_version(self) -> str:
        """Return what tells this data from other data, such as a hash."""
        return ""


@dataclass(frozen=True)
class ProtocolConfig:
    """How a rule is scored, whatever is trained; defaults are the paper's where known."""

    # No search has asked for other values, so these have no flag; code can change them.
    epochs: int = setting(5, "of the long run, the sweep's one included", low=1, flag=False)
    beta_horizon: float = setting(
        1.0, "factor on the averages' memory, 1 / (1 - beta)", low=0.1, high=1e6, flag=False
    )
    eps: float = setting(EPS, "delta, added to what is divided by", low=0, flag=False)
    lr_exponents: tuple[float, ...] = setting(
        tuple(range(-5, 2)), "rates of the sweep: 10 to these", low=-10, high=10, least=1, flag=False
    )

    # What child.py or tasks/own.py change.
    sweep_epochs = 1  # with each rate
    rate_by = "score"  # what chooses among rates; or "loss", in training
    follow_rates = False  # off the edge of the sweep
    apart = False  # the rule runs tensor by tensor
    gradients = 1.0  # scale of the largest that screening tries
    prune = False  # rates of the sweep whose loss falls behind are stopped; tried on the ConvNet alone
    scale = Scale()  # of the scores
    score_name = "accuracy"

    # What a subclass adds: `screen`, whether cheap tests come first; `steps`, the batches of an epoch;
    # and `open()`, which returns the Task. See child.ChildConfig and tasks/own.py.

    @property
    def betas(self) -> tuple[float, ...]:
        return tuple(max(0.0, 1 - (1 - beta) / self.beta_horizon) for beta in BETAS)


# --- a training -----------------------------------------------------------------------------------


class RandomState:
    """Python's, numpy's and torch's global random numbers, for one training alone."""

    def __init__(self, seed: int):
        with self._kept():
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            self._inside = self._now()

    def __enter__(self) -> None:
        self._outside = self._now()
        self._set(self._inside)

    def __exit__(self, *exception) -> None:
        self._inside = self._now()
        self._set(self._outside)

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        outside = self._now()
        yield
        self._set(outside)

    def _now(self) -> tuple:
        return random.getstate(), np.random.get_state(), torch.get_rng_state()

    def _set(self, state: tuple) -> None:
        random.setstate(state[0])
        np.random.set_state(state[1])
        torch.set_rng_state(state[2])


class Flat:
    """The trainable parameters of a network, moved into one vector, of which they become views.

    So do their gradients, which backward adds to. The rule then runs once a step instead of once a
    tensor; rules are element-wise, so it is the same.
    """

    def __init__(self, net: nn.Module):
        self.parameters = [p for p in net.parameters() if p.requires_grad]
        self.vector = nn.Parameter(torch.cat([p.detach().flatten() for p in self.parameters]))  # [P]
        self.vector.grad = torch.zeros_like(self.vector)
        sizes = [p.numel() for p in self.parameters]
        vectors = self.vector.data.split(sizes), self.vector.grad.split(sizes)
        self.views = []
        for p, values, gradient in zip(self.parameters, *vectors, strict=True):
            p.data, p.grad = values.view_as(p), gradient.view_as(p)
            self.views.append((p.grad, p.data_ptr()))

    def zero(self) -> None:
        self.vector.grad.zero_()

    def take_gradients(self) -> None:
        """Raise TaskFault if a parameter or gradient is no view any more: it would not be trained."""
        for p, (gradient, place) in zip(self.parameters, self.views, strict=True):
            if p.grad is not gradient or p.data_ptr() != place:
                raise TaskFault(MOVED)

    def finite(self) -> bool:
        """Return whether all weights are; the sum is a cheap first look, and it alone may overflow."""
        vector = self.vector.detach()
        return bool(vector.sum().isfinite() or vector.isfinite().all())


MOVED = (
    "loss, batches or score put other tensors in the place of the parameters or of their gradients, as "
    "net.zero_grad(), net.double() and net.to() do; leave that out, gradients are zeroed before a loss"
)


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


class Apart:
    """The trainable parameters as they are, for what must see tensors; one without gradient rests."""

    def __init__(self, net: nn.Module):
        self.parameters = [p for p in net.parameters() if p.requires_grad]
        self.rested: set[Tensor] = set()  # those that had no gradient at some step

    def zero(self) -> None:
        for p in self.parameters:
            p.grad = None

    def take_gradients(self) -> None:
        """Note what has none; make dense what is sparse, as it is in one vector."""
        for p in self.parameters:
            if p.grad is None:
                self.rested.add(p)
            elif p.grad.is_sparse:
                p.grad = p.grad.to_dense()

    @torch.no_grad()
    def finite(self) -> bool:
        """Return whether all weights are; their sum is a cheap first look, and it alone may overflow."""
        total = sum(p.sum(dtype=torch.float32).item() for p in self.parameters)
        return math.isfinite(total) or all(bool(p.isfinite().all()) for p in self.parameters)


def equip(
    net: nn.Module, rule: str, lr: float, seed: int, total_steps: int, betas=BETAS, eps=EPS, apart=False
) -> "tuple[Flat, Descent] | tuple[Apart, torch.optim.Optimizer]":
    """Return a network's weights and what trains them: a rule, or another optimizer's class.

    Args:
        apart: run a rule tensor by tensor.
        others: as in Descent.
    """
    # UNSPECIFIED: whether rules treat batch norm and biases alike; they do here.
    if is_class(rule):
        weights = Apart(net)
        return weights, make_optimizer(rule, weights.parameters, lr)
    if apart:
        weights, how = Apart(net), {"betas": betas, "eps": eps, "total_steps": total_steps}
        return weights, make_optimizer(rule, weights.parameters, lr, seed=seed, **how)
    weights = Flat(net)
    return weights, Descent(weights.vector, rule, lr, seed, total_steps, betas, eps)


def as_number(score) -> float:
    """Return a score as a number of Python; it may be one of numpy, or a tensor, also with its graph.

    Raises:
        TaskFault: it is something else.
    """
    try:
        return float(score.detach() if isinstance(score, Tensor) else score)
    except (TypeError, ValueError, RuntimeError):
        what = f"is {type(score).__name__}, {str(score)[:40]!r}"
        raise TaskFault(f"a score must be one number, in score, test and trivial; it {what}") from None


def begin_evaluation(
    net: nn.Module, optimizer, loss: Callable[[nn.Module, Any], Tensor], batches: Callable[[], Iterable]
) -> None:
    """Put a network into mode "eval", and an optimizer that has such a mode.

    Such a one evaluates other weights than it trains, schedule-free an average of them. Batch norm's
    averages belong to those trained, so training batches fill them again, as its authors ask. Once
    after a training is enough, and draws none of its random numbers: to look changes nothing.
    """
    turn("eval", optimizer)
    averages = hasattr(optimizer, "eval") and any(isinstance(x, _BatchNorm) for x in net.modules())
    if averages and net.training:
        with RandomState(0):
            for batch in islice(batches(), NORM_BATCHES):
                loss(net, batch)
    turn("eval", net)


class Training:
    """A task's network in training with one rule and one learning rate."""

    def __init__(self, rule: str, lr: float, config: ProtocolConfig, seed: int):
        self.config, self.seed, self.lr, self.task = config, seed, lr, config.open()
        self.random = RandomState(seed)
        with self.random:
            self.net = self.task.model()  # the same start for all rates and all rules
            # The decays' horizon is the long run's, in the sweep too.
            total_steps, betas = config.epochs * config.steps, config.betas
            self.weights, self.optimizer = equip(
                self.net, rule, lr, seed, total_steps, betas, config.eps, config.apart
            )
        self.curve: list[float | None] = []
        self.batches: Iterator | None = None  # those left of an epoch under way
        self.losses: list[Tensor] = []  # of its steps
        self.loss = math.inf  # mean of the last epoch

    def begin(self, steps: int) -> float:
        """Train to this step of an epoch, which `epoch` then goes on with.

        Returns:
            The mean loss of the last RECENT steps; infinite if it diverged or one of them is not finite.
        """
        with self.random:
            alive = self._train(steps - len(self.losses))
        loss = float(torch.stack(self.losses[-RECENT:]).mean()) if alive else math.inf
        return loss if math.isfinite(loss) else math.inf

    def epoch(self) -> float | None:
        """Train for an epoch; return (and note) the score on held-out data, None if it diverged."""
        with self.random:
            self.curve.append(self._score() if self._train() else None)
        self.config.open()  # which refuses if there are other pictures now: these were perhaps mixed
        return self.curve[-1]

    def _train(self, steps: int | None = None) -> bool:
        """Return False as soon as a weight is not finite; the loss alone can recover."""
        if self.batches is None:
            turn("train", self.net, self.optimizer)
            self.batches = iter(self.task.batches(self.net, self.seed, len(self.curve)))
            self.losses = []
        for batch in islice(self.batches, steps):
            self.weights.zero()
            loss = self.task.loss(self.net, batch)
            loss.backward()
            self.weights.take_gradients()
            self.optimizer.step()
            if not self.weights.finite():
                return False
            self.losses.append(loss.detach())
        if steps is None:
            self.loss, self.batches = float(torch.stack(self.losses).mean()), None
        return True

    def score(self, test: bool = False) -> float | None:
        """Return the task's score on held-out or test data, so that higher is better.

        None if it is no finite number, or so bad that it counts as a failure.
        """
        with self.random:
            score = self._score(test)
        self.config.open()
        return score

    def _score(self, test: bool = False) -> float | None:
        batches = lambda: self.task.batches(self.net, self.seed, 0)  # noqa: E731
        begin_evaluation(self.net, self.optimizer, self.task.loss, batches)
        score = as_number((self.task.test if test else self.task.score)(self.net))
        score = -score if self.task.lower_is_better else score
        return score if math.isfinite(score) and score >= self.config.scale.failure else None


# --- a rule's score -------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChildResult:
    """What a worker sends back: plain numbers.

    status is "ok", "diverged" or "rejected", by the test that `error` names; accuracy (of the last
    epoch, 0 to 1) and lr are None if it is not ok; sweep is a list of (lr, accuracy or None if it
    diverged or fell behind); curve the accuracy after each epoch at the best rate.
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


def sweep_rates(rule: str, config: ProtocolConfig, seed: int) -> Iterator[Training]:
    """Yield a training after the sweep's epochs, for each rate; with `follow_rates` some beyond them."""
    merits: dict[float, float] = {}  # by exponent; the trainings themselves would take memory

    def train(exponent: float, training: Training) -> Training:
        while len(training.curve) < config.sweep_epochs and None not in training.curve:
            training.epoch()
        merits[exponent] = merit(training)
        return training

    trainings = ((e, Training(rule, 10.0**e, config, seed)) for e in sorted(config.lr_exponents))
    pruned = config.prune and config.steps >= LEAST_STEPS
    for exponent, training in prune(list(trainings)) if pruned else trainings:
        yield train(exponent, training)
    while config.follow_rates and (edge := max(merits)) < HIGHEST:
        if merits[edge] <= max((x for e, x in merits.items() if e < edge), default=-math.inf):
            break  # of rates below the sweep's none is tried: there the network stays as it is
        yield train(edge + 1, Training(rule, 10.0 ** (edge + 1), config, seed))


def prune(trainings: list[tuple[float, Training]]) -> list[tuple[float, Training]]:
    """Begin trainings on the same batches; those that fall behind end as those do that diverge."""
    for steps in LOOKS:
        going = [training for _, training in trainings if not training.curve]
        losses = [training.begin(steps) for training in going]
        # The same of all, but of those that diverged at once.
        first = max((float(training.losses[0]) for training in going if training.losses), default=0.0)
        for training, stop in zip(going, fall_behind(first, losses), strict=True):
            if stop:
                training.curve.append(None)
    return trainings


def fall_behind(first: float, losses: list[float]) -> list[bool]:
    """Return which of some losses are more than BEHIND above the lowest, or infinite.

    Until the lowest is LEARNED below the first loss, of the untrained network, nobody has learned what
    others could be behind of. What that loses: `python -m studies.pruning`.
    """
    lowest = min(losses, default=math.inf)
    most = lowest + BEHIND if lowest < first - LEARNED else math.inf
    return [loss > most or loss == math.inf for loss in losses]


def merit(training: Training) -> float:
    """Return the number that a rate is chosen by after its epochs in the sweep; higher is better."""
    if training.curve[-1] is None:
        return -math.inf
    return -training.loss if training.config.rate_by == "loss" else training.curve[-1]


def train_best(rule: str, config: ProtocolConfig, seed: int) -> tuple[ChildResult, Training | None]:
    """Return what `evaluate_rule` returns, and the training at the best rate, if there was one."""
    start_s, cpu_s = time.time(), time.process_time()
    best: Training | None = None
    sweep: list[tuple[float, float | None]] = []
    failed_test = None
    if config.screen and not is_class(rule):
        failed_test = screen(Rule.parse(rule), config.gradients)
    for training in () if failed_test else sweep_rates(rule, config, seed):
        sweep.append((training.lr, training.curve[-1]))
        # A tie goes to the smaller rate. The best one is kept as it is and simply goes on.
        reached = merit(training), -training.lr
        if reached[0] > -math.inf and (best is None or reached > (merit(best), -best.lr)):
            best = training
    while best is not None and best.curve[-1] is not None and len(best.curve) < config.epochs:
        best.epoch()

    accuracy = best.curve[-1] if best is not None else None
    result = ChildResult(
        status="rejected" if failed_test else "diverged" if accuracy is None else "ok",
        error=failed_test,
        accuracy=accuracy,
        lr=None if accuracy is None else best.lr,
        sweep=sorted(sweep, key=lambda point: point[0]),
        curve=best.curve if best is not None else [],
        start_s=start_s,
        wall_s=time.time() - start_s,
        cpu_s=time.process_time() - cpu_s,
        worker=current_process().name,
    )
    return result, best


def evaluate_rule(rule: str, config: ProtocolConfig, seed: int) -> ChildResult:
    """Score a rule: screen it, sweep the learning rate, train on at the best one, section 4.1.

    Args:
        rule: its string.
        config: with data set and precision resolved.
        seed: of initial weights, order of the data and random operands.
    """
    return train_best(rule, config, seed)[0]


def evaluate_and_test(rule: str, config: ProtocolConfig, seed: int) -> tuple[ChildResult, float | None]:
    """Score a rule as `evaluate_rule` does; return also the test accuracy of the final weights.

    It is apart from the score so that nothing that selects can see it; None if training failed, or the
    task has no test of its own.
    """
    result, best = train_best(rule, config, seed)
    tested = result.status == "ok" and type(best.task).test is not Task.test
    return result, best.score(test=True) if tested else None


def best_rate(rule: str, config: ProtocolConfig, seed: int) -> tuple[float | None, list]:
    """Sweep the rates alone; return the best one, None if all diverged, and what each scored."""
    trainings = [(merit(one), -one.lr, one.curve[-1]) for one in sweep_rates(rule, config, seed)]
    best = max(trainings)
    sweep = sorted((-lr, score) for _, lr, score in trainings)
    return (None if best[0] == -math.inf else -best[1]), sweep


def train_curve(
    rule: str, lr: float, config: ProtocolConfig, seed: int, epochs: int
) -> tuple[list[float | None], list[float | None], float]:
    """Train with one rule and one rate; the horizon of a rule's decays stays `config.epochs`.

    Returns:
        Validation accuracy after each of the epochs and mean training loss in it, both None from where
        it diverged; CPU seconds.
    """
    cpu_s, training, losses = time.process_time(), Training(rule, lr, config, seed), []
    while len(training.curve) < epochs and training.epoch() is not None:
        losses.append(training.loss)
    lost = [None] * epochs
    curves = ((some + lost)[:epochs] for some in (training.curve, losses))
    return *curves, time.process_time() - cpu_s


# --- as what scores the rules of a search ---------------------------------------------------------


def start_worker() -> None:
    """Prepare a worker process: one thread each, or a hundred workers would fight for the cores."""
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Trained:
    """What makes a loop.Scorer of a ProtocolConfig: seeds, a limit, how to evaluate.

    Mixed in by child.Child and tasks.own.OwnTask.
    """

    child_seed: int = setting(
        0, "seed of weights, order of data, random operands; the first of several", "child",
        low=0, high=MAX_SEED,
    )  # fmt: skip
    cpu_limit_s: float = setting(
        600.0, "CPU seconds that one rule may use; 0 is no limit", "child", low=0, high=1e7
    )

    @property
    def score_seed(self) -> int:
        return self.child_seed

    @property
    def num_seeds(self) -> int:
        return MAX_SEED + 1 - self.child_seed

    def evaluate(self, rule: str, seed: int) -> ChildResult:
        return evaluate_rule(rule, self, seed)
