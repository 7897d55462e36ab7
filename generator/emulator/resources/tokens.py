"""Access tokens for the tokens of another identity provider, as Octopus' OpenID Connect does it.

Source: docs, API reference, token-exchange; OctopusClients, OidcAccessTokenCache.cs and OidcAuthenticationTests.cs. The emulator
knows no identity provider: it takes any token that looks like a JSON Web Token, for any service account.
"""

from __future__ import annotations

import base64
import json
import secrets

from generator.emulator.documents import Document
from generator.emulator.requests import Answer, Request
from generator.emulator.state import Key, State

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
LIFETIME = 3600


def configuration(request: Request) -> Document:
    base = request.state.base_url
    return {"issuer": base, "token_endpoint": f"{base}/token/v1"}


def exchange(request: Request) -> Answer:
    """200 with a bearer token that works for an emulated hour; 400 in the form of OAuth 2.0."""
    body = request.body if isinstance(request.body, dict) else {}
    # OAuth's names are written with underscores and in lower case; reading them has raised their first letter.
    given = {name.lower(): value for name, value in body.items()}
    for name in ("grant_type", "audience", "subject_token", "subject_token_type"):
        if not isinstance(given.get(name), str) or not given[name]:
            return _refused("invalid_request", f"The {name} parameter is required.")
    if given["grant_type"] != EXCHANGE:
        return _refused("unsupported_grant_type", f"grant_type must be {EXCHANGE}.")
    if given["subject_token_type"] != JWT or given["subject_token"].count(".") != 2:
        return _refused("invalid_request", "The subject_token is no JSON Web Token.")
    account = _account(request.state, given["audience"])
    if account is None:
        return _refused("invalid_request", "The audience is no service account.")
    token = _token(request.state, account["Id"])
    document = {
        "access_token": token,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": LIFETIME,
    }
    return Answer(body=document)


def _refused(error: str, description: str) -> Answer:
    return Answer(status=400, body={"error": error, "error_description": description})


def _account(state: State, audience: str) -> Document | None:
    for user in state.where("Users", IsService=True):
        if audience in (user["Id"], user["Username"]):
            return user
    return None


def _token(state: State, user_id: str) -> str:
    """A token of the usual form, known to the server by its text."""
    expires = state.clock.now() + LIFETIME
    claims = {"sub": user_id, "iss": state.base_url, "exp": int(expires), "jti": secrets.token_hex(8)}
    parts = (json.dumps({"alg": "none", "typ": "JWT"}), json.dumps(claims), "emulator")
    token = ".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in parts)
    state.keys[token] = Key(user_id=user_id, expires=expires)
    return token
