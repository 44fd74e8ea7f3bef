"""When two rules are one: by key, by fingerprint, by family; and how a search passes over known ones.

Many strings mean one rule, and many rules do nearly the same. Three names tell how nearly:

    key           the same update, bit for bit                         Rule.key, dsl.py
    fingerprint   the same update within a relative tolerance of 1e-5  `fingerprint`
    family        the same training: updates that point the same way   `Families`
                  at every gradient scale, up to one constant factor

The learning rate is swept over decades, so a constant factor that the sweep can undo counts as nothing;
a term a thousand times smaller than the rest shows in no accuracy. Within a family scores differ about
as one training differs from the next. So families are what a search should count and try, and `Distinct`
lets a proposer that draws more candidates than it needs take the new ones; not in the paper, and off in
its preset.

Nothing to run here. Read next: rules.py; controller.py and rivals.py ask `Distinct` what to take.
"""

import hashlib
import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from config import setting

import numpy as np
import torch
from torch import Tensor

from dsl import BETAS, EPS, OPERANDS, ParameterStep, Rule, SearchSpace, apply_rule
from results import FAILURE_REWARD

DECAY = 0.95  # of the moving average `new_share`, per call of `take`
BEST = 10  # so many are trained again, as many as a search shows at its end

# --- what rules are tried on ----------------------------------------------------------------------


def operands(
    w: Tensor, mean: Tensor, noise: float, scale: Tensor, total_steps: int, generator: torch.Generator
) -> Iterator[dict[str, Tensor]]:
    """Yield every operand after each of the gradients scale * (mean + noise * normal), without end."""
    state: dict = {}
    group = {"betas": BETAS, "eps": EPS, "total_steps": total_steps}
    # Each draws by itself, so that one more shifts nothing; but those two as they do in published names.
    draws = {token: torch.Generator().manual_seed(place) for place, token in enumerate(OPERANDS)}
    draws |= {"noise": generator, "anoise": generator}
    while True:
        normal = torch.randn(w.shape, generator=generator, dtype=w.dtype)
        step, values = ParameterStep(w, scale * (mean + noise * normal), state, group, generator), {}
        for token, operand in OPERANDS.items():
            step.generator = draws[token]
            values[token] = operand.value(step)
        yield values


# --- by fingerprint -------------------------------------------------------------------------------


def fingerprint(rule: Rule) -> str:
    """Return a hash that rules share which behave alike within a relative tolerance of 1e-5.

    The update is computed in float64 on warm moving averages, at gradient scales 1 to 1e-6, and
    rounded to five significant digits, never absolutely. Rounding has edges: of 1,500 pairs of rules
    that differ by 1e-8 relatively, 4.3 % were parted. So scores are shared by family, never by it.
    """
    generator = torch.Generator().manual_seed(0)
    update = apply_rule(rule, probe(), generator=generator)
    digits = " ".join(f"{x:.4e}" for x in update.tolist()).replace("-0.0000e+00", "0.0000e+00")
    return hashlib.blake2b(digits.encode(), digest_size=8).hexdigest()


@lru_cache(maxsize=1)
def probe() -> dict[str, Tensor]:
    """Return every operand, float64 [96], after 20 steps of noisy gradients at four scales."""
    generator = torch.Generator().manual_seed(2)
    scale = torch.tensor([1.0, 1e-2, 1e-4, 1e-6], dtype=torch.float64).repeat_interleave(24)
    w, mean = torch.randn(2, 96, generator=generator, dtype=torch.float64)
    w *= torch.tensor([1.0, 1e-1, 1e-2, 1e-3], dtype=torch.float64).repeat(24)  # some pass each clip
    # Noise beyond the mean, so that g and m often differ in sign.
    return next(islice(operands(w, mean, 2.0, scale, 100, generator), 19, None))


# --- by family ------------------------------------------------------------------------------------

MIN_COSINE = 0.99  # between the updates of two rules of one family, at every gradient scale
MAX_APART = 0.05  # decades by which the ratio of their sizes may differ from scale to scale
# log10 of an element, at gradients of size 1e-2, within which a sweep from 1e-5 to 10 undoes a constant
# factor; clip(m, 1e-4) would need a higher rate to train as sign(m) does.
REACH = (-3.5, 2.5)
SWEPT, FAR = 1, 12.0  # the place of those gradients' scale; decades that stand for infinitely many
SCALES, WEIGHTS, STEPS, LAST = 5, 64, 16, 3


@lru_cache(maxsize=1)
def stream() -> dict[str, Tensor]:
    """Return every operand, float32 [SCALES, LAST * WEIGHTS], in the last steps of noisy gradients.

    Gradients have a mean as large as their noise, at scales from 0.1 to 1e-5. At larger ones, which the
    networks here never see, exp(g^2) and the like would tell rules apart that train alike. Weights are
    of size 0.1, as a network's are. A decay has come far enough to be told from a constant.
    """
    generator = torch.Generator().manual_seed(3)
    scale = torch.logspace(-1, -SCALES, SCALES, dtype=torch.float64).unsqueeze(1)
    w = 0.1 * torch.randn(SCALES, WEIGHTS, generator=generator, dtype=torch.float64)
    mean = torch.randn(WEIGHTS, generator=generator, dtype=torch.float64)
    last = list(islice(operands(w, mean, 1.0, scale, STEPS + 2, generator), STEPS))[-LAST:]
    return {token: torch.cat([values[token] for values in last], 1).float() for token in OPERANDS}


def profile(rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """Return a rule's unit directions [SCALES, LAST * WEIGHTS] and log10 sizes [SCALES], float32.

    The size is the root mean square of the update's elements.

    Not finite where the update is not, or is zero.
    """
    update = apply_rule(rule, stream(), generator=torch.Generator().manual_seed(0)).double()
    most = update.abs().amax(1, keepdim=True)  # taken out first: no overflow in squares
    length = (update / most).norm(dim=1, keepdim=True)
    size = most * length / (LAST * WEIGHTS) ** 0.5
    return (update / most / length).float().numpy(), size.log10().float().squeeze(1).numpy()


@lru_cache(maxsize=2)
def sketch(rules: int = 1_000) -> np.ndarray:
    """Return 16 orthonormal directions along which so many rules differ most, float32 [..., 16]."""
    space, rng = SearchSpace(2), random.Random(0)
    drawn = [profile(space.sample(rng))[0].ravel() for _ in range(rules)]
    drawn = np.stack([direction for direction in drawn if np.isfinite(direction).all()])
    return np.linalg.svd(drawn, full_matrices=False)[2][:16].T.copy()


def doubled(rows: np.ndarray) -> np.ndarray:
    """Return rows [N, ...] with room for as many more, [2 N, ...], untouched: it takes no memory yet."""
    more = np.empty((2 * len(rows), *rows.shape[1:]), rows.dtype)
    more[: len(rows)] = rows
    return more


class Families:
    """Numbers the families of rules in the order in which they are met.

    A rule joins the first family whose founder it is like: cosines of at least MIN_COSINE at every
    scale, and sizes whose ratio is the same at all within MAX_APART decades. If there is none, it
    founds one. So two members may be a little further apart than that. Rules whose update is zero or
    not finite at some scale have no direction; of these a fingerprint is a family.

    Args:
        swept: whether learning rates are swept, so that a constant factor within REACH is nothing.
        cosine, apart: in the place of MIN_COSINE and MAX_APART, for wider or narrower families.
    """

    def __init__(self, swept: bool = True, cosine: float = MIN_COSINE, apart: float = MAX_APART):
        self.swept, self.cosine, self.apart = swept, cosine, apart
        self.count = 0
        self._numbers: dict[str, int] = {}  # by key, and by fingerprint where there is no direction
        self._founders: list[int] = []  # the numbers of the others; a row each in what follows
        self._sizes = np.empty((SCALES, 64), np.float32)
        self._sketches = np.empty((64, 16), np.float32)
        self._directions = np.empty((64, SCALES, LAST * WEIGHTS), np.float16)

    def __call__(self, rule: Rule) -> int:
        """Return the number of a rule's family, which it founds if it is like no other."""
        key = rule.key()
        if key not in self._numbers:
            direction, size = profile(rule)
            if np.isfinite(direction).all() and np.isfinite(size).all():
                undone = np.clip(size[SWEPT], *REACH) if self.swept else 0
                self._numbers[key] = self._join(direction, size - undone)
            else:
                name = f"fingerprint {fingerprint(rule)}"
                self._numbers[key] = self._numbers[name] = self._numbers.get(name, self.count)
        self.count = max(self.count, self._numbers[key] + 1)
        return self._numbers[key]

    def _join(self, direction: np.ndarray, size: np.ndarray) -> int:
        # Of few rules: any directions would do, these spare as many products and are soon there.
        n, short = len(self._founders), direction.ravel() @ sketch(200)
        near = np.flatnonzero(np.abs(self._sizes[0, :n] - size[0]) <= self.apart)
        for known, mine in zip(self._sizes[1:], size[1:], strict=True):  # each scale leaves fewer
            near = near[np.abs(known[near] - mine) <= self.apart]
        # Of unit vectors with such a cosine the squared distance is at most 2 - 2 * cosine, also along
        # a sketch; where that is more, the long product is spared. A little more is for rounding.
        apart = ((self._sketches[near] - short) ** 2).sum(1)
        near = near[apart <= 1.01 * SCALES * (2 - 2 * self.cosine)]
        cosines = np.einsum("nsd,sd->ns", self._directions[near].astype(np.float32), direction)
        alike = near[(cosines >= self.cosine).all(1)]
        if len(alike):
            return self._founders[alike[0]]
        if n == len(self._sketches):
            self._sizes = np.stack([doubled(sizes) for sizes in self._sizes])
            self._sketches, self._directions = doubled(self._sketches), doubled(self._directions)
        self._sizes[:, n], self._sketches[n], self._directions[n] = size, short, direction
        self._founders.append(self.count)
        return self.count


def by_family() -> Callable[[dict], int]:
    """Return a function record -> number of its rule's family, the same for records of any runs."""
    families = Families()
    return lambda record: families(Rule.parse(record["rule"]))


# --- by likeness ----------------------------------------------------------------------------------

# Squared distance at which a score tells e times less; and the weight of the mean of all beside a score
# at no distance. On scores of 9,000 rules of depth 2, 1,000 of which foretold the others, half the width
# did no better; in searches of depth 1 it did worse (reproduce/families.md).
WIDTH, PRIOR = 0.14, 0.1


@lru_cache(maxsize=2**16)  # all rules of depth 1, of which a search asks again and again; at most 130 MB
def behaviour(rule: Rule) -> np.ndarray:
    """Return a rule as a point, float [21]: like rules are near each other.

    Its direction's sketch and, without the factor that a sweep undoes, its log10 sizes, so that a
    squared distance is a mean over the scales. What is not finite or zero counts as no direction, and
    as a size far off.
    """
    direction, size = profile(rule)
    size = np.nan_to_num(size, nan=-FAR, posinf=FAR, neginf=-FAR)
    apart = np.clip(size - np.clip(size[SWEPT], *REACH), -FAR, FAR)
    sketched = np.nan_to_num(direction, posinf=0, neginf=0).ravel() @ sketch()
    return np.concatenate([sketched, apart]) / SCALES**0.5


class Forecast:
    """Foretells the scores of rules: a mean over those that behave alike (Nadaraya 1964, Watson 1964).

    sum_i w_i score_i / sum_i w_i, w_i = exp(-squared distance / width), and PRIOR * the mean of all.
    """

    def __init__(self, width: float = WIDTH):
        self.width = width
        self._places: dict[Hashable, int] = {}
        self._points, self._scores = np.empty((64, 16 + SCALES)), np.empty(64)

    def note(self, name: Hashable, rule: Rule, score: float) -> None:
        """Remember the score of what has this name, in the place of an earlier one."""
        place = self._places.setdefault(name, len(self._places))
        if place == len(self._scores):
            self._points, self._scores = doubled(self._points), doubled(self._scores)
        self._points[place], self._scores[place] = behaviour(rule), score

    def __call__(self, rules: list[Rule]) -> np.ndarray:
        """Return a forecast for each rule, float [n]; there must be a score already."""
        n, points = len(self._places), np.stack([behaviour(rule) for rule in rules])
        known, scores = self._points[:n], self._scores[:n]
        apart = (points**2).sum(1)[:, None] + (known**2).sum(1) - 2 * points @ known.T
        weights = np.exp(-apart / self.width)
        return (weights @ scores + PRIOR * scores.mean()) / (weights.sum(1) + PRIOR)


# --- passing over known rules ---------------------------------------------------------------------


@dataclass(frozen=True)
class DistinctConfig:
    """How hard a proposer looks for something new."""

    # DEVIATION: the paper scores whatever is sampled; 1 does so too.
    candidates: int = setting(
        1,
        "rules drawn for each one that is scored; those like others that were scored --replicates times "
        "are passed over while new ones are left; 1 takes whatever is drawn",
        "beyond the paper",
        low=1,
        high=1000,
    )
    # DEVIATION: the paper trains whatever is sampled; 1 trains a family once and repeats its score.
    replicates: int = setting(
        1,
        "trainings of rules that are alike, each with the next child seed, as they are drawn again; all "
        "but controllers draw the ten best again; the reward is their mean; 1 trains each family once",
        "beyond the paper",
        low=1,
        high=1000,
    )


class Distinct:
    """Remembers what was taken and how it scored, and takes what is new, or not measured often enough.

    Args:
        identity: tells by a name whether two rules are the same rule; a search passes `Families`.
        replicates: how often the same rule is taken before it is passed over.
    """

    def __init__(self, identity: Callable[[Rule], Hashable], replicates: int = 1):
        self.identity, self.replicates = identity, replicates
        self.new_share = 1.0  # of new rules among the candidates examined, a moving average
        self.first: dict[Hashable, Rule] = {}  # the first rule of each name that was scored
        self.scores: dict[Hashable, float | None] = {}  # the latest reward by name, None if it failed
        self._taken: Counter[Hashable] = Counter()

    def note(self, rules: list[Rule]) -> None:
        """Remember rules that were not drawn."""
        self._taken.update(map(self.identity, rules))

    def take(self, candidates: list[Rule], n: int, fill: bool = True) -> list[int]:
        """Return the places of n candidates, the first new ones; too few are filled up with others."""
        new, known = [], []
        for place, rule in enumerate(candidates):
            if len(new) == n:
                break
            name = self.identity(rule)
            if self._taken[name] < self.replicates:
                self._taken[name] += 1
                new.append(place)
            else:
                known.append(place)
        looked_at = len(new) + len(known)
        self.new_share = DECAY * self.new_share + (1 - DECAY) * len(new) / max(1, looked_at)
        filled = known[: n - len(new)] if fill else []
        self.note([candidates[place] for place in filled])
        return sorted(new + filled)

    def new(self, candidates: list[Rule]) -> dict[Hashable, Rule]:
        """Return those that `take` would take, one of each name."""
        named = {self.identity(rule): rule for rule in candidates}
        return {name: rule for name, rule in named.items() if self._taken[name] < self.replicates}

    def again(self, times: int) -> list[Rule]:
        """Take the best rule so far that was taken less than so many times, if it is of the ten best.

        The best of many are the luckiest, too. So a search that asks for it with each batch makes sure
        of its best as it goes: three trainings each take a seventh of a search of 1,000.
        """
        for name in self.best(0, BEST) if times > 1 else []:
            if self._taken[name] < times:
                self._taken[name] += 1
                return [self.first[name]]
        return []

    def score(self, rules: list[Rule], rewards: list[float | None]) -> None:
        """Remember rewards; each is the mean so far of all that is the same rule."""
        for rule, reward in zip(rules, rewards, strict=True):
            name = self.identity(rule)
            self.first.setdefault(name, rule)
            self.scores[name] = reward

    def best(self, share: float, least: int = 1) -> list[Hashable]:
        """Return the names of the best share of what was scored and did not fail, of equals the older.

        A share, so that it grows with the search; but `least` of them, if there are so many.
        """
        scored = [name for name, score in self.scores.items() if score is not None]
        ranked = sorted(scored, key=self.scores.get, reverse=True)  # which keeps equals in their order
        return ranked[: max(least, math.ceil(share * len(ranked)))]

    def reward(self, rule: Rule) -> float:
        """Return the latest reward of what is the same rule as this one."""
        score = self.scores[self.identity(rule)]
        return FAILURE_REWARD if score is None else score
