"""The controller: an LSTM that writes rules, and learns from their scores in one of three ways.

Neural Optimizer Search, sections 3.3 and 4.1. The policy writes a batch of rules token by token; their
scores then improve it. REINFORCE takes one gradient step, PPO a few on a clipped objective, TRPO the
longest step that keeps the policy close, in a direction that counts how far the policy moves. They are
a ladder: all raise `surrogate`, which PPO alone clips.

    ask(n) -> rules        tell(rules, rewards) -> diagnostics

Nothing to run here; loop.py drives it. Read next: rivals.py, which asks and tells alike.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property

from config import setting

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from dsl import Rule, SearchSpace
from results import FAILURE_REWARD
from sameness import Distinct, DistinctConfig

# Shapes: B sampled rules, T tokens a rule, V choices (of the widest position; the rest is masked),
# H hidden and embedding size, P controller parameters.
HIDDEN = 150
INIT_RANGE = 0.08

# UNSPECIFIED: the baseline's decay; the value is that of the same group's later work.
BASELINE_DECAY = 0.95
# UNSPECIFIED: PPO's clip range and gradient steps a batch. The range is that of Schulman et al. 2017;
# each step costs as much as REINFORCE's only one.
PPO_CLIP, PPO_EPOCHS = 0.2, 4
# UNSPECIFIED: TRPO's settings beside the radius. Damping turns the step from the natural gradient, along
# F^-1 gradient, towards the plain one, and shortens it: in published runs the mean KL of an update was
# two thirds of max_kl, 0.01 and more (median). With it five iterations point where many do: the cosine
# was 0.9998 or more at depths 1 and 2, before, amid and after 40 updates.
CG_ITERS, CG_DAMPING = 5, 0.1
BACKTRACK_ITERS, BACKTRACK_COEFF = 10, 0.8  # the last trial is an eighth of the whole step
# Share of the families scored so far that are the elite; 0.05 found fewer good rules on NOS-Bench,
# with each of two learning rates and two weights of the entropy.
ELITE_SHARE = 0.1
RAREST = 1 / 64  # share of new rules below which the entropy's weight grows no more


@dataclass(frozen=True)
class ControllerConfig(DistinctConfig):
    """How the controller learns."""

    entropy_coeff: float = setting(
        0.0015, "weight of the entropy bonus, per nat of the whole string", "controller", low=0
    )
    # DEVIATION: the paper's controller sees accuracies, which lie between 0 and 1.
    ranks: bool = setting(
        False, "learn from the rank of a reward among those so far, not from its size",
        "beyond the paper",
    )  # fmt: skip
    # DEVIATION: the paper's weight is constant; 0 is so too.
    entropy_growth: float = setting(
        0.0,
        "power with which the entropy's weight grows as new rules become rare",
        "beyond the paper",
        low=0,
        high=2,
    )
    # DEVIATION: priority queue training (Abolafia et al. 2018); 0 is the paper's objective.
    elite_coeff: float = setting(
        0.0,
        "weight of the mean log-probability of the elite, the best tenth of families so far",
        "beyond the paper",
        low=0,
    )
    # UNSPECIFIED: the trust region's radius. With 0.01 the mean reward rose as high, but less than half
    # as many families of top rules were found (reproduce/controller-study.md).
    max_kl: float = setting(
        1e-4, "trpo: largest mean KL divergence of one update, nats", "controller", low=1e-8
    )
    controller_lr: float = setting(1e-5, "ppo, reinforce: learning rate of Adam", "controller", low=0)


@dataclass(frozen=True)
class Batch:
    """Rules as sampled: tokens int64 [B, T], masks bool [B, T, V] (True = allowed), and the
    log-probability of each rule under the policy that sampled it, float [B]."""

    tokens: Tensor
    masks: Tensor
    log_prob: Tensor

    def __getitem__(self, places: list[int]) -> "Batch":
        return Batch(self.tokens[places], self.masks[places], self.log_prob[places])

    @staticmethod
    def of(rules: list[Rule], space: SearchSpace) -> "Batch":
        """Return rules that nobody sampled, with log-probabilities of 0."""
        T, V = space.length, max(len(space.choices(t)) for t in range(space.length))
        tokens = torch.zeros(len(rules), T, dtype=torch.int64)
        masks = torch.zeros(len(rules), T, V, dtype=torch.bool)
        for b, rule in enumerate(rules):
            for t, token in enumerate(rule.tokens):
                tokens[b, t] = space.choices(t).index(token)
                masks[b, t, : len(space.choices(t))] = space.mask(rule.tokens[:t])
        return Batch(tokens, masks, torch.zeros(len(rules)))

    @staticmethod
    def join(batches: list["Batch"]) -> "Batch":
        return Batch(
            torch.cat([batch.tokens for batch in batches]),
            torch.cat([batch.masks for batch in batches]),
            torch.cat([batch.log_prob for batch in batches]),
        )


# --- the masked distribution ----------------------------------------------------------------------


def masked_log_softmax(logits: Tensor, masks: Tensor) -> Tensor:
    """Return log-probabilities with forbidden logits at minus infinity, section 3.3.

    Args:
        logits: float [..., V].
        masks: bool [..., V], True = allowed, at least one in each row.
    Returns:
        float [..., V], minus infinity where forbidden.
    """
    return torch.log_softmax(logits.masked_fill(~masks, -torch.inf), dim=-1)


def expectation(log_probs: Tensor, values: Tensor, masks: Tensor) -> Tensor:
    """Return the mean of `values` under the distribution, over the last axis: [..., V] -> [...].

    Forbidden entries are put to zero before the product: 0 * inf would be NaN, and so would its
    gradient, even if it were masked afterwards.
    """
    return (log_probs.exp() * values.masked_fill(~masks, 0.0)).sum(-1)


def entropy(log_probs: Tensor, masks: Tensor) -> Tensor:
    """Return the entropy -sum p log p in nats, [..., V] -> [...]."""
    return -expectation(log_probs, log_probs, masks)


def mean_kl(old_log_probs: Tensor, new_log_probs: Tensor, masks: Tensor) -> Tensor:
    """Return sum p_old (log p_old - log p_new), over V and T, the mean over B: [B, T, V] -> scalar.

    Prefixes are those of the B rules, whichever policy sampled them.
    """
    difference = old_log_probs.masked_fill(~masks, 0.0) - new_log_probs.masked_fill(~masks, 0.0)
    return expectation(old_log_probs, difference, masks).sum(-1).mean()


def log_prob_of(log_probs: Tensor, tokens: Tensor) -> Tensor:
    """Return the log-probability of whole rules: [B, T, V] and [B, T] -> [B]."""
    return log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).sum(-1)


# --- the policy -----------------------------------------------------------------------------------


def embed(start: Tensor, embedding: Tensor, tokens: Tensor) -> Tensor:
    """Return what the LSTM sees at each position, `start` and then the previous choices.

    Args:
        start: float [H].
        embedding: of each choice by its position, float [T - 1, V, H].
        tokens: int64 [B, T].
    Returns:
        float [B, T, H].
    """
    B, T = tokens.shape
    previous = embedding[torch.arange(T - 1), tokens[:, :-1]]  # [B, T - 1, H]
    return torch.cat([start.expand(B, 1, -1), previous], dim=1)


class Policy(nn.Module):
    """A single-layer LSTM; each position has its own embedding of the previous choice and softmax."""

    def __init__(self, space: SearchSpace):
        super().__init__()
        self.space = space
        T = space.length
        V = max(len(space.choices(position)) for position in range(T))
        self.start = nn.Parameter(torch.empty(HIDDEN))
        # UNSPECIFIED: the embeddings' size and whether positions share them.
        self.embedding = nn.Parameter(torch.empty(T - 1, V, HIDDEN))
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.head_weight = nn.Parameter(torch.empty(T, HIDDEN, V))
        self.head_bias = nn.Parameter(torch.empty(T, V))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -INIT_RANGE, INIT_RANGE)

    def log_probs(self, tokens: Tensor, masks: Tensor) -> Tensor:
        """Return the log-probability of every choice after each prefix of the given rules.

        Args:
            tokens: int64 [B, T].
            masks: bool [B, T, V].
        Returns:
            float [B, T, V], minus infinity where forbidden.
        """
        hidden, _ = self.lstm(embed(self.start, self.embedding, tokens))
        return masked_log_softmax(self._logits(hidden, slice(0, tokens.shape[1])), masks)

    def _logits(self, hidden: Tensor, positions: slice) -> Tensor:
        """Map hidden states [B, t, H] at t positions to logits [B, t, V], each by its own head."""
        logits = torch.einsum("bth,thv->btv", hidden, self.head_weight[positions])
        return logits + self.head_bias[positions]

    @torch.no_grad()
    def sample(self, B: int, generator: torch.Generator) -> tuple[list[Rule], Batch]:
        """Draw B rules token by token; forbidden tokens have probability zero."""
        T, V = self.head_bias.shape
        prefixes: list[tuple[str, ...]] = [()] * B
        tokens = torch.zeros(B, T, dtype=torch.int64)
        masks = torch.zeros(B, T, V, dtype=torch.bool)
        log_prob = torch.zeros(B)
        inputs, state = self.start.expand(B, 1, HIDDEN), None
        for t in range(T):
            choices = self.space.choices(t)
            legal = np.array([self.space.legal(prefix) for prefix in prefixes])  # torch's takes longer
            masks[:, t, : len(choices)] = torch.from_numpy(legal)
            hidden, state = self.lstm(inputs, state)
            logits = self._logits(hidden, slice(t, t + 1))[:, 0]  # [B, V]
            log_probs = masked_log_softmax(logits, masks[:, t])
            drawn = torch.multinomial(log_probs.exp(), 1, generator=generator)  # [B, 1]
            tokens[:, t] = drawn[:, 0]
            log_prob += log_probs.gather(1, drawn)[:, 0]
            prefixes = [
                (*prefix, choices[i]) for prefix, i in zip(prefixes, tokens[:, t].tolist(), strict=True)
            ]
            if t < T - 1:
                inputs = self.embedding[t, tokens[:, t]].unsqueeze(1)  # [B, 1, H]
        return [Rule(prefix) for prefix in prefixes], Batch(tokens, masks, log_prob)

    @torch.no_grad()
    def linearize(self, tokens: Tensor) -> Callable[..., Tensor]:
        """Return v -> J v, J the Jacobian of the logits after each prefix of the given rules.

        A step of the LSTM is z = W [x, h] + b, then c <- f c + i g and h <- o tanh(c), where i, f, o are
        sigmoids of their quarters of z, and g is the tanh of its own. All states are known here. So what
        changed weights do to z is one product for all positions, and only what changed states do goes
        from one to the next. Torch's forward mode does the same in three times the time.

        Args:
            tokens: int64 [B, T].
        Returns:
            A function of a change of each parameter, as `parameters` orders them; it returns that of the
            logits to first order, float [B, T, V].
        """
        w_x, w_h, b_x, b_h = self.lstm.parameters()
        inputs = embed(self.start, self.embedding, tokens)
        hidden, _ = self.lstm(inputs)  # [B, T, H]
        before = nn.functional.pad(hidden, (0, 0, 1, -1))  # the state that each position begins with
        i, f, g, o = (inputs @ w_x.T + before @ w_h.T + b_x + b_h).chunk(4, -1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        cells = [torch.zeros_like(hidden[:, 0])]
        for kept, added in zip(f.unbind(1), (i * g).unbind(1), strict=True):
            cells.append(kept * cells[-1] + added)
        old, tanh = torch.stack(cells[:-1], 1), torch.stack(cells[1:], 1).tanh()
        # What a change of z does to c, through i, f and g, and to h, through o; of c to the next; to h.
        slopes = torch.cat([i * (1 - i) * g, f * (1 - f) * old, i * (1 - g * g), o * (1 - o) * tanh], -1)
        slopes = [slope.unbind(1) for slope in (slopes, f, o * (1 - tanh * tanh))]

        @torch.no_grad()
        def push(start, embedding, head_weight, head_bias, w_x_, w_h_, b_x_, b_h_) -> Tensor:
            x_ = embed(start, embedding, tokens)
            z_ = inputs @ w_x_.T + x_ @ w_x.T + before @ w_h_.T + b_x_ + b_h_  # [B, T, 4 H]
            h_ = c_ = torch.zeros_like(before[:, 0])
            states = []
            for direct, by_z, by_c, out in zip(z_.unbind(1), *slopes, strict=True):
                i_, f_, g_, o_ = (by_z * (direct + h_ @ w_h.T)).chunk(4, -1)
                c_ = by_c * c_ + i_ + f_ + g_
                h_ = out * c_ + o_
                states.append(h_)
            heads = "bth,thv->btv"
            own = torch.einsum(heads, hidden, head_weight) + head_bias
            return own + torch.einsum(heads, torch.stack(states, 1), self.head_weight)

        return push


# --- what all three raise -------------------------------------------------------------------------


def surrogate(
    log_probs: Tensor, batch: Batch, advantages: Tensor, entropy_coeff: float, clip: float = math.inf
) -> Tensor:
    """Return mean(ratio * advantage) + entropy_coeff * entropy.

    The ratio is pi(rule) / pi_sampling(rule), so that rules sampled some updates ago count right. If
    known rules are passed over, what was sampled is no longer pi's own distribution, and the gradient
    is biased. The entropy is that of the next token after each sampled prefix. Its gradient takes the
    prefixes as given (as usual, Mnih et al. 2016), and no ratio reweights them.

    Args:
        log_probs: the policy's at the batch's prefixes, float [B, T, V].
        advantages: float [B].
        clip: PPO's clip range: how far from 1 a ratio may raise the objective.
    Returns:
        float, a scalar.
    """
    ratio = (log_prob_of(log_probs, batch.tokens) - batch.log_prob).exp()  # [B]
    gain = ratio * advantages
    if clip < math.inf:
        gain = torch.minimum(gain, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return gain.mean() + entropy_coeff * entropy(log_probs, batch.masks).sum(-1).mean()


# --- first rung: REINFORCE ------------------------------------------------------------------------


def gradient_step(objective: Callable[[], Tensor], adam: torch.optim.Adam) -> float:
    """Take one step of Adam up the objective's gradient; return the objective before it.

    That is REINFORCE: at a ratio of 1 the gradient of mean(ratio * advantage) is
    mean(advantage * grad log pi), Williams 1992.
    """
    adam.zero_grad()
    value = objective()
    (-value).backward()
    adam.step()
    return value.item()


# --- second rung: PPO -----------------------------------------------------------------------------


def ppo_step(objective: Callable[[], Tensor], adam: torch.optim.Adam) -> float:
    """Take PPO_EPOCHS such steps on one batch; return the objective before them.

    The objective is the surrogate with PPO_CLIP, mean(min(ratio * A, clip(ratio) * A)) (Schulman et
    al. 2017, equation 7). A rule of positive advantage adds nothing more once it is 1 + clip times as
    likely, one of negative advantage once it is 1 - clip times as likely.
    """
    before = gradient_step(objective, adam)
    for _ in range(PPO_EPOCHS - 1):
        gradient_step(objective, adam)
    return before


# --- third rung: TRPO -----------------------------------------------------------------------------


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Tensor, iters: int) -> Tensor:
    """Solve A x = b for a symmetric positive A known by its products (Hestenes and Stiefel 1952).

    Args:
        product: v -> A v, float [P] -> [P].
        b: float [P].
        iters: iterations; ends sooner when the residual is gone.
    """
    x, residual = torch.zeros_like(b), b.clone()
    direction, norm = residual.clone(), residual @ residual
    for _ in range(iters):
        if norm <= 1e-10 * (b @ b):
            break
        image = product(direction)
        alpha = float(norm / (direction @ image))
        x.add_(direction, alpha=alpha)
        residual.sub_(image, alpha=alpha)
        new_norm = residual @ residual
        direction.mul_(new_norm / norm).add_(residual)
        norm = new_norm
    return x


def fisher_product(
    policy: Policy, tokens: Tensor, log_probs: Tensor, damping: float
) -> Callable[[Tensor], Tensor]:
    """Return v -> (F + damping * I) v, F the Fisher matrix of the policy at the prefixes of rules.

    F = J' diag(p) J, the mean of grad log p grad log p' over choices, with J the Jacobian of the
    log-probabilities; it is the Hessian of the mean KL at the current policy (Schulman et al. 2015,
    appendix C). J is never made: `linearize` gives J v, and backpropagation J' u. The former is that of
    the logits, which differs by one number at all choices: as good, since grad log p is 0 on average.

    Args:
        tokens: the rules, int64 [B, T].
        log_probs: the policy's there, float [B, T, V], with their graph.
    """
    parameters = list(policy.parameters())
    sizes = [parameter.numel() for parameter in parameters]
    push, p = policy.linearize(tokens), log_probs.detach().exp()

    def product(v: Tensor) -> Tensor:
        parts = [part.view_as(like) for part, like in zip(v.split(sizes), parameters, strict=True)]
        u = p * push(*parts) / len(p)  # as mean_kl: a mean over B, a sum over T
        image = torch.autograd.grad(log_probs, parameters, u, retain_graph=True)
        return torch.cat([part.reshape(-1) for part in image]).add_(v, alpha=damping)

    return product


def trpo_step(
    policy: Policy, batch: Batch, objective: Callable[[Tensor], Tensor], max_kl: float
) -> dict[str, float | int | bool]:
    """Raise the objective within mean KL <= max_kl; if no trial does, leave the policy as it was.

    Conjugate gradients solve A x = gradient with A = F + CG_DAMPING * I. The step is
    sqrt(2 max_kl / x'Ax) x, then a backtracking line search checks both the KL and the objective
    (Schulman et al. 2015, appendix C). To second order the KL is half of step'F step, so with damping it
    ends below max_kl.

    Args:
        objective: of the policy's log-probabilities at the batch's prefixes, while it has these.
    Returns:
        The KL to the policy before, what the objective gained, the trials, and whether one did.
    """
    parameters = list(policy.parameters())
    start = parameters_to_vector(parameters).detach()
    log_probs = policy.log_probs(batch.tokens, batch.masks)
    before = objective(log_probs)
    gradient = parameters_to_vector(torch.autograd.grad(before, parameters, retain_graph=True))
    report = {"kl": 0.0, "surrogate_gain": 0.0, "line_search_steps": 0, "accepted": False}

    product = fisher_product(policy, batch.tokens, log_probs, CG_DAMPING)
    direction = conjugate_gradient(product, gradient, CG_ITERS)
    # x'Ax, but for rounding: what is left, gradient - Ax, is orthogonal to all that x is made of.
    curvature = direction @ gradient
    if not curvature > 0:  # a zero gradient: nothing to learn from this batch
        return report
    step = (2 * max_kl / curvature).sqrt() * direction

    with torch.no_grad():
        for trial in range(BACKTRACK_ITERS):
            vector_to_parameters(start + BACKTRACK_COEFF**trial * step, parameters)
            new_log_probs = policy.log_probs(batch.tokens, batch.masks)
            gain = objective(new_log_probs) - before
            kl = mean_kl(log_probs, new_log_probs, batch.masks)
            report["line_search_steps"] = trial + 1
            if kl <= max_kl and gain > 0:
                return report | {"kl": float(kl), "surrogate_gain": float(gain), "accepted": True}
        vector_to_parameters(start, parameters)
    return report


# --- the controller -------------------------------------------------------------------------------


class Controller:
    """Ask it for rules, tell it their rewards; batches may be told later, but in the order asked."""

    def __init__(
        self,
        space: SearchSpace,
        algorithm: str,
        config: ControllerConfig,
        seed: int,
        identity: Callable[[Rule], Hashable],
    ):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = Policy(space)
        self.algorithm, self.config = algorithm, config
        self.generator = torch.Generator().manual_seed(seed)
        self.baseline: float | None = None
        self.distinct = Distinct(identity, config.replicates)
        self._asked: deque[tuple[list[Rule], Batch]] = deque()
        self._rewards: list[float] = []  # sorted, for their ranks
        self._rows: dict[Hashable, Batch] = {}  # for the elite: what may be in it, each a batch of one

    @cached_property
    def adam(self) -> torch.optim.Adam:
        """Made when it is needed, as torch takes a second over the first one; TRPO has no need of it."""
        return torch.optim.Adam(self.policy.parameters(), lr=self.config.controller_lr)

    def start(self, rules: list[Rule], rewards: list[float | None]) -> None:
        """Note known rules, so that they are passed over; they teach nothing, not being sampled."""
        self.distinct.note(rules)

    def ask(self, n: int) -> list[Rule]:
        """Sample n rules and remember how likely they were."""
        drawn, batch = self.policy.sample(n * self.config.candidates, self.generator)
        # The log-probabilities stay those of the policy, before anything was passed over.
        places = self.distinct.take(drawn, n)
        rules = [drawn[place] for place in places]
        self._asked.append((rules, batch[places]))
        return rules

    def tell(self, rules: list[Rule], rewards: list[float | None]) -> dict:
        """Learn from the oldest batch that was asked for.

        A rule's advantage is its reward - baseline; then the baseline, which starts at the first batch's
        mean, moves: baseline <- decay * baseline + (1 - decay) * mean reward.

        Args:
            rules: that batch, as `ask` returned it.
            rewards: one a rule, None if it failed.
        Returns:
            Diagnostics of the update, plain numbers (README lists them).
        """
        asked, batch = self._asked.popleft()
        assert asked == rules, "batches must be told in the order in which they were asked"
        self.distinct.score(rules, rewards)
        told = self._ranks(rewards) if self.config.ranks else rewards
        told = [FAILURE_REWARD if reward is None else reward for reward in told]
        reward = torch.tensor(told, dtype=torch.float32)
        mean = float(reward.mean())
        baseline = mean if self.baseline is None else self.baseline
        self.baseline = BASELINE_DECAY * baseline + (1 - BASELINE_DECAY) * mean

        entropy_coeff, elite = self._entropy_coeff(), None
        if self.config.elite_coeff:
            for place, rule in enumerate(rules):
                self._rows.setdefault(self.distinct.identity(rule), batch[[place]])
            elite = self._elite()
        clip = PPO_CLIP if self.algorithm == "ppo" else math.inf

        def objective(log_probs: Tensor) -> Tensor:
            value = surrogate(log_probs, batch, reward - baseline, entropy_coeff, clip)
            if elite is None:
                return value
            # This pulls the policy towards good rules; TRPO limits the KL where the batch is, not there.
            log_prob = log_prob_of(self.policy.log_probs(elite.tokens, elite.masks), elite.tokens)
            return value + self.config.elite_coeff * log_prob.mean()

        def current() -> Tensor:
            return self.policy.log_probs(batch.tokens, batch.masks)

        with torch.no_grad():
            log_probs = current()
        report = {
            "baseline": baseline,
            "entropy": entropy(log_probs, batch.masks).mean(0).tolist(),
            "entropy_coeff": entropy_coeff,
        }
        if self.algorithm == "trpo":
            return report | trpo_step(self.policy, batch, objective, self.config.max_kl)
        step = ppo_step if self.algorithm == "ppo" else gradient_step
        before = step(lambda: objective(current()), self.adam)
        with torch.no_grad():
            gain, kl = objective(current()) - before, mean_kl(log_probs, current(), batch.masks)
        report |= {"kl": float(kl), "surrogate_gain": float(gain)}
        return report | {"line_search_steps": 0, "accepted": True}

    def _ranks(self, rewards: list[float | None]) -> list[float | None]:
        """Return for each reward the share of those so far that are not above it, of equals half."""
        known = self._rewards
        for reward in rewards:
            if reward is not None:
                insort(known, reward)
        return [
            None if x is None else (bisect_left(known, x) + bisect_right(known, x)) / (2 * len(known))
            for x in rewards
        ]

    def _entropy_coeff(self) -> float:
        """Return entropy_coeff / (share of new rules among those drawn) ^ entropy_growth.

        A policy that is pulled to good rules must spread the wider, the more of them are known. A
        constant weight that is wide enough for the end is too wide for the beginning.
        """
        new_share = max(RAREST, self.distinct.new_share)
        return self.config.entropy_coeff * new_share**-self.config.entropy_growth

    def _elite(self) -> Batch | None:
        """Return the first rules of the best families so far.

        A share of all, since an elite of fixed size gets narrow, and with it the policy.
        """
        best = [self._rows[name] for name in self.distinct.best(ELITE_SHARE)]
        return Batch.join(best) if best else None
