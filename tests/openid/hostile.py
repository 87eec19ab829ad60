"""An OpenID provider whose tokens are as wrong as a test wants them."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

Claims = dict[str, Any]
KEY = RSAKey.generate_key(2048, {"kid": "known", "use": "sig", "alg": "RS256"})
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "known", "use": "sig", "alg": "RS256"})


class HostileProvider:
    """Everything is right until a test changes it; `nonce` is the one of the last visit."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.nonce = ""
        self.reset()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def reset(self) -> None:
        self.claims: Callable[[Claims], Claims] = lambda claims: claims
        self.sign: Callable[[Claims], str] = lambda claims: jwt.encode({"alg": "RS256", "kid": "known"}, claims, KEY)
        self.token: Callable[[Claims], Any] = lambda token: token
        self.userinfo: Any = {"sub": "somebody"}
        self.metadata: Callable[[Claims], Any] = lambda metadata: metadata
        self.token_status = 200
        self.delay = 0.0
        self.requests: list[str] = []

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _respond(self, path: str) -> Any:
        if path == "/.well-known/openid-configuration":
            return self.metadata(
                {
                    "issuer": self.url,
                    "authorization_endpoint": f"{self.url}/authorize",
                    "token_endpoint": f"{self.url}/token",
                    "userinfo_endpoint": f"{self.url}/userinfo",
                    "jwks_uri": f"{self.url}/keys",
                    "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
                }
            )
        if path == "/keys":
            return {"keys": [KEY.as_dict(private=False)]}
        if path == "/userinfo":
            return self.userinfo
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": "takhin",
            "sub": "somebody",
            "iat": now,
            "exp": now + 60,
            "nonce": self.nonce,
            "preferred_username": "somebody",
            "groups": ["operators"],
        }
        id_token = self.sign(self.claims(claims))
        return self.token({"access_token": "x", "token_type": "Bearer", "id_token": id_token})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                provider.requests.append(path)
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                time.sleep(provider.delay)
                content = provider._respond(path)
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(provider.token_status if path == "/token" else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
