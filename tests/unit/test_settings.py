"""Settings come from the environment, and a wrong one is told by its name."""

import pytest

from shared.settings import Settings, SettingsError, read


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
