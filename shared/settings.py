"""What can be set: environment variables named `CLASSIS_…`, read once into one struct.

Every setting has a default that suits one machine. `classis run --help` lists them from here. No error and no `repr`
shows a password, a token or what may hold one.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from msgspec import Meta, Struct, ValidationError, convert

PREFIX = "CLASSIS_"
SECRET = {"nats_password", "nats_token", "api_auth_string"}
HOLDS_SECRET = {"nats_url"}  # and every database's
_HOST = re.compile(r"([^@:\[\]\s]*|\[[0-9A-Fa-f:.%]+\])(:(?P<port>\d{1,5}))?", re.ASCII)
Positive = Annotated[float, Meta(gt=0)]
Size = Annotated[int, Meta(ge=1)]


def described(text: str) -> Meta:
    return Meta(description=text)


class Settings(Struct, frozen=True, kw_only=True):
    """One process's settings. Times are seconds, sizes are bytes."""

    postgres_dsn: Annotated[str, described("Prefect's database, postgresql://…; only ever read")] = (
        "postgresql://127.0.0.1:5432/prefect"
    )
    deployments_postgres_dsn: Annotated[str, described("another database for this service")] = ""
    flows_postgres_dsn: Annotated[str, described("another database for this service")] = ""
    runs_postgres_dsn: Annotated[str, described("another database for this service")] = ""
    work_pools_postgres_dsn: Annotated[str, described("another database for this service")] = ""
    primary_postgres_dsn: Annotated[
        str, described("the primary, where those above are replicas; see docs/operate.md")
    ] = ""
    nats_url: Annotated[str, described("one or several servers, separated by commas")] = "nats://127.0.0.1:4222"
    nats_user: Annotated[str, described("user, unless the URL names one")] = ""
    nats_password: Annotated[str, described("password of that user")] = ""
    nats_token: Annotated[str, described("token, for a server that asks for one")] = ""
    nats_nkey_seed: Annotated[str, described("file with the seed of an nkey")] = ""
    nats_credentials: Annotated[str, described("file with a JWT and its seed (.creds)")] = ""
    nats_tls_ca: Annotated[str, described("file with the authorities to trust; it turns TLS on")] = ""
    nats_tls_certificate: Annotated[str, described("file with our certificate, where NATS asks for one")] = ""
    nats_tls_key: Annotated[str, described("file with the key of that certificate")] = ""
    host: Annotated[str, described("address the gateway listens on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535), described("port the gateway listens on")] = 4200
    api_auth_string: Annotated[str, described("user:password that clients must send, as Prefect's server asks")] = ""
    csrf_protection_enabled: Annotated[
        bool, described("true: searches need a CSRF token, as Prefect's server asks")
    ] = False
    upstream: Annotated[str, described("Prefect's server, http://…; what is not answered here is passed on to it")] = ""
    upstream_patience: Annotated[Positive, described("time the upstream may be silent while it owes an answer")] = 60.0
    fallback: Annotated[
        int, Meta(ge=0), described("searches the upstream answers at a time when we cannot; 0: none")
    ] = 8
    shadow: Annotated[float, Meta(ge=0, le=1), described("share of searches the upstream is asked too, to compare")] = (
        0.0
    )
    record: Annotated[str, described("file that searches are added to, for `classis compare`; it may hold names")] = ""
    max_connections: Annotated[Size, described("clients' connections one gateway keeps open; beyond it, none")] = 1000
    metrics_port: Annotated[int, Meta(ge=0, le=65535), described("port for /metrics, /health, /ready; 0: none")] = 0
    deadline: Annotated[Positive, described("time one request may take")] = 10.0
    slow_client: Annotated[Positive, described("time a client may take to send a request or take an answer")] = 10.0
    drain: Annotated[float, Meta(ge=0), described("time between 'not ready' and closing the door, on leaving")] = 0.0
    default_limit: Annotated[int, Meta(ge=0), described("rows of a page by default and at most")] = 200
    pool_size: Annotated[Size, described("connections to Postgres per service; deployments: twice")] = 8
    concurrency: Annotated[Size, described("requests one service works on or keeps waiting; beyond it, 503")] = 128
    gateway_concurrency: Annotated[Size, described("the same for searches by HTTP: more only wait longer")] = 64
    share_searches: Annotated[bool, described("true: equal searches at the same time are answered as one")] = True
    max_body: Annotated[Size, described("largest request body; beyond it, 413")] = 8 * 1024 * 1024
    row_cache: Annotated[int, Meta(ge=0), described("memory for printed rows; 0 keeps none")] = 64 * 1024 * 1024
    cors_allowed_origins: Annotated[str, described("origins, separated by commas; * is any")] = "*"
    cors_allowed_methods: Annotated[str, described("methods, separated by commas; * is any")] = "*"
    cors_allowed_headers: Annotated[str, described("headers, separated by commas; * is any")] = "*"
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], described("how much to log")] = "INFO"
    log_format: Annotated[Literal["console", "json"], described("for people, or one JSON object a line")] = "console"

    def dsn(self, service: str) -> str:
        """The database of one service: its own, else the common one."""
        return str(getattr(self, f"{service}_postgres_dsn")) or self.postgres_dsn

    @property
    def nats_servers(self) -> list[str]:
        """The addresses of NATS, without user and password. Raises SettingsError for what is none."""
        return [server.url for server in self._servers()]

    @property
    def nats_login(self) -> "Login":
        """Who we are to NATS by the settings and URLs; files come on top. Raises SettingsError for half an answer."""
        named = {(server.user, server.password) for server in self._servers() if server.user}
        if len(named) > 1:
            raise SettingsError(f"{PREFIX}NATS_URL: names several users; name one in {PREFIX}NATS_USER instead")
        user, password = named.pop() if named else (self.nats_user, self.nats_password)
        if user and not password and not self.nats_user and not self.nats_password:
            return Login(token=user)  # as every client of NATS reads nats://TOKEN@host
        password = password or self.nats_password
        if bool(user) != bool(password):
            missing, given = ("PASSWORD", "USER") if user else ("USER", "PASSWORD")
            raise SettingsError(f"{PREFIX}NATS_{missing}: is missing, but {PREFIX}NATS_{given} is given")
        return Login(user, password, self.nats_token)

    def _servers(self) -> "list[Server]":
        servers = [_server(url.strip()) for url in self.nats_url.split(",")]
        if None in servers:
            text = (
                f"{PREFIX}NATS_URL: takes URLs such as nats://127.0.0.1:4222 or tls://nats.example, with commas between"
            )
            raise SettingsError(f"{text}; in a user or password, write @ : / ? # % and commas as %40 …")
        return [server for server in servers if server]

    def __repr__(self) -> str:
        """The settings that differ from the default, without secrets."""
        told = {name: getattr(self, name) for name in self.__struct_fields__}
        parts = [f"{name}={_shown(name, value)}" for name, value in told.items() if value != getattr(DEFAULT, name)]
        return f"Settings({', '.join(parts)})"


class Login(NamedTuple):
    """A user and password, or a token, or neither."""

    user: str = ""
    password: str = ""
    token: str = ""


class Server(NamedTuple):
    """One server of NATS, and the user its URL names."""

    url: str
    user: str
    password: str


class SettingsError(ValueError):
    """A setting has a value it cannot have. The text names the variable and says what it takes, never a secret."""


DEFAULT = Settings()


def read(environment: Mapping[str, str]) -> Settings:
    """The settings of this environment. Unset and empty variables leave the default.

    Raises SettingsError for a value of the wrong kind.
    """
    given = {
        name: environment[PREFIX + name.upper()]
        for name in Settings.__struct_fields__
        if environment.get(PREFIX + name.upper())
    }
    try:
        settings = convert(given, Settings, strict=False)
    except ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        raise SettingsError(f"{PREFIX}{place.rstrip('`').upper()}: {problem}") from None
    for name, value in given.items():
        if name.endswith("postgres_dsn") and not _names_a_database(value):
            raise SettingsError(
                f"{PREFIX}{name.upper()}: takes postgresql://user:password@host:5432/database?sslmode=…;"
                " in a user or password, write @ : / ? # % and blanks as %40 …"
            )
    if settings.upstream and not _names_a_server(settings.upstream):
        raise SettingsError(f"{PREFIX}UPSTREAM: takes http://host:port or https://host, without a path")
    _check_nats(settings)
    return settings


def _check_nats(settings: Settings) -> None:
    """Refuses now what would be refused, or worse, be ignored, at the first attempt to connect."""
    login = settings.nats_login
    ways = {
        "user and password": login.user,
        "token": login.token,
        f"{PREFIX}NATS_NKEY_SEED": settings.nats_nkey_seed,
        f"{PREFIX}NATS_CREDENTIALS": settings.nats_credentials,
    }
    if len(chosen := [way for way, value in ways.items() if value]) > 1:
        raise SettingsError(f"{PREFIX}NATS_URL and others: choose one way to log in; given are {', '.join(chosen)}")
    if bool(settings.nats_tls_certificate) != bool(settings.nats_tls_key):
        missing, given = ("KEY", "CERTIFICATE") if settings.nats_tls_certificate else ("CERTIFICATE", "KEY")
        raise SettingsError(f"{PREFIX}NATS_TLS_{missing}: is missing, but {PREFIX}NATS_TLS_{given} is given")


def _server(text: str) -> Server | None:
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


def _names_a_database(dsn: str) -> bool:
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


def _names_a_server(text: str) -> bool:
    try:
        url = urlsplit(text)
        right = url.scheme in {"http", "https"} and url.hostname and url.port != 0 and _HOST.fullmatch(url.netloc)
    except ValueError:
        return False
    return bool(right) and url.path in {"", "/"} and not url.query and not url.fragment


def _shown(name: str, value: object) -> str:
    """A setting as it may be seen."""
    if name in SECRET:
        return "***"
    if name in HOLDS_SECRET or name.endswith("_dsn"):
        return repr(re.sub(r"(?<=//).*@|(?<=\?).*", "***", str(value), flags=re.DOTALL))
    return repr(value)
