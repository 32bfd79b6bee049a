"""How one service connects to NATS, from the settings: where, as whom, and whom it trusts, for nats-py's `connect`.

Whatever is wrong with a file shows here, at the start, under the name of its setting. Afterwards only credentials
(.creds) are read again, at every connection, because they expire; trouble with them by then is one failed attempt.
"""

import base64
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import nkeys  # type: ignore[import-untyped]
from nats.errors import Error as NatsError

from shared.settings import PREFIX, Settings, SettingsError

PACE = {  # seconds; with nats-py's own, a lost server is noticed after minutes, and given up for good after two
    "connect_timeout": 1,
    "reconnect_time_wait": 0.2,
    "max_reconnect_attempts": -1,
    "ping_interval": 1,
    "max_outstanding_pings": 2,
}


def options(settings: Settings, service: str) -> dict[str, Any]:
    """The keyword arguments. `service`, or `client`, is part of the connection's name and of its inboxes.

    Raises SettingsError.
    """
    login = settings.nats_login
    found = {
        "user": login.user,
        "password": login.password,
        "token": login.token,
        "nkeys_seed_str": _seed(settings.nats_nkey_seed),
        **_credentials(settings.nats_credentials),
        "tls": _tls(settings),
    }
    return {
        "servers": settings.nats_servers,  # without users: nats-py forgets these for servers that a cluster tells of
        "name": f"classis-{service}",
        "inbox_prefix": f"_INBOX_{service}",  # so that NATS can keep others from listening to our replies
        **{name: value for name, value in found.items() if value},
        **PACE,
    }


def _seed(path: str) -> str:
    """The seed of an nkey. nats-py would read the file again and sign with another key than the one it announces."""
    if not path:
        return ""
    with _blamed("NATS_NKEY_SEED", path, "a file with the seed of a user's nkey, SU…"):
        seed = Path(path).read_text("ascii").strip()
        _key(seed).wipe()
        return seed


def _credentials(path: str) -> dict[str, Callable[..., bytes]]:
    """Both halves of a .creds file. nats-py's own reader loops forever in a file that is cut short."""
    if not path:
        return {}
    jwt, signed = partial(_section, path, "NATS USER JWT"), partial(_signed, path)
    with _blamed("NATS_CREDENTIALS", path, "a file with a JWT and its seed, as `nsc generate creds` writes it"):
        jwt()
        signed("")
    return {"user_jwt_cb": jwt, "signature_cb": signed}


def _section(path: str, title: str) -> bytes:
    """What stands between the lines BEGIN and END of a title."""
    found = re.search(rf"-+BEGIN {title}-+\s+(\S+)\s+-+END {title}-+", Path(path).read_text("ascii", "replace"))
    if not found:
        raise NatsError(f"there is no {title} in it")
    return found[1].encode()


def _signed(path: str, nonce: str) -> bytes:
    key = _key(_section(path, "USER NKEY SEED").decode())
    try:
        return base64.b64encode(key.sign(nonce.encode()))
    finally:
        key.wipe()


def _key(seed: str) -> nkeys.KeyPair:
    """The key of a user's seed. Raises NatsError, which nats-py takes for a failed attempt."""
    try:
        if seed.startswith("SU"):
            return nkeys.from_seed(bytearray(seed.encode()))
    except (nkeys.NkeysError, ValueError):  # whose text may show the seed
        pass
    raise NatsError("there is no seed of a user in it")


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """Whom to trust, and our certificate. Host names are always checked."""
    authorities, certificate, key = settings.nats_tls_ca, settings.nats_tls_certificate, settings.nats_tls_key
    if not authorities and not certificate and not any(url.startswith("tls:") for url in settings.nats_servers):
        return None
    with _blamed("NATS_TLS_CA", authorities, "a PEM file with the certificates of the authorities to trust"):
        context = ssl.create_default_context(cafile=authorities or None)  # the system's, unless named
    if certificate:
        for name, path in (("NATS_TLS_CERTIFICATE", certificate), ("NATS_TLS_KEY", key)):
            with _blamed(name, path, "a PEM file"):
                Path(path).read_bytes()
        with _blamed("NATS_TLS_KEY", key, f"a PEM file with the key of {certificate}, without a passphrase"):
            context.load_cert_chain(certificate, key, password=_nobody_types)
    return context


def _nobody_types() -> NoReturn:
    raise NatsError("it is encrypted")


@contextmanager
def _blamed(name: str, path: str, wanted: str) -> Iterator[None]:
    """Turns trouble with a file into the error of the setting that names it."""
    try:
        yield
    except (OSError, ValueError, NatsError) as error:  # ssl's errors are OSErrors
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
        if not isinstance(reason, str):
            reason = "it is no text" if isinstance(error, ValueError) else str(error)
        raise SettingsError(f"{PREFIX}{name}: cannot use {path}: {reason}; name {wanted}") from None
