"""The policy: an LSTM that writes rules token by token, each from a softmax over what is allowed.

Neural Optimizer Search, section 3.3. What the search space forbids is masked before the softmax, so
whatever is drawn is a legal rule. Nothing to run here. Read next: controller.py, which teaches it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsl import Rule, SearchSpace

# Shapes: B sampled rules, T tokens a rule, V choices (of the widest position; the rest is masked),
# H hidden and embedding size.
HIDDEN = 150
INIT_RANGE = 0.08


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
    """Return the entropy in nats, [..., V] -> [...]."""
    return -expectation(log_probs, log_probs, masks)


def mean_kl(old_log_probs: Tensor, new_log_probs: Tensor, masks: Tensor) -> Tensor:
    """Return KL(old || new), summed over T and averaged over B: [B, T, V] twice -> scalar."""
    difference = old_log_probs.masked_fill(~masks, 0.0) - new_log_probs.masked_fill(~masks, 0.0)
    return expectation(old_log_probs, difference, masks).sum(-1).mean()


def log_prob_of(log_probs: Tensor, tokens: Tensor) -> Tensor:
    """Return the log-probability of whole rules: [B, T, V] and [B, T] -> [B]."""
    return log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).sum(-1)


# --- the policy -----------------------------------------------------------------------------------


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
        B, T = tokens.shape
        previous = self.embedding[torch.arange(T - 1), tokens[:, :-1]]  # [B, T - 1, H]
        inputs = torch.cat([self.start.expand(B, 1, HIDDEN), previous], dim=1)  # [B, T, H]
        hidden, _ = self.lstm(inputs)
        return masked_log_softmax(self._logits(hidden, slice(0, T)), masks)

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
            for b in range(B):
                masks[b, t, : len(choices)] = self.space.mask(prefixes[b])
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
