"""Ask the OpenID provider who somebody is: the authorization code flow with PKCE.

https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth and RFC 7636
"""

import functools
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from authlib.integrations.django_client import OAuth, OAuthError
from django.conf import settings
from joserfc.errors import JoseError

# For each of the at most four requests of a sign-in.
TIMEOUT_SECONDS = 5
# Its addresses and keys may change.
KEPT_SECONDS = 3600
MOST_OF_ERROR = 300
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
SUBJECT = re.compile(r"[\x20-\x7e]{1,255}")
Claims = dict[str, Any]
# How many threads may wait for the provider. The others serve requests.
_turns = threading.BoundedSemaphore(max(1, settings.TAKHIN_THREADS // 4))


class ProviderFailed(Exception):
    """The provider cannot be reached, or what it sends is invalid."""


class ProviderRejected(Exception):
    """The provider rejects the code, or this client."""


class ProviderBusy(Exception):
    """Too many threads wait for the provider."""


def begin(callback: str) -> dict[str, str]:
    """Return the `url` at which to sign in, with the `state`, `nonce` and `code_verifier` that the callback needs.

    Raises ProviderFailed, ProviderRejected, ProviderBusy.
    """
    with _turn():
        begun: dict[str, str] = _client().create_authorization_url(callback)
        return begun


def finish(callback: str, code: str, code_verifier: str, nonce: str) -> Claims:
    """Return the claims about whoever has got this code. Raises ProviderFailed, ProviderRejected, ProviderBusy."""
    with _turn():
        client = _client()
        token = client.fetch_access_token(callback, code=code, code_verifier=code_verifier)
        claims = client.parse_id_token(token, nonce, claims_options=_expected(client.server_metadata))
        if claims is None:
            raise ProviderFailed("its response has no ID token")
        if not SUBJECT.fullmatch(str(claims["sub"])):
            raise ProviderFailed("the claim sub is not up to 255 visible characters")
        # Large claims, such as groups, are often sent here only.
        more = client.userinfo(token=token) if client.server_metadata.get("userinfo_endpoint") else {}
        if more.get("sub", claims["sub"]) != claims["sub"]:
            raise ProviderFailed("its user info is about somebody else")
        return {**more, **claims}


def _expected(metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "iss": {"essential": True, "value": metadata["issuer"]},
        "aud": {"essential": True, "value": settings.TAKHIN_OIDC_CLIENT_ID},
    }


def _client() -> Any:
    """Return a client whose metadata was checked. Use it for a whole sign-in: another thread may replace it."""
    client = _new_client(int(time.time() // KEPT_SECONDS))
    metadata: dict[str, Any] = client.load_server_metadata()
    # https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfigurationValidation
    if str(metadata.get("issuer")).rstrip("/") != settings.TAKHIN_OIDC_ISSUER.rstrip("/"):
        raise ProviderFailed(f"it says that its issuer is {metadata.get('issuer')!r}")
    # Providers may list none, which would make tokens without a signature valid.
    metadata["id_token_signing_alg_values_supported"] = ALGORITHMS
    return client


@functools.lru_cache(maxsize=1)
def _new_client(_: int) -> Any:
    return OAuth().register(
        "provider",
        client_id=settings.TAKHIN_OIDC_CLIENT_ID,
        client_secret=settings.TAKHIN_OIDC_CLIENT_SECRET or None,
        server_metadata_url=f"{settings.TAKHIN_OIDC_ISSUER.rstrip('/')}/.well-known/openid-configuration",
        client_kwargs={
            "scope": settings.TAKHIN_OIDC_SCOPES,
            "code_challenge_method": "S256",
            "default_timeout": TIMEOUT_SECONDS,
        },
    )


@contextmanager
def _turn() -> Iterator[None]:
    if not _turns.acquire(blocking=False):
        raise ProviderBusy
    try:
        yield
    except OAuthError as error:
        raise ProviderRejected(str(error)[:MOST_OF_ERROR]) from error
    # What is at the address may not be a provider, and its responses fail in many ways.
    except (JoseError, requests.RequestException, RuntimeError, LookupError, TypeError, ValueError) as error:
        _new_client.cache_clear()
        raise ProviderFailed(str(error)[:MOST_OF_ERROR]) from error
    except ProviderFailed:
        # What it has sent about itself may be wrong.
        _new_client.cache_clear()
        raise
    finally:
        _turns.release()
