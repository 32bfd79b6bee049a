"""The golden schema of each subject: what a message may hold, as JSON Schema, one file a subject.

`python -m tests.contract.golden` writes them anew; the difference is what a change does to the contract.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from shared.contract import ENDPOINTS, Endpoint

FOLDER = Path(__file__).parent / "golden"


def schema(endpoint: Endpoint[Any, Any]) -> str:
    """Subject, queue group, and the schemas of request and reply."""
    (request, reply), parts = msgspec.json.schema_components(
        [endpoint.request, endpoint.reply], ref_template="#/parts/{name}"
    )
    document = {
        "subject": endpoint.subject,
        "queue_group": endpoint.service,
        "request": request,
        "reply": reply,
        "parts": parts,
    }
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def file(endpoint: Endpoint[Any, Any]) -> Path:
    return FOLDER / f"{endpoint.subject}.json"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in ENDPOINTS:
        file(each).write_text(schema(each))
