"""What tests of NOS-Bench share: the published table, and one thread, as its child has in a worker."""

import pytest
import torch

from nosbench.table import Table

torch.set_num_threads(1)  # its matrices are so small that two take longer


@pytest.fixture(scope="session")
def table() -> Table:
    return Table.load("micro")
