"""Whether a text is an address that a setting takes: of NATS, of a database, of an HTTP server. Pure."""

import re
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

_HOST = re.compile(r"([^@:\[\]\s]*|\[[0-9A-Fa-f:.%]+\])(:(?P<port>\d{1,5}))?", re.ASCII)


class Server(NamedTuple):
    """One server of NATS, and the user its URL names."""

    url: str
    user: str
    password: str


def server(text: str) -> Server | None:
    """What a URL of NATS names; None when it is no such URL."""
    try:
        url = urlsplit(text)
        user, password = unquote(url.username or ""), unquote(url.password or "")
        host = url.netloc.rpartition("@")[2]
        right = url.scheme in {"nats", "tls"} and url.hostname and url.port != 0 and _HOST.fullmatch(host)
    except ValueError:
        return None
    if not right or url.netloc.count("@") > 1 or url.path.strip("/") or url.query or url.fragment:
        return None
    return Server(f"{url.scheme}://{host}", user, password)


def names_a_database(dsn: str) -> bool:
    """Whether asyncpg reads in a DSN what was meant; of some mistakes its errors show a part of the password."""
    try:
        url = urlsplit(dsn)
        parse_qs(url.query, strict_parsing=bool(url.query))
    except ValueError:
        return False
    hosts = url.netloc.partition("@")[2] if "@" in url.netloc else url.netloc
    found = [_HOST.fullmatch(host) for host in hosts.split(",")]
    right = url.scheme in {"postgresql", "postgres"} and all(one and int(one["port"] or 1) < 65536 for one in found)
    return right and not url.fragment and "@" not in url.path and not re.search(r"\s", dsn)


def wrong_in_dsn(dsn: str) -> str:
    """What a database's address takes instead; empty when it is one. SQLAlchemy's, as Prefect has it, is told apart."""
    changes = [f"leave out +{driver}" for driver in re.findall(r"^postgres(?:ql)?\+(\w+)://", dsn)]
    changes += ["write sslmode= in place of ssl="] if re.search(r"[?&]ssl=", dsn) else []
    if changes:
        return f"takes postgresql://…: {', and '.join(changes)}"
    if names_a_database(dsn):
        return ""
    text = "takes postgresql://user:password@host:5432/database?sslmode=…"
    return f"{text}; in a user or password, write @ : / ? # % and blanks as %40 …"


def nearest_server(text: str) -> str:
    """The address of an HTTP server that may be meant; empty when there is none."""
    whole = text if "://" in text else f"http://{text}"
    near = "/".join(whole.split("/", 3)[:3])
    return near if names_a_server(near) else ""


def names_a_server(text: str) -> bool:
    try:
        url = urlsplit(text)
        right = url.scheme in {"http", "https"} and url.hostname and url.port != 0 and _HOST.fullmatch(url.netloc)
    except ValueError:
        return False
    return bool(right) and url.path in {"", "/"} and not url.query and not url.fragment
