"""All the tables of the demo data, in the order in which they are to be loaded."""

from dataclasses import dataclass
from datetime import datetime

from services.demo.catalog import Catalog
from services.demo.runs import Runs
from services.demo.table import Table


@dataclass(frozen=True)
class Sizes:
    """How many rows of the three tables that a user chooses; the others follow from them."""

    deployments: int
    flow_runs: int
    task_runs: int


def world(seed: int, sizes: Sizes, until: datetime) -> list[Table]:
    """The tables, each read once and in this order."""
    catalog = Catalog(seed, sizes.deployments, until)
    return [*catalog.tables(), *Runs(seed, catalog, sizes.flow_runs, sizes.task_runs, until).tables()]
