"""OpenID providers for the tests: the real one (`oidc_provider/`, on Node) and one that signs whatever it is told to."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.test import Client
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tests" / "oidc_provider"
FOLDER = ROOT / ".cache" / "oidc_provider"
SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef"
HOST = "http://testserver"


def installed() -> Path:
    """The provider with its packages, installed once for each lock."""
    if not shutil.which("node") or not shutil.which("npm"):
        if os.environ.get("CI"):
            pytest.fail("node and npm are needed for the tests against a real OpenID provider")
        pytest.skip("there is no node or no npm on PATH: the tests against a real OpenID provider need them")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark, wanted = FOLDER / "installed", (SOURCE / "package-lock.json").read_text()
        for name in ("package.json", "package-lock.json", "server.mjs"):
            shutil.copy(SOURCE / name, FOLDER / name)
        if not mark.exists() or mark.read_text() != wanted:
            subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=FOLDER, check=True, capture_output=True)
            mark.write_text(wanted)
    return FOLDER


class Provider:
    """The real one. `says` sets the claims of a person."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"

    def says(self, name: str, /, **claims: Any) -> None:
        httpx.post(f"{self.issuer}/control", json={name: claims}).raise_for_status()

    def person(self, name: str) -> httpx.Client:
        """A browser at the provider; `name` is typed into its form by `visit`."""
        return httpx.Client(headers={"X-Name": name})


def visit(browser: httpx.Client, address: str) -> str:
    """Follows the provider's pages, signing in and consenting where asked, to the address back at the portal."""
    response = browser.get(address)
    for _ in range(12):
        if response.is_redirect:
            address = urljoin(str(response.url), response.headers["location"])
            if address.startswith(HOST):
                return address.removeprefix(HOST)
            response = browser.get(address)
            continue
        assert response.status_code == 200, response.text
        action = re.search(r'<form[^>]*action="([^"]+)"', response.text)
        assert action, response.text
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)"', response.text))
        fields |= {"login": browser.headers["X-Name"], "password": "any"} if fields["prompt"] == "login" else {}
        response = browser.post(urljoin(str(response.url), action[1]), data=fields)
    raise AssertionError("the provider never came back")


@contextmanager
def real_provider() -> Iterator[Provider]:
    process = subprocess.Popen(
        ["node", "server.mjs", f"{HOST}/oidc/callback/", f"{HOST}/admin/login/"],
        cwd=installed(),
        env={**os.environ, "OIDC_SECRET_TEST": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout
        yield Provider(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()


class Forger:
    """A provider whose next answers a test makes up: `claims`, `key`, `kid`, `alg` and `published` are what it signs and shows."""

    def __init__(self) -> None:
        self.key: Any = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.kid, self.alg = "one", "RS256"
        self.published = [self.jwk()]
        self.claims: dict[str, Any] = {}
        self.token: str | None = None
        self.asked: list[str] = []
        self.broken: dict[str, int | float] = {}
        self.nonce = ""
        self.form: dict[str, list[str]] = {}
        self.issuer = ""

    def jwk(self) -> dict[str, Any]:
        maker: Any = RSAAlgorithm if isinstance(self.key, rsa.RSAPrivateKey) else ECAlgorithm
        return {**maker.to_jwk(self.key.public_key(), as_dict=True), "kid": self.kid, "use": "sig", "alg": self.alg}

    def new_key(self, kid: str, alg: str = "RS256") -> None:
        self.kid, self.alg = kid, alg
        self.key = (
            rsa.generate_private_key(public_exponent=65537, key_size=2048) if alg == "RS256" else ec.generate_private_key(ec.SECP256R1())
        )

    def payload(self) -> dict[str, Any]:
        now = int(time.time())
        usual = {
            "iss": self.issuer,
            "sub": "s-1",
            "aud": "mission-control",
            "iat": now,
            "exp": now + 600,
            "nonce": self.nonce,
            "email": "ann@acme.test",
            "email_verified": True,
            "groups": ["staff"],
            "name": "Ann",
        }
        return {name: value for name, value in {**usual, **self.claims}.items() if value is not None}

    def unsigned(self, header: dict[str, Any]) -> str:
        return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, self.payload()))

    def answer(self, path: str) -> dict[str, Any]:
        if path.endswith("openid-configuration"):
            names = {"authorization_endpoint": "auth", "token_endpoint": "token", "jwks_uri": "jwks", "end_session_endpoint": "out"}
            return {"issuer": self.issuer, **{name: f"{self.issuer}/{end}" for name, end in names.items()}}
        if path == "/jwks":
            return {"keys": self.published}
        token = self.token if self.token is not None else jwt.encode(self.payload(), self.key, self.alg, headers={"kid": self.kid})
        return {"access_token": "a", "token_type": "Bearer", "id_token": token}

    def back(self, client: Client, slug: str = "acme-sso", query: str = "") -> Any:
        """A whole sign-in: to the provider and back with a code."""
        sent = client.get(f"/oidc/{slug}/begin/{query}")
        assert sent.status_code == 302, sent.content
        asked = parse_qs(urlsplit(sent["Location"]).query)
        self.nonce = asked["nonce"][0]
        return client.get("/oidc/callback/", {"state": asked["state"][0], "code": "c"})


@contextmanager
def forger() -> Iterator[Forger]:
    made = Forger()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            made.asked.append(path)
            if self.command == "POST":
                made.form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            trouble = made.broken.get(path, 200)
            if isinstance(trouble, float):
                time.sleep(trouble)
                trouble = 200
            body = json.dumps(made.answer(path)).encode() if trouble == 200 else b"<html>trouble"
            try:
                self.send_response(trouble)
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                return

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.issuer = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
