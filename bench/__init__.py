"""Classis beside Prefect's server and beside the floor: one machine, one PostgreSQL, the same searches."""
