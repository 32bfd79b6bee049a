"""The runs leg: which deployments own a flow run, with a task run, that passes."""

from functools import partial

from services.runs.select import ENTITY
from shared.entity import serving

running = partial(serving, ENTITY)
