"""Who may ask: the Authorization headers that Prefect's server takes, and those that it does not."""

from base64 import b64encode

import pytest

from services.gateway.auth import allows, is_open

SECRET = "admin:pa:ss"
GOOD = b64encode(SECRET.encode()).decode()  # YWRtaW46cGE6c3M=


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        (f"Basic {GOOD}", True),
        (f"Basic   {GOOD} ", True),
        (f"Basic\t{GOOD}", True),
        (f"Basic {GOOD[:3]}!*{GOOD[3:]}", True),  # base64 passes over what is not of its alphabet,
        (f"Basic {GOOD}abcd", True),  # and ends at the padding
        (f"Basic {GOOD}==", True),
        (f"Basic\udca0{GOOD}", True),  # a blank of Latin-1
        (f"Basic\udc85{GOOD}", True),
        (f"Basic\xa0{GOOD}", False),  # the same in UTF-8 is two characters, one of them a letter
        (None, False),
        ("", False),
        ("Basic", False),
        (GOOD, False),
        (f"basic {GOOD}", False),
        (f"Bearer {GOOD}", False),
        (f"Basic {GOOD} x", False),
        (f"Basic {GOOD.rstrip('=')}", False),
        (f"Basic {GOOD}\udce9", False),
        ("Basic ====", False),
        (f"Basic {b64encode(b'admin:other').decode()}", False),
        (f"Basic {b64encode(b'admin:pa:ss2').decode()}", False),
        (f"Basic {b64encode('é'.encode()).decode()}", False),
        (f"Basic {b64encode(bytes([255])).decode()}", False),
        (f"Basic {SECRET}", False),
    ],
)
def test_the_header(given: str | None, allowed: bool) -> None:
    assert allows(SECRET, given) is allowed


def test_a_secret_may_have_any_letters() -> None:
    assert allows("jürgen:päss", f"Basic {b64encode('jürgen:päss'.encode()).decode()}")
    assert not allows("jürgen:päss", f"Basic {GOOD}")


@pytest.mark.parametrize(
    ("method", "path", "open_to_all"),
    [
        ("GET", "/api/health", True),
        ("GET", "/api/ready", True),
        ("GET", "/", True),
        ("GET", "/api", True),
        ("GET", "/apix", True),
        ("HEAD", "/api/health", False),
        ("POST", "/api/ready", False),
        ("GET", "/api/health/", False),
        ("GET", "/api/x/health", False),
        ("GET", "/api/", False),
        ("GET", "/api/unknown", False),
        ("POST", "/api/deployments/filter", False),
    ],
)
def test_the_paths(method: str, path: str, open_to_all: bool) -> None:
    assert is_open(method, path) is open_to_all
