"""Embeddings of Python's own modules: which of them import one another? Three fourths of it is known.

    python search.py --task tasks/imports.py --preset laptop --samples 100 --no-screen

A batch has 32 edges of the graph of imports, so most rows of the embedding have no part in it: most
gradients are exactly zero. The score is the area under the ROC curve: how often a pair that is an edge
stands before one that is none. Guessing has 0.5.
"""

import hashlib
import re
import sysconfig
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from training import Task

SIZE, BATCH = 16, 32


def edges() -> np.ndarray:
    """Return which modules of the standard library import which, int [E, 2], with no direction."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    number = {file.stem: i for i, file in enumerate(files)}
    found = set()
    for file in files:
        for name in re.findall(r"^\s*(?:from|import)\s+(\w+)", file.read_text("utf-8", "replace"), re.M):
            if name in number and name != file.stem:
                found.add(tuple(sorted((number[name], number[file.stem]))))
    return np.array(sorted(found))


class Embedding(nn.Module):
    """Two modules import one another the likelier, the larger the product of their vectors."""

    def __init__(self, count: int):
        super().__init__()
        self.vector, self.bias = nn.Embedding(count, SIZE), nn.Embedding(count, 1)
        nn.init.normal_(self.vector.weight, std=0.3)
        nn.init.zeros_(self.bias.weight)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """Map pairs, int64 [N, 2], to logits [N]."""
        return self.vector(pairs).prod(1).sum(1) + self.bias(pairs).sum((1, 2))


class Imports(Task):
    score_name, epochs = "area under ROC", 6

    def __init__(self):
        self.edges = np.random.default_rng(0).permutation(edges())
        self.count, known = self.edges.max() + 1, len(self.edges) * 3 // 4
        self.training, self.held_out = self.edges[:known], self.edges[known:]
        both = np.array([(a, b) for a in range(self.count) for b in range(a)])[:, ::-1]
        others = {*map(tuple, self.edges.tolist())}
        self.absent = torch.tensor([pair for pair in both.tolist() if tuple(pair) not in others])

    def model(self):
        return Embedding(self.count)

    def batches(self, model, seed, epoch):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(self.training)
        for start in range(0, len(order) - BATCH + 1, BATCH):
            wrong = rng.integers(0, self.count, (BATCH, 2))  # hardly ever an edge
            yield torch.from_numpy(np.concatenate([order[start : start + BATCH], wrong]))

    def loss(self, model, pairs):
        is_edge = (torch.arange(2 * BATCH) < BATCH).float()
        return F.binary_cross_entropy_with_logits(model(pairs), is_edge)

    @torch.no_grad()
    def score(self, model):
        right, wrong = model(torch.from_numpy(self.held_out)), model(self.absent).sort().values
        below = torch.searchsorted(wrong, right) + torch.searchsorted(wrong, right, right=True)
        return (below / (2 * len(wrong))).mean()

    def trivial(self):
        return 0.5

    def data_version(self):
        return hashlib.blake2b(self.edges.tobytes(), digest_size=4).hexdigest()
