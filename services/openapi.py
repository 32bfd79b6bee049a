"""Prints docs/openapi.json: what the gateway serves by HTTP, as OpenAPI 3.1, from the declarations."""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from services.gateway import http, validation
from shared.contract import COUNT, FILTER, PAGINATE, Endpoint
from shared.deployment import Deployment
from shared.settings import Settings

Json = dict[str, Any]

DESCRIPTION = f"""Generated from the declarations by `make docs`; a test compares.

A search is a JSON object in Prefect's own grammar, which docs/search.md tells. The schemas here are its strict form; \
the lax spellings of numbers, booleans, ids and instants that Prefect takes are taken too. A text holds no U+0000. A \
body whose content type is not JSON is ignored, and the search asks with all defaults.

Any other path is answered with 404, any other method with 405, and a path with a trailing slash with 307, to the path \
without it. Answers of 500 bytes and more are compressed for those who accept gzip. The largest `limit`, here \
{Settings().default_limit}, is a setting."""

NUMBERS: dict[str, Json] = {  # what the types do not say
    "limit": {"minimum": 0, "maximum": Settings().default_limit},
    "offset": {"minimum": 0, "maximum": validation.LARGEST_OFFSET},
    "page": {"minimum": 1},
}


# --- the bodies of refusals: the three shapes of services/gateway/problems.py


class Sentence(Struct):
    """A refusal that one sentence tells."""

    detail: str


class Trouble(Struct):
    """What keeps the request from being answered, in two words."""

    exception_message: str


class Mistake(Struct):
    """One value that is not what it must be. `loc` is where it stands in the body; `input` repeats it."""

    type: str
    loc: list[str | int]
    msg: str
    input: Any
    ctx: dict[str, Any] | UnsetType = UNSET


class Mistakes(Struct):
    """Every value of the body that is not what it must be, and the body as it was understood."""

    exception_message: Literal["Invalid request received."]
    exception_detail: list[Mistake]
    request_body: Any


class State(Struct):
    """Whether a search could be answered, and if not, who is missing."""

    message: str


# --- what each operation takes and answers


@dataclass(frozen=True)
class Operation:
    """One route. `refusals` are names in `_responses`, by status."""

    path: str
    method: Literal["get", "post"]
    name: str
    summary: str
    answer: Any
    refusals: Mapping[int, str] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    body: type[Struct] | None = None
    validator: bool = False  # whether the answer has an ETag
    open: bool = False  # whether it is answered without a password


REFUSED = {401: "Unauthorized", 405: "MethodNotAllowed"}
VERSIONED = {400: "Version", **REFUSED}
ROW = {404: "NoDeployment", **VERSIONED, 503: "Unavailable"}
SEARCH = {
    400: "Unreadable", **REFUSED, 403: "NoProof", 408: "TooSlow", 413: "TooLarge", 417: "Expectation", 422: "Invalid",
    503: "Unavailable",
}  # fmt: skip


def _search(path: str, endpoint: Endpoint[Any, Any], summary: str) -> Operation:
    name = f"{path.rpartition('/')[2]}_deployments"
    asked = ("ApiVersion", "IfNoneMatch", "CsrfToken", "CsrfClient")
    return Operation(path, "post", name, summary, endpoint.reply, SEARCH, asked, endpoint.request, validator=True)


OPERATIONS = (
    _search("/api/deployments/filter", FILTER, "The deployments that match"),
    _search("/api/deployments/paginate", PAGINATE, "One page of the deployments that match, with their number"),
    _search("/api/deployments/count", COUNT, "The number of deployments that match"),
    Operation(
        "/api/deployments/name/{flow}/{deployment}", "get", "deployment_by_name",
        "One deployment by its flow's name and its own", Deployment, {**ROW, 422: "Unacceptable"},
        ("Flow", "Deployment", "ApiVersion", "IfNoneMatch"), validator=True,
    ),
    Operation(
        "/api/deployments/{id}", "get", "deployment_by_id", "One deployment by its id", Deployment, ROW,
        ("Id", "ApiVersion", "IfNoneMatch"), validator=True,
    ),
    Operation(
        "/api/health", "get", "health", "Whether this process answers", Literal[True], {405: "MethodNotAllowed"},
        open=True,
    ),
    Operation(
        "/api/ready", "get", "ready", "Whether a search could be answered", State,
        {400: "Version", 405: "MethodNotAllowed", 503: "NotReady"}, ("ApiVersion",), open=True,
    ),
    Operation("/api/version", "get", "version", "The API version of the Prefect server it equals", str, REFUSED),
    Operation(
        "/api/csrf-token", "get", "csrf_token", "Tells Prefect's client to go on without a token", None,
        {**REFUSED, 422: "NoToken", 501: "TokensElsewhere"},
    ),
)  # fmt: skip


def arguments(_: argparse.ArgumentParser) -> None:
    """This command takes none."""


def main(_: argparse.Namespace) -> None:
    print(document(), end="")  # noqa: T201


def document() -> str:
    return json.dumps(made(), indent=1, ensure_ascii=False) + "\n"


def made() -> Json:
    """The document. Every schema comes from a declared struct."""
    kinds = [kind for operation in OPERATIONS for kind in (operation.body, operation.answer) if kind is not None]
    refusals = [Sentence, Trouble, Mistakes, State]
    schemas, parts = msgspec.json.schema_components(
        [*kinds, *refusals], ref_template="#/components/schemas/{name}"
    )  # fmt: skip
    known = {repr(kind): schema for kind, schema in zip([*kinds, *refusals], schemas, strict=True)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Classis", "version": http.API_VERSION, "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{}, {"basic": []}],
        "paths": {each.path: {each.method: _operation(each, known)} for each in OPERATIONS},
        "components": {
            "schemas": {name: _bounded(schema) for name, schema in sorted(parts.items())},
            "responses": _responses(known),
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "securitySchemes": {
                "basic": {
                    "type": "http", "scheme": "basic", "description": "Asked for when CLASSIS_API_AUTH_STRING is set.",
                },
            },
        },
    }  # fmt: skip


def _operation(operation: Operation, known: Mapping[str, Json]) -> Json:
    made: Json = {"operationId": operation.name, "summary": operation.summary}
    if operation.open:
        made["security"] = []
    if operation.parameters:
        made["parameters"] = [{"$ref": f"#/components/parameters/{name}"} for name in operation.parameters]
    if operation.body:
        schema = {"anyOf": [known[repr(operation.body)], {"type": "null"}]}
        made["requestBody"] = {"required": False, "content": {"application/json": {"schema": schema}}}
    made["responses"] = dict(sorted(_answers(operation, known)))
    return made


def _answers(operation: Operation, known: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    if operation.answer is not None:
        headers = ("ETag",) if operation.validator else ()
        yield "200", _response(operation.summary, known[repr(operation.answer)], *headers)
    if operation.validator:
        yield "304", {"$ref": "#/components/responses/Known"}
    for status, name in operation.refusals.items():
        yield str(status), {"$ref": f"#/components/responses/{name}"}
    yield "500", {"$ref": "#/components/responses/Broken"}


def _bounded(schema: Json) -> Json:
    """A schema with the range of its numbers where it is the schema of a search."""
    properties = {name: _ranged(name, declared) for name, declared in schema.get("properties", {}).items()}
    return {**schema, "properties": properties} if properties else schema


def _ranged(name: str, declared: Json) -> Json:
    if name not in NUMBERS or "anyOf" not in declared:
        return declared
    number, *rest = declared["anyOf"]
    return {**declared, "anyOf": [{**number, **NUMBERS[name]}, *rest]}


# --- what several operations share


def _response(description: str, schema: Json | None, *headers: str) -> Json:
    told = {name: {"$ref": f"#/components/headers/{name}"} for name in (*headers, "X-Request-ID", "Server-Timing")}
    content = {} if schema is None else {"content": {"application/json": {"schema": schema}}}
    return {"description": description, "headers": told, **content}


def _responses(known: Mapping[str, Json]) -> dict[str, Json]:
    sentence, trouble, mistakes, state = (known[repr(kind)] for kind in (Sentence, Trouble, Mistakes, State))
    unavailable = "A service, NATS or PostgreSQL is out of reach, or the time is spent. Ask again."
    return {
        "Known": _response("`If-None-Match` names the answer; it has not changed.", None, "ETag"),
        "Version": _response("`x-prefect-api-version` is none, or too old.", sentence),
        "Unreadable": _response("The body is no text, or `x-prefect-api-version` is none or too old.", sentence),
        "Unauthorized": _response("A password is set, and was not sent.", trouble),
        "NoDeployment": _response("There is no such deployment, or the id is none.", sentence),
        "MethodNotAllowed": _response("The path is right; `Allow` names its method.", sentence, "Allow"),
        "TooSlow": _response("The body did not arrive in time.", sentence),
        "TooLarge": _response("The body is larger than CLASSIS_MAX_BODY.", sentence),
        "Expectation": _response("`Expect` asks for something other than `100-continue`.", sentence),
        "Invalid": _response(
            "The body is no search: all its mistakes at once, or one sentence when `limit` is out of range.",
            {"anyOf": [mistakes, sentence]},
        ),
        "Unacceptable": _response("A name holds what no database text holds.", sentence),
        "NoToken": _response("There are no tokens, because none is needed.", sentence),
        "NoProof": _response("CSRF protection is on, and no valid token of the client was sent.", sentence),
        "TokensElsewhere": _response("CSRF protection is on, and Prefect's own server gives the tokens.", sentence),
        "Unavailable": _response(unavailable, trouble, "Retry-After"),
        "NotReady": _response("These services do not answer.", state, "Retry-After"),
        "Broken": _response("A mistake of ours.", trouble),
    }


def _header(description: str, schema: Json | None = None) -> Json:
    return {"description": description, "schema": schema or {"type": "string"}}


HEADERS = {
    "Allow": _header("The method of this path."),
    "ETag": _header('A weak validator, `W/"…"`: equal answers have an equal one.'),
    "Retry-After": _header("The seconds to wait.", {"type": "integer", "minimum": 0}),
    "Server-Timing": _header("Where the time went."),
    "X-Request-ID": _header("What this request is called in the logs: as it was sent, or made up."),
}


def _parameter(place: str, name: str, description: str, schema: Json | None = None) -> Json:
    made = {"name": name, "in": place, "description": description, "schema": schema or {"type": "string"}}
    return {**made, "required": True} if place == "path" else made


PARAMETERS = {
    "ApiVersion": _parameter(
        "header",
        "x-prefect-api-version",
        f"The version the client speaks; {'.'.join(map(str, http.OLDEST_VERSION))} or newer.",
    ),
    "IfNoneMatch": _parameter("header", "If-None-Match", "Validators of answers that the client has already, or `*`."),
    "CsrfToken": _parameter("header", "Prefect-Csrf-Token", "Asked for when CLASSIS_CSRF_PROTECTION_ENABLED is true."),
    "CsrfClient": _parameter("header", "Prefect-Csrf-Client", "The client whose token that is."),
    "Id": _parameter("path", "id", "The dashes may be missing.", {"type": "string", "format": "uuid"}),
    "Flow": _parameter("path", "flow", "The flow's name.", {"type": "string", "minLength": 1}),
    "Deployment": _parameter("path", "deployment", "The deployment's name.", {"type": "string", "minLength": 1}),
}
