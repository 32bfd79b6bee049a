"""Two flows: one that comes to its end, one that has to be cancelled. Run as a program, it serves them both."""

# mypy: ignore-errors
# It runs in Prefect's environment, of which ours knows nothing.

import signal
from datetime import timedelta

from prefect import flow, get_run_logger, serve, task


@task
def extract():
    return ["a", "b", "c"]


@task
def load(rows):
    get_run_logger().info("loaded %d rows", len(rows))


@flow(name="brief")
def brief():
    load(extract())


@flow(name="endless")
def endless():
    get_run_logger().info("waiting")
    while True:
        signal.sigtimedwait([], 1)


if __name__ == "__main__":
    serve(brief.to_deployment("ticking", interval=timedelta(seconds=5)), endless.to_deployment("by-hand"), limit=2)
