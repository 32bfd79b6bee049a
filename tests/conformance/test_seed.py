"""Demo data in Prefect's own tables: the real server reads every deployment of it."""

import asyncio
import json
import urllib.request
from pathlib import Path

from services import embedded
from services.seed import seed
from tests.conformance.oracle import migrate, serve


def page(address: str, number: int) -> dict[str, object]:
    body = json.dumps({"limit": 100, "page": number}).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{address}/api/deployments/paginate", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        answer: dict[str, object] = json.load(response)
    return answer


def test_prefect_reads_every_deployment(home: Path) -> None:
    with embedded.postgres(home, durable=False) as dsn:
        migrate(dsn, home / "prefect")
        asyncio.run(seed(dsn, deployments=300, flow_runs=600, task_runs=900, progress=False))
        with serve(dsn, home / "prefect") as address:
            pages = [page(address, number) for number in (1, 2, 3)]
    assert [len(page["results"]) for page in pages if isinstance(page["results"], list)] == [100, 100, 100]
    assert pages[0]["count"] == 300
