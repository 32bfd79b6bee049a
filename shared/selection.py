"""Which deployments a selection holds, and in which order: conditions on `deployment d`. Pure."""

from uuid import UUID

from asyncpg.pgproto import pgproto

from shared.contract import KEY_SIZE, Selection
from shared.filters import Sort
from shared.sql import Arguments, Table, where

DEPLOYMENT = Table(
    "deployment",
    "d",
    terms={
        "flow_or_deployment_name.like_": """(d.name ILIKE '%' || {arg} || '%' OR EXISTS (
            SELECT 1 FROM flow f WHERE f.id = d.flow_id AND f.name ILIKE '%' || {arg} || '%'))""",
    },
)
KEYS = {"flow_ids": "flow_id", "deployment_ids": "id", "work_queue_ids": "work_queue_id"}
ORDER: dict[Sort, str] = {  # the id breaks ties, so that pages neither repeat nor skip
    "NAME_ASC": "name, id",
    "NAME_DESC": "name DESC, id",
    "CREATED_DESC": "created DESC, id",
    "UPDATED_DESC": "updated DESC, id",
}


def selected(selection: Selection, arguments: Arguments) -> str:
    """The condition that a selection makes; binds its values to `arguments`."""
    conditions = [where(selection.deployments, DEPLOYMENT, arguments)]
    for name, column in KEYS.items():
        if (packed := getattr(selection, name)) is not None:
            conditions.append(f"d.{column} = ANY({arguments.bind(unpacked(packed), 'uuid[]')})")
    return " AND ".join(conditions)


def unpacked(keys: bytes) -> list[UUID]:
    made = pgproto.UUID  # from 16 bytes, several times faster than uuid.UUID
    return [made(keys[start : start + KEY_SIZE]) for start in range(0, len(keys), KEY_SIZE)]
