"""How a service connects to NATS: what is wrong with a file is told at the start, by the name of its setting."""

import ssl
from collections.abc import Callable
from pathlib import Path

import nkeys  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives import serialization
from nats.errors import Error as NatsError

from shared.natsoptions import PACE, options
from shared.settings import Settings, SettingsError
from tests.certificates import Authority, Pair

SEED = "SUAPJDXCTOPWB6SHDCGNRNVDRRJ2C4QTMSKEEHR4FYPUAGWFHGSXNEWWNA"  # of nobody
CREDENTIALS = f"""-----BEGIN NATS USER JWT-----
ey.the.jwt
------END NATS USER JWT------

************************* IMPORTANT *************************

-----BEGIN USER NKEY SEED-----
{SEED}
------END USER NKEY SEED------
"""


def test_the_least() -> None:
    servers = ["nats://127.0.0.1:4222"]
    least = {"servers": servers, "name": "classis-runs", "inbox_prefix": "_INBOX_runs"}
    assert options(Settings(), "runs") == {**least, **PACE}


def test_users_stand_beside_the_urls() -> None:
    """nats-py knows them of the servers named to it, and not of those that a cluster adds."""
    given = options(Settings(nats_url="nats://me:p%40ss@one"), "runs")
    assert (given["servers"], given["user"], given["password"]) == (["nats://one"], "me", "p@ss")


def test_a_tls_url_means_tls_with_host_names_checked() -> None:
    context = options(Settings(nats_url="tls://one"), "runs")["tls"]
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_a_seed_is_read_once(tmp_path: Path) -> None:
    file = written(tmp_path, f"{SEED}\n")
    assert options(Settings(nats_nkey_seed=file), "runs")["nkeys_seed_str"] == SEED


def test_credentials_are_read_at_every_connection(tmp_path: Path) -> None:
    file = written(tmp_path, CREDENTIALS)
    given = options(Settings(nats_credentials=file), "runs")
    assert given["user_jwt_cb"]() == b"ey.the.jwt"
    nkeys.from_seed(bytearray(SEED.encode()))
    assert given["signature_cb"]("nonce")
    Path(file).write_text(CREDENTIALS.replace("ey.the.jwt", "ey.a.newer"))
    assert given["user_jwt_cb"]() == b"ey.a.newer"
    Path(file).write_text("-----BEGIN NATS USER JWT-----")  # half written: an attempt that fails, no more
    with pytest.raises(NatsError):
        given["user_jwt_cb"]()
    with pytest.raises(NatsError):
        given["signature_cb"]("nonce")
    Path(file).unlink()
    with pytest.raises(OSError, match="No such file"):
        given["user_jwt_cb"]()


def written(folder: Path, text: str) -> str:
    file = folder / "file"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize(
    "text",
    ["", "no seed", SEED[:-3], SEED.replace("SU", "SA"), "\0\xff", f"{SEED}{SEED}", CREDENTIALS.replace("NKEY", "")],
)
@pytest.mark.parametrize("setting", ["nats_nkey_seed", "nats_credentials", "nats_tls_ca"])
def test_a_file_that_is_something_else_is_told(tmp_path: Path, setting: str, text: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(SettingsError, match=f"^CLASSIS_{setting.upper()}: cannot use {file}: .*; name a") as raised:
        options(Settings(**{setting: file}), "runs")  # type: ignore[arg-type]
    assert SEED[4:20] not in str(raised.value)


@pytest.mark.parametrize("setting", ["nats_nkey_seed", "nats_credentials", "nats_tls_ca", "nats_tls_certificate"])
@pytest.mark.parametrize(("path", "reason"), [("/not/there", "No such file"), ("/", "Is a directory")])
def test_a_file_that_cannot_be_read_is_told(setting: str, path: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=f"^CLASSIS_{setting.upper()}: cannot use {path}: {reason}"):
        options(Settings(**{setting: path, "nats_tls_key": "/dev/null"}), "runs")  # type: ignore[arg-type]


def encrypted(pair: Pair) -> None:
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    how = serialization.BestAvailableEncryption(b"passphrase")
    form = serialization.PrivateFormat.TraditionalOpenSSL
    pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, how))


def empty(pair: Pair) -> None:
    pair.key.write_bytes(b"")


def exchanged(pair: Pair) -> None:
    pair.key.write_bytes(Authority(pair.key.parent, "other").issue("x").key.read_bytes())


@pytest.mark.parametrize(
    ("spoiled", "reason"), [(encrypted, "encrypted"), (empty, "PEM"), (exchanged, "KEY_VALUES_MISMATCH")]
)
def test_a_key_that_does_not_fit_is_told(tmp_path: Path, spoiled: Callable[[Pair], None], reason: str) -> None:
    pair = Authority(tmp_path).issue("flows.example")
    spoiled(pair)
    settings = Settings(nats_tls_certificate=str(pair.certificate), nats_tls_key=str(pair.key))
    with pytest.raises(SettingsError, match=f"^CLASSIS_NATS_TLS_KEY: cannot use {pair.key}: .*{reason}"):
        options(settings, "runs")
