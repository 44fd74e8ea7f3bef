"""The child as one would write it down, to measure the project's own against: how much faster, how good?

Plain float32 in torch's default layout, a `DataLoader`, parameter by parameter, all rates of the sweep
and all epochs, nothing rejected or cut short. `python -m bench.child` runs both. Read next: child.py
of the top level, which does the same work.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import data
from child import ChildConfig, ConvNet, open_pictures
from dsl import RuleOptimizer


class TextbookNet(ConvNet):
    """The same network as one would write it down: pictures and maps in torch's default layout."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.pool(self.conv1(x))))
        x = F.relu(self.norm2(self.pool(self.conv2(x))))
        return self.head(x.flatten(1))


def textbook(rule: str, config: ChildConfig, seed: int) -> float | None:
    """Score a rule as one would write it down: twelve epochs in float32, parameter by parameter.

    Returns:
        The accuracy, or None if the weights are not finite in the end, as `evaluate_rule` does.
    """
    pictures = open_pictures(config)
    training, validation = (
        TensorDataset(images.contiguous(), labels)
        for images, labels in map(pictures.batch, (pictures.train_indices, pictures.validation))
    )

    def train(lr: float, epochs: int) -> float | None:
        torch.manual_seed(seed)
        net = TextbookNet(data.IMAGE_SHAPE[config.dataset], config.filters, config.downsample)
        optimizer = RuleOptimizer(net.parameters(), rule, lr)
        for _ in range(epochs):
            net.train()
            for images, labels in DataLoader(training, config.batch_size, shuffle=True):
                optimizer.zero_grad()
                F.cross_entropy(net(images), labels).backward()
                optimizer.step()
        if not all(p.isfinite().all() for p in net.parameters()):
            return None
        net.eval()
        with torch.no_grad():
            right = [net(x).argmax(1) == y for x, y in DataLoader(validation, config.batch_size)]
        return torch.cat(right).float().mean().item()

    sweep = {10.0**exponent: train(10.0**exponent, 1) for exponent in sorted(config.lr_exponents)}
    return train(max(sweep, key=lambda lr: sweep[lr] or 0.0), config.epochs)
