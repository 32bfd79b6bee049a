"""Whether a CSRF token is the one that Prefect gave a client. Each is looked up anew: a token replaced is gone."""

import hmac
from hashlib import sha256

from shared import postgres
from shared.contract import CsrfToken, Verdict
from shared.postgres import Pool

# The token is compared here, for Postgres may log what is bound.
GIVEN = "SELECT token FROM csrf_token WHERE client = $1::text AND expiration > now()"


async def verdict(pool: Pool, shown: CsrfToken) -> Verdict:
    given = await postgres.fetch(pool, GIVEN, [shown.client], shown.within)  # one, or none
    return Verdict(any(hmac.compare_digest(sha256(record[0].encode()).digest(), shown.digest) for record in given))
