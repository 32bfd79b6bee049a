"""`python -m tests.fault.reader URL`: a client of the bus that asks for as much as it can get, until it is killed."""

import asyncio
import sys

from shared.client import connect
from shared.filters import Filter

AT_ONCE = 30


async def read(url: str) -> None:
    async with connect(url) as client, asyncio.TaskGroup() as group:

        async def again_and_again(offset: int) -> None:
            while True:
                await client.filter(Filter(offset=offset))
                print("read", flush=True)

        for number in range(AT_ONCE):
            group.create_task(again_and_again(number))


if __name__ == "__main__":
    asyncio.run(read(sys.argv[1]))
