"""Who may ask: basic authentication, as Prefect's server reads it. Pure."""

import base64
import hmac

API = "/api/"
PROBES = {"/api/health", "/api/ready"}


def is_open(method: str, path: str) -> bool:
    """Whether anybody may ask for this path, known or not."""
    return not path.startswith(API) or (method == "GET" and path in PROBES)


def allows(secret: str, given: str | None) -> bool:
    """Whether an Authorization header says `Basic` and the secret in base64, read as leniently as Prefect reads it.

    Any blanks of Latin-1 separate the two words, and characters that are not of base64's alphabet are passed over.
    """
    try:
        scheme, packed = (given or "").encode(errors="surrogateescape").decode("latin-1").split()
        sent = base64.b64decode(packed)
    except ValueError:
        return False
    return scheme == "Basic" and hmac.compare_digest(sent, secret.encode(errors="surrogateescape"))
