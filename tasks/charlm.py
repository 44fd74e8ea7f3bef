"""A character transformer on the text of Python's licence: the next character from the last 24.

    python search.py --task tasks/charlm.py --preset laptop --samples 100

Perplexity is what guessing among so many characters would have; the trivial predictor knows how often
each occurs. The text is Python's own, which ships with it.
"""

import builtins
import hashlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from training import Task

CONTEXT, BATCH, STEPS, SIZE = 24, 16, 40, 32


def licence() -> str:
    """Return the text that `license()` shows."""
    printer = builtins.license
    printer._Printer__setup()
    return "\n".join(printer._Printer__lines)


class Transformer(nn.Module):
    """Two layers of causal attention; the embedding is the head as well."""

    def __init__(self, characters: int):
        super().__init__()
        self.characters, self.places = nn.Embedding(characters, SIZE), nn.Embedding(CONTEXT, SIZE)
        how = {"batch_first": True, "norm_first": True}  # the other way it learns ten times slower
        layers = (nn.TransformerEncoderLayer(SIZE, 2, 64, 0.1, **how) for _ in range(2))
        self.layers = nn.ModuleList(layers)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(CONTEXT))
        nn.init.normal_(self.characters.weight, std=0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map characters, int64 [N, CONTEXT], to logits [N, CONTEXT, characters]."""
        x = self.characters(x) + self.places.weight
        for layer in self.layers:
            x = layer(x, src_mask=self.mask, is_causal=True)
        return x @ self.characters.weight.T


class Licence(Task):
    score_name, lower_is_better, epochs = "perplexity", True, 4

    def __init__(self):
        text = licence()
        alphabet = {c: i for i, c in enumerate(sorted(set(text)))}
        numbers = torch.tensor([alphabet[c] for c in text])
        self.count, ninth = len(alphabet), len(numbers) * 8 // 10
        self.training, self.held_out = numbers[:ninth], numbers[ninth:]

    def model(self):
        return Transformer(self.count)

    def batches(self, model, seed, epoch):
        rng = np.random.default_rng([seed, epoch])
        for _ in range(STEPS):
            starts = rng.integers(0, len(self.training) - CONTEXT, BATCH)
            yield torch.stack([self.training[start : start + CONTEXT + 1] for start in starts])

    def loss(self, model, rows):
        return F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())

    @torch.no_grad()
    def score(self, model):
        return self.loss(model, self.held_out.unfold(0, CONTEXT + 1, CONTEXT)).exp()

    def trivial(self):
        shares = (torch.bincount(self.training, minlength=self.count) + 1.0) / len(self.training)
        return torch.exp(-shares.log()[self.held_out].mean())

    def data_version(self):
        return hashlib.blake2b(licence().encode(), digest_size=4).hexdigest()
