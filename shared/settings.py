"""What can be set: environment variables named `CLASSIS_…`, read once into one struct.

Every setting has a default that suits one machine. `classis run --help` lists them from here.
"""

from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct, ValidationError, convert

PREFIX = "CLASSIS_"
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
    metrics_port: Annotated[int, Meta(ge=0, le=65535), described("port for /metrics, /health, /ready; 0: none")] = 0
    deadline: Annotated[Positive, described("time one request may take")] = 10.0
    slow_client: Annotated[Positive, described("time a client may take to send a request or take an answer")] = 10.0
    drain: Annotated[float, Meta(ge=0), described("time between 'not ready' and closing the door, on leaving")] = 0.0
    default_limit: Annotated[int, Meta(ge=0), described("rows of a page by default and at most")] = 200
    pool_size: Annotated[Size, described("connections to Postgres per service; deployments: twice")] = 8
    concurrency: Annotated[Size, described("requests one process works on or keeps waiting; beyond it, 503")] = 128
    share_searches: Annotated[bool, described("true: equal searches at the same time are answered as one")] = True
    max_body: Annotated[Size, described("largest request body; beyond it, 413")] = 16 * 1024 * 1024
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
        """The URLs of NATS. Raises SettingsError for what is none."""
        urls = [url.strip() for url in self.nats_url.split(",")]
        for url in urls:
            try:
                right = urlsplit(url).hostname and urlsplit(url).port != 0
            except ValueError:
                right = False
            if not right:
                raise SettingsError(f"{PREFIX}NATS_URL: {url!r} is no URL such as nats://127.0.0.1:4222")
        return urls


class SettingsError(ValueError):
    """A setting has a value it cannot have. The text names the variable and says what it takes."""


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
    assert settings.nats_servers  # noqa: S101 — refuses a wrong one now rather than at the first attempt
    return settings
