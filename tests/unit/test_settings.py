"""Settings come from the environment, and a wrong one is told by its name."""

import pytest
from msgspec.inspect import FloatType, IntType

from shared.settings import KINDS, Login, Settings, SettingsError, read, slips


def test_defaults() -> None:
    assert read({"CLASSIS_PORT": "", "OTHER": "x"}) == Settings()


def test_values_are_read_by_their_kind() -> None:
    settings = read({"CLASSIS_PORT": "4300", "CLASSIS_DEADLINE": "2.5", "CLASSIS_POSTGRES_DSN": "postgresql://a/b"})
    assert (settings.port, settings.deadline, settings.dsn("runs")) == (4300, 2.5, "postgresql://a/b")
    assert not read({"CLASSIS_SHARE_SEARCHES": "false"}).share_searches


def test_a_service_may_have_its_own_database() -> None:
    settings = read({"CLASSIS_RUNS_POSTGRES_DSN": "postgresql://replica/b"})
    assert settings.dsn("runs") == "postgresql://replica/b"
    assert settings.dsn("flows") == settings.postgres_dsn


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "x"), ("PORT", "70000"), ("DEADLINE", "0"), ("POOL_SIZE", "0"), ("SHARE_SEARCHES", "x")],
)
def test_a_wrong_value_is_told_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^CLASSIS_{name}: "):
        read({f"CLASSIS_{name}": value})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "x", "takes a whole number from 0 to 65535, not 'x'"),
        ("POOL_SIZE", "0", "takes a whole number from 1 to 1000000, not '0'"),
        ("SHADOW", "2", "takes a number from 0 to 1, not '2'"),
        ("DEADLINE", "0.0004", "takes a number from 0.001 to 86400, not '0.0004'"),
        ("SHARE_SEARCHES", "maybe", "takes true or false, not 'maybe'"),
        ("LOG_LEVEL", "chatty", "takes one of DEBUG, ERROR, INFO, WARNING, not 'chatty'"),
        ("UPSTREAM", "prefect:4200", "without a path; did you mean http://prefect:4200?"),
        ("UPSTREAM", "http://prefect:4200/api", "without a path; did you mean http://prefect:4200?"),
        ("UPSTREAM", "prefect:4200/api/", "without a path; did you mean http://prefect:4200?"),
        ("UPSTREAM", "https://a:5ecret@prefect/api", "https://host, without a path"),
        ("POSTGRES_DSN", "postgresql+asyncpg://a:5ecret@b/c", "takes postgresql://…: leave out +asyncpg"),
        (
            "POSTGRES_DSN",
            "postgresql://a:5ecret@b/c?ssl=require",
            "takes postgresql://…: write sslmode= in place of ssl=",
        ),
        (
            "RUNS_POSTGRES_DSN",
            "postgresql+asyncpg://a:5ecret@b/c?x=y&ssl=5ecret",
            "takes postgresql://…: leave out +asyncpg, and write sslmode= in place of ssl=",
        ),
        ("RECORD", "/", "takes a file, and / is a folder"),
    ],
)
def test_what_a_setting_takes_is_said_in_words(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read({f"CLASSIS_{name}": value})
    assert str(refused.value).endswith(said)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if isinstance(kind, IntType | FloatType)])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e308", str(2**63)])
def test_every_number_has_bounds(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^CLASSIS_{name.upper()}: takes a "):
        read({f"CLASSIS_{name.upper()}": value})


@pytest.mark.parametrize(("word", "value"), [("yes", True), ("ON", True), ("1", True), ("No", False), ("off", False)])
def test_true_and_false_are_read_as_prefect_reads_them(word: str, value: bool) -> None:
    assert read({"CLASSIS_CSRF_PROTECTION_ENABLED": word}).csrf_protection_enabled is value


@pytest.mark.parametrize("word", ["info", "Info", " INFO "])
def test_a_word_is_read_in_any_case(word: str) -> None:
    assert read({"CLASSIS_LOG_LEVEL": word, "CLASSIS_LOG_FORMAT": "JSON"}) == Settings(log_format="json")


def test_metrics_are_where_the_gateway_is_unless_they_are_put_elsewhere() -> None:
    assert Settings().where_metrics_are == "127.0.0.1"
    assert read({"CLASSIS_HOST": "0.0.0.0"}).where_metrics_are == "0.0.0.0"
    assert read({"CLASSIS_HOST": "0.0.0.0", "CLASSIS_METRICS_HOST": "::1"}).where_metrics_are == "::1"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PROT", "PORT"),
        ("CSRF_PROTECTION", "CSRF_PROTECTION_ENABLED"),
        ("CSRF_ENABLED", "CSRF_PROTECTION_ENABLED"),
        ("CORS_ORIGINS", "CORS_ALLOWED_ORIGINS"),
        ("API_AUTH", "API_AUTH_STRING"),
        ("DSN", "POSTGRES_DSN"),
        ("POSTGRES_URL", "POSTGRES_DSN"),
        ("DATABASE_URL", "POSTGRES_DSN"),
        ("RUNS_DSN", "RUNS_POSTGRES_DSN"),
    ],
)
def test_a_name_is_meant_by_its_words_or_letters(name: str, meant: str) -> None:
    assert list(slips({f"CLASSIS_{name}": "x"})) == [f"CLASSIS_{name} is no setting; did you mean CLASSIS_{meant}?"]


def test_a_slip_in_a_name_is_told() -> None:
    assert list(slips({"CLASSIS_UPSTRAEM": "x", "CLASSIS_UPSTREAM": "x", "UPSTRAEM": "x"})) == [
        "CLASSIS_UPSTRAEM is no setting; did you mean CLASSIS_UPSTREAM?"
    ]


def test_variables_of_others_are_no_slips() -> None:
    users = ("FLOWS", "RUNS", "WORK_POOLS", "DEPLOYMENTS", "GATEWAY", "CLIENT", "MONITOR", "ROUTE")
    others = (
        "HOME",
        "IMAGE",
        "ROUTES",
        "TEST_CHROMIUM",
        "FUZZ_REQUESTS",
        "BENCH_HOME",
        "GATEWAY_SERVICE_PORT",
        "GATEWAY_PORT_4200_TCP",
        "METRICS_SERVICE_HOST",
        "NATS_PORT",
        "NATS_SERVICE_HOST",
    )
    assert not list(slips({f"CLASSIS_{name}": "x" for name in (*others, *(f"{user}_PASSWORD" for user in users))}))


@pytest.mark.parametrize(
    "url", ["http://prefect:4200", "https://prefect.example/", "http://127.0.0.1:4200", "http://[::1]:4200"]
)
def test_an_upstream(url: str) -> None:
    assert read({"CLASSIS_UPSTREAM": url}).upstream == url


@pytest.mark.parametrize(
    "url",
    [
        "prefect:4200", "http://", "http://:4200", "http://prefect:0", "http://prefect:70000", "ftp://prefect", "http://[::1",
        "http://prefect/api", "http://prefect?5ecret", "http://prefect#5ecret", "http://a:5ecret@prefect", "http://pre fect",
    ],
)  # fmt: skip
def test_an_upstream_is_a_server_and_no_more(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^CLASSIS_UPSTREAM: takes http://") as refused:
        read({"CLASSIS_UPSTREAM": url})
    assert "5ecret" not in str(refused.value)


def test_a_database_may_be_named_in_every_way_that_asyncpg_knows() -> None:
    for dsn in (
        "postgresql:///prefect?host=/run/postgresql",
        "postgres://me:p%40ss@first:5432,second:5433/prefect?target_session_attrs=read-only",
        "postgresql://me@[::1]:5432/prefect?sslmode=verify-full&sslrootcert=/etc/ca.crt",
    ):
        assert read({"CLASSIS_POSTGRES_DSN": dsn}).postgres_dsn == dsn


@pytest.mark.parametrize(
    ("environment", "servers", "login"),
    [
        ({}, ["nats://127.0.0.1:4222"], Login()),
        (
            {"URL": "nats://me:p%40ss@one,tls://me:p%40ss@two:4333"},
            ["nats://one", "tls://two:4333"],
            Login("me", "p@ss"),
        ),
        ({"URL": "nats://one, nats://[::1]:4"}, ["nats://one", "nats://[::1]:4"], Login()),
        ({"URL": "nats://t0ken@one"}, ["nats://one"], Login(token="t0ken")),
        ({"URL": "nats://me@one", "PASSWORD": "p@ss"}, ["nats://one"], Login("me", "p@ss")),
        ({"USER": "me", "PASSWORD": "p@ss"}, ["nats://127.0.0.1:4222"], Login("me", "p@ss")),
        ({"TOKEN": "t0ken"}, ["nats://127.0.0.1:4222"], Login(token="t0ken")),
    ],
)
def test_who_we_are_to_nats(environment: dict[str, str], servers: list[str], login: Login) -> None:
    settings = read({f"CLASSIS_NATS_{name}": value for name, value in environment.items()})
    assert (settings.nats_servers, settings.nats_login) == (servers, login)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"URL": "127.0.0.1:4222"}, "URL"),
        ({"URL": "http://127.0.0.1:4222"}, "URL"),
        ({"URL": "nats://127.0.0.1:0"}, "URL"),
        ({"URL": "nats://a:5ecret@one,nats://b:5ecret@two"}, "URL"),
        ({"URL": "nats://a:5ecret/x@one"}, "URL"),
        ({"USER": "me"}, "PASSWORD"),
        ({"PASSWORD": "5ecret"}, "USER"),
        ({"USER": "me", "PASSWORD": "5ecret", "TOKEN": "5ecret"}, "URL"),
        ({"TOKEN": "5ecret", "CREDENTIALS": "/file"}, "URL"),
        ({"NKEY_SEED": "/file", "CREDENTIALS": "/file"}, "URL"),
        ({"TLS_CERTIFICATE": "/file"}, "TLS_KEY"),
        ({"TLS_KEY": "/file"}, "TLS_CERTIFICATE"),
    ],
)
def test_half_an_identity_or_two_are_refused_without_showing_them(environment: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=f"^CLASSIS_NATS_{named}") as raised:
        read({f"CLASSIS_NATS_{name}": value for name, value in environment.items()})
    assert "5ecret" not in str(raised.value)


def test_no_secret_is_shown() -> None:
    settings = Settings(
        postgres_dsn="postgresql://me:5ecret@host/prefect?sslmode=require&password=5ecret",
        runs_postgres_dsn="postgresql://me:5ecret@host",
        nats_url="nats://me:5ecret@one,nats://me:5ecret@two",
        nats_password="5ecret",
        nats_token="5ecret",
        api_auth_string="me:5ecret",
        port=4300,
    )
    for shown in (repr(settings), str(settings), f"{settings}", repr([settings])):
        assert "5ecret" not in shown
        assert "host/prefect" in shown
        assert "port=4300" in shown
    assert repr(Settings()) == "Settings()"
