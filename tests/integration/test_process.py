"""A process that cannot start says which setting is to blame."""

import logging
import socket
from typing import Any

import pytest

from services import gateway
from shared import process
from shared.settings import Settings


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("metrics_port", "monitoring cannot start: cannot listen on 127.0.0.1:{port} (Address already in use); "
                         "CLASSIS_METRICS_HOST and CLASSIS_METRICS_PORT say where"),
        ("port", "gateway cannot start: cannot listen on 127.0.0.1:{port} (Address already in use); "
                 "CLASSIS_HOST and CLASSIS_PORT say where"),
        ("record", "CLASSIS_RECORD: cannot write to /nonexistent/{port}: No such file or directory"),
    ],
)  # fmt: skip
def test_a_setting_that_stops_it_is_named(
    setting: str, says: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.logs.configure", lambda *_: None)  # it would take the log from pytest
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given: dict[str, Any] = {"port": 0, setting: f"/nonexistent/{port}" if setting == "record" else port}
        settings = Settings(nats_url="nats://127.0.0.1:1", **given)
        assert process.run([("gateway", gateway.running)], settings) == 1
    [told] = [each.getMessage() for each in caplog.records if each.levelno == logging.CRITICAL]
    assert told == says.format(port=port)
