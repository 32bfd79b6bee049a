"""Demo data: the rows of Prefect's tables, the same ones for the same seed, sizes and time. Pure; `seed` loads them."""

from services.demo.world import Sizes, world

__all__ = ["Sizes", "world"]
