"""The flows leg: which flows pass. Declaration only."""

from functools import partial

from shared.contract import FLOWS
from shared.entity import Entity, serving
from shared.sql import Table

FLOW = Table(
    "flow",
    "f",
    # The flow in question has the very deployment being tested, so it is never without one.
    terms={"deployment.is_null_": ("false", "true")},
)
ENTITY = Entity(FLOWS, {"flows": FLOW}, "SELECT f.id FROM flow f WHERE {flows}")
running = partial(serving, ENTITY)
