"""The work-pools leg: which queues pass and sit in a pool that passes. Declaration only."""

from functools import partial

from shared.contract import WORK_POOLS
from shared.entity import Entity, serving
from shared.sql import Table

POOL = Table("work_pool", "p")
QUEUE = Table("work_queue", "q")
ENTITY = Entity(
    WORK_POOLS,
    {"work_pools": POOL, "work_pool_queues": QUEUE},
    """SELECT q.id FROM work_queue q JOIN work_pool p ON p.id = q.work_pool_id
       WHERE {work_pool_queues} AND {work_pools}""",
)
running = partial(serving, ENTITY)
