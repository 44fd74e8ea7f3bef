"""What tests of NOS-Bench share: the published table."""

import pytest

from nosbench.table import Table


@pytest.fixture(scope="session")
def table() -> Table:
    return Table.load("micro")
