"""What can be set: environment variables named `CLASSIS_…`, read once into one struct.

Every setting has a default that suits one machine. `classis run --help` lists them from here. No error and no `repr`
shows a password, a token or what may hold one.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct, ValidationError, convert, inspect

from shared.addresses import Server, names_a_server, nearest_server, server, wrong_in_dsn

PREFIX = "CLASSIS_"
SECRET = {"nats_password", "nats_token", "api_auth_string"}
HOLDS_SECRET = {"nats_url"}  # and every database's
WORDS = dict.fromkeys(("yes", "y", "t", "on"), "true") | dict.fromkeys(("no", "n", "f", "off"), "false")
NEAR = 0.8  # how alike two names must be for one to be a slip of the other; other programs have CLASSIS_ variables too
OTHERS_WORDS = {"URL": "DSN", "URI": "DSN", "DATABASE": "POSTGRES", "DB": "POSTGRES"}  # and what they are here
# No number is without a bound: `inf` never ends, and 0.4 ms would round to a `statement_timeout` of 0, which is none.
SECONDS, BYTES = Meta(le=86400, extra={"unit": "s"}), Meta(le=1 << 40, extra={"unit": "bytes"})
MANY = Meta(le=1_000_000)
Time = Annotated[float, Meta(ge=0.001), SECONDS]
Size = Annotated[int, Meta(ge=1), MANY]


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
    host: Annotated[
        str, described("address the gateway listens on, and metrics unless CLASSIS_METRICS_HOST is set")
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535), described("port the gateway listens on")] = 4200
    api_auth_string: Annotated[str, described("user:password that clients must send, as Prefect's server asks")] = ""
    csrf_protection_enabled: Annotated[
        bool, described("true: searches need a CSRF token, as Prefect's server asks")
    ] = False
    upstream: Annotated[str, described("Prefect's server, http://…; what is not answered here is passed on to it")] = ""
    upstream_patience: Annotated[Time, described("time the upstream may be silent while it owes an answer")] = 60.0
    fallback: Annotated[
        int, Meta(ge=0), MANY, described("searches the upstream answers at a time when we cannot; 0: none")
    ] = 8
    shadow: Annotated[float, Meta(ge=0, le=1), described("share of searches the upstream is asked too, to compare")] = (
        0.0
    )
    record: Annotated[str, described("file that searches are added to, for `classis compare`; it may hold names")] = ""
    max_connections: Annotated[Size, described("clients' connections one gateway keeps open; beyond it, none")] = 1000
    metrics_port: Annotated[int, Meta(ge=0, le=65535), described("port for /metrics, /health, /ready; 0: none")] = 0
    metrics_host: Annotated[str, described("address the metrics port listens on; empty: as CLASSIS_HOST")] = ""
    deadline: Annotated[Time, described("time one request may take")] = 10.0
    slow_client: Annotated[Time, described("time a client may take to send a request or take an answer")] = 10.0
    drain: Annotated[
        float, Meta(ge=0), SECONDS, described("time between 'not ready' and closing the door, on leaving")
    ] = 0.0
    default_limit: Annotated[int, Meta(ge=0), MANY, described("rows of a page by default and at most")] = 200
    pool_size: Annotated[Size, described("connections to Postgres per service; deployments: twice")] = 8
    concurrency: Annotated[Size, described("requests one service works on or keeps waiting; beyond it, 503")] = 128
    gateway_concurrency: Annotated[Size, described("the same for searches by HTTP: more only wait longer")] = 64
    share_searches: Annotated[bool, described("true: equal searches at the same time are answered as one")] = True
    max_body: Annotated[int, Meta(ge=1), BYTES, described("largest request body; beyond it, 413")] = 8 * 1024 * 1024
    row_cache: Annotated[int, Meta(ge=0), BYTES, described("memory for printed rows; 0 keeps none")] = 64 * 1024 * 1024
    cors_allowed_origins: Annotated[str, described("origins, separated by commas; * is any")] = "*"
    cors_allowed_methods: Annotated[str, described("methods, separated by commas; * is any")] = "*"
    cors_allowed_headers: Annotated[str, described("headers, separated by commas; * is any")] = "*"
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], described("how much to log")] = "INFO"
    log_format: Annotated[Literal["console", "json"], described("for people, or one JSON object a line")] = "console"

    def dsn(self, service: str) -> str:
        """The database of one service: its own, else the common one."""
        return str(getattr(self, f"{service}_postgres_dsn")) or self.postgres_dsn

    @property
    def where_metrics_are(self) -> str:
        """The address that the metrics port listens on."""
        return self.metrics_host or self.host

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
        servers = [server(url.strip()) for url in self.nats_url.split(",")]
        if None in servers:
            text = (
                f"{PREFIX}NATS_URL: takes URLs such as nats://127.0.0.1:4222 or tls://nats.example, with commas between"
            )
            raise SettingsError(f"{text}; in a user or password, write @ : / ? # % and commas as %40 …")
        return [found for found in servers if found]

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


class SettingsError(ValueError):
    """A setting has a value it cannot have. The text names the variable and says what it takes, never a secret."""


DEFAULT = Settings()
FIELDS: tuple[Any, ...] = inspect.type_info(Settings).fields  # type: ignore[attr-defined]
KINDS: dict[str, inspect.Type] = {field.name: getattr(field.type, "type", field.type) for field in FIELDS}


def read(environment: Mapping[str, str]) -> Settings:
    """The settings of this environment. Unset and empty variables leave the default.

    Raises SettingsError for a value of the wrong kind.
    """
    given = {
        name: environment[PREFIX + name.upper()]
        for name in Settings.__struct_fields__
        if environment.get(PREFIX + name.upper())
    }
    settings = Settings(**{name: _value(name, text) for name, text in given.items()})
    for name, value in given.items():
        if name.endswith("postgres_dsn") and (wrong := wrong_in_dsn(value)):
            raise SettingsError(f"{PREFIX}{name.upper()}: {wrong}")
    if settings.upstream and not names_a_server(settings.upstream):
        hint = f"; did you mean {near}?" if (near := nearest_server(settings.upstream)) else ""
        raise SettingsError(f"{PREFIX}UPSTREAM: takes http://host:port or https://host, without a path{hint}")
    if settings.record and Path(settings.record).is_dir():
        raise SettingsError(f"{PREFIX}RECORD: takes a file, and {settings.record} is a folder")
    _check_nats(settings)
    return settings


def slips(environment: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each variable that is no setting, and looks like one."""
    known = [name.upper() for name in Settings.__struct_fields__]
    for name in sorted(environment):
        bare = name.removeprefix(PREFIX)
        right = bare == name or bare in known or name.endswith("_PASSWORD")  # NATS has many of them
        if not right and (near := _meant(bare, known)):
            yield f"{name} is no setting; did you mean {PREFIX}{near}?"


def _meant(name: str, known: list[str]) -> str:
    """The name that has all these words, or these letters, or most of them; empty when there is none."""
    words = name.split("_")
    for wanted in (set(words), {OTHERS_WORDS.get(word, word) for word in words}):
        if having := [one for one in known if wanted <= set(one.split("_"))]:
            return min(having, key=len)
    swapped = [one for one in known if sorted(one) == sorted(name)]
    return next(iter(swapped or get_close_matches(name, known, 1, NEAR)), "")


def _value(name: str, text: str) -> Any:
    try:
        return convert(_spelt(KINDS[name], text), Settings.__annotations__[name], strict=False)
    except ValidationError:
        raise SettingsError(f"{PREFIX}{name.upper()}: takes {takes(name)}, not {_shown(name, text)}") from None


def _spelt(kind: inspect.Type, text: str) -> str:
    """Words as they stand in the settings, however they are written."""
    word = text.strip().lower()
    match kind:
        case inspect.BoolType():
            return WORDS.get(word, word)
        case inspect.LiteralType(values):
            return next((str(value) for value in values if str(value).lower() == word), text)
    return text


def takes(name: str) -> str:
    """What values a setting can have, in words; nothing to say of a text."""
    match KINDS[name]:
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType(values):
            return f"one of {', '.join(map(str, values))}"
        case inspect.IntType() | inspect.FloatType() as kind:
            noun = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
            return f"{noun} from {kind.ge} to {kind.le}"
    return ""


def unit(name: str) -> str:
    """What a number of a setting counts, where that is to be said."""
    extra = next((field.type.extra for field in FIELDS if field.name == name), None)
    return str(extra["unit"]) if extra else ""


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


def _shown(name: str, value: object) -> str:
    """A setting as it may be seen."""
    if name in SECRET:
        return "***"
    if name in HOLDS_SECRET or name.endswith("_dsn"):
        return repr(re.sub(r"(?<=//).*@|(?<=\?).*", "***", str(value), flags=re.DOTALL))
    return repr(value)
