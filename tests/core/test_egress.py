"""The one way out: where it goes, where it refuses to, and how long it waits. Against real servers on loopback."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from apps.core.domain.destinations import Refused, allowed, networks, read, safe
from apps.core.egress import EgressFailed, EgressRefused, destination, fetch

HERE = ["127.0.0.1"]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    seen: list[tuple[str, str, str]]


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None], context: ssl.SSLContext | None = None) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.seen.append((self.command, self.path, self.headers["Host"]))
            answer(self)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            return

    server = Server(("127.0.0.1", 0), Handler)
    server.seen = []
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def says(status: int, body: bytes = b"ok", **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.fixture
def open_to(settings: Any) -> Callable[..., None]:
    def allow(*hosts: str, networks: tuple[str, ...] = ("127.0.0.0/8",), http: bool = True) -> None:
        settings.EGRESS_ALLOWED_HOSTS, settings.EGRESS_ALLOWED_NETWORKS, settings.EGRESS_ALLOW_HTTP = list(hosts), list(networks), http

    return allow


def test_an_allowed_host_is_called_by_its_name_at_the_address_that_was_judged(open_to: Any) -> None:
    open_to("hooks.example.test:*")
    asked: list[str] = []

    def resolver(host: str, port: int) -> list[str]:
        """Another answer each time, as who rebinds a name gives it."""
        asked.append(host)
        return HERE if len(asked) == 1 else ["169.254.169.254"]

    with serving(says(200, b"hello")) as server:
        url = f"http://HOOKS.example.test.:{server.server_port}/in?x=1"
        answer = fetch("POST", url, content=b"{}", resolver=resolver)
    assert (answer.status, answer.body) == (200, b"hello")
    assert asked == ["hooks.example.test"]
    assert server.seen == [("POST", "/in?x=1", f"hooks.example.test:{server.server_port}")]


def test_a_name_that_was_rebound_or_has_one_bad_address_is_not_called(open_to: Any) -> None:
    open_to("hooks.example.test:*")
    with serving(says(200)) as server:
        url = f"http://hooks.example.test:{server.server_port}/"
        for answers in (["169.254.169.254"], ["127.0.0.1", "10.0.0.1"], ["::ffff:169.254.169.254"], ["fe80::1%eth0"]):
            with pytest.raises(EgressRefused, match="EGRESS_ALLOWED_NETWORKS"):
                fetch("GET", url, resolver=lambda host, port, answers=answers: answers)
    assert server.seen == []


def test_loopback_is_refused_unless_its_network_is_named(open_to: Any) -> None:
    with serving(says(200)) as server:
        open_to("127.0.0.1:*", "localhost:*", networks=())
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(EgressRefused, match="not public"):
                fetch("GET", f"http://{host}:{server.server_port}/")
        open_to("127.0.0.1:*", "localhost:*", networks=("127.0.0.0/8", "::1/128"))
        assert fetch("GET", f"http://localhost:{server.server_port}/").status == 200
    assert len(server.seen) == 1


def test_a_redirect_is_an_answer_and_not_followed(open_to: Any) -> None:
    open_to("127.0.0.1:*")
    with serving(says(302, Location="http://169.254.169.254/latest/meta-data/")) as server:
        assert fetch("GET", f"http://127.0.0.1:{server.server_port}/").status == 302
    assert len(server.seen) == 1


def test_no_proxy_of_the_environment_is_used(open_to: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    open_to("127.0.0.1:*")
    with serving(says(418)) as proxy, serving(says(200)) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
        assert fetch("GET", f"http://127.0.0.1:{server.server_port}/").status == 200
    assert proxy.seen == []


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example.test/", "https://"),
        ("ftp://hooks.example.test/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("//hooks.example.test/", "https://"),
        ("https://evil.test/", "evil.test"),
        ("https://hooks.example.test.evil.test/", "evil.test"),
        ("https://evil-example.test/", "evil-example.test"),
        ("https://hooks.example.test:8443/", "8443"),
        ("https://hooks.example.test@evil.test/", "login"),
        ("https://user:pass@hooks.example.test/", "login"),
        ("https://hooks.example.test:443@evil.test/", "login"),
        ("https://evil.test\\@hooks.example.test/", "login"),
        ("https://evil.test\\.hooks.example.test/", "login"),
        ("https://hooks.example.test#@evil.test/", "login"),
        ("https://hooks.example.test\t.evil.test/", "login"),
        ("https://hooks.example.test/\r\nHost: evil.test", "login"),
        ("https://hooks.example.test /", "login"),
        ("https://hooks%2eexample.test/", "not a name"),
        ("https://hooks..example.test/", "not a name"),
        ("https://.example.test/", "not a name"),
        ("https:///x", "not a name"),
        ("https://hooks.example.test:0/", "port"),
        ("https://hooks.example.test:99999/", "port"),
        ("https://hooks.example.test/ü", "percent-encoded"),
        ("https://[::1%25lo]/", "IPv6"),
        ("https://[fe80::1%lo]/", "IPv6"),
        ("https://[not]/", "IPv6"),
        ("https://2130706433/", "number"),
        ("https://0x7f000001/", "number"),
        ("https://0177.0.0.1/", "number"),
        ("https://127.1/", "number"),
        ("https://127.0.0.0x1/", "number"),
        ("https://１２７.0.0.1/", "not a name"),
        ("https://exámple.test/", "xn--exmple-qta.test"),
        ("x" * 3000, "form"),
    ],
)
def test_what_is_refused_before_anything_is_looked_up(url: str, why: str, open_to: Any) -> None:
    open_to(".example.test", "127.0.0.1", networks=("0.0.0.0/0", "::/0"), http=False)

    def resolver(host: str, port: int) -> list[str]:
        raise AssertionError(host)

    with pytest.raises(EgressRefused, match=why):
        fetch("GET", url, resolver=resolver)


def test_without_a_list_nothing_is_called_and_the_setting_is_named(open_to: Any) -> None:
    open_to()
    with pytest.raises(EgressRefused, match="EGRESS_ALLOWED_HOSTS"):
        destination("https://hooks.example.test/")


def test_http_goes_to_the_installations_own_networks_only(open_to: Any) -> None:
    open_to("hooks.example.test")
    with pytest.raises(EgressRefused, match="https://"):
        fetch("GET", "http://hooks.example.test/", resolver=lambda host, port: ["93.184.216.34"])


def test_other_letters_are_matched_as_idna_writes_them(open_to: Any) -> None:
    open_to("xn--bcher-kva.example")
    assert destination("https://Bücher.example/").host == destination("https://bücher。example/").host == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    "entries, yes, no",
    [
        (["a.test"], ["https://a.test", "https://A.TEST.:443/x"], ["https://b.a.test/", "https://a.test:444/"]),
        ([".a.test"], ["https://a.test/", "https://b.a.test/", "https://c.b.a.test/"], ["https://xa.test/", "https://a.test.b.test/"]),
        (["a.test:8443"], ["https://a.test:8443/"], ["https://a.test/"]),
        (["a.test:*"], ["https://a.test:1/", "https://a.test/"], ["https://b.test/"]),
        (
            ["[::1]:8443", "[2001:db8::1]"],
            ["https://[0:0::1]:8443/", "https://[2001:DB8:0::1]/"],
            ["https://[::1]/", "https://[::2]:8443/"],
        ),
        (["10.0.0.1"], ["https://10.0.0.1/"], ["https://10.0.0.2/"]),
    ],
)
def test_what_an_entry_of_the_list_means(entries: list[str], yes: list[str], no: list[str]) -> None:
    assert all(allowed(read(url), entries) for url in yes)
    assert not any(allowed(read(url), entries) for url in no)


UNSAFE = """
0.0.0.0 10.1.2.3 100.64.0.1 100.100.100.200 127.0.0.1 127.255.0.9 168.63.129.16 169.254.169.254 172.16.0.1 192.0.0.192 192.0.2.1
192.88.99.1 192.168.1.1 198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:10.0.0.1 ::ffff:169.254.169.254
64:ff9b::a00:1 64:ff9b:1::1 100::1 2001:db8::1 2001::1 3fff::1 2002:7f00:1:: 2002:a9fe:a9fe:: fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1
"""
SAFE = "1.1.1.1 93.184.216.34 172.32.0.1 2606:4700:4700::1111 ::ffff:1.1.1.1 64:ff9b::101:101 2002:101:101::"


def test_which_addresses_are_public() -> None:
    assert [each for each in UNSAFE.split() if safe(ipaddress.ip_address(each), ())] == []
    assert [each for each in SAFE.split() if not safe(ipaddress.ip_address(each), ())] == []
    own = networks(["10.0.0.0/8", "fd00::/8"])
    assert safe(ipaddress.ip_address("::ffff:10.0.0.1"), own) and safe(ipaddress.ip_address("fd00::1"), own)
    assert not safe(ipaddress.ip_address("192.168.1.1"), own)


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:{}", "::ffff:0:{}", "64:ff9b::{}"]))
def test_an_address_in_disguise_is_judged_as_what_it_is(address: Any, disguise: str) -> None:
    assert safe(ipaddress.ip_address(disguise.format(address)), ()) == safe(address, ())


@given(st.text(max_size=60))
def test_no_text_is_read_as_two_hosts(text: str) -> None:
    """What is taken has one host, of plain letters, and nothing that another reader could take for a login or a second host."""
    for url in (text, f"https://{text}", f"https://{text}.a.test/", f"https://a.test{text}", f"https://a.test/{text}"):
        try:
            found = read(url)
        except Refused:
            continue
        assert found.host.isascii() and not set(found.host) & set("@\\/?#% \t\r\n")
        assert found.target.isascii() and found.target.isprintable() and found.target.startswith("/")


def test_a_drip_does_not_outlast_the_limit(open_to: Any) -> None:
    open_to("127.0.0.1:*")

    def drip(handler: BaseHTTPRequestHandler) -> None:
        try:
            for _ in range(100):
                handler.wfile.write(b"H")
                time.sleep(0.05)
        except OSError:
            return

    with serving(drip) as server:
        begun = time.monotonic()
        with pytest.raises(EgressFailed) as failed:
            fetch("GET", f"http://127.0.0.1:{server.server_port}/", total_s=0.5)
    assert failed.value.why in ("timeout", "broken") and time.monotonic() - begun < 3


def test_a_resolver_that_hangs_is_not_waited_for(open_to: Any) -> None:
    open_to("hooks.example.test")
    release = threading.Event()

    def resolver(host: str, port: int) -> list[str]:
        release.wait(30)
        return HERE

    with pytest.raises(EgressFailed) as failed:
        fetch("GET", "https://hooks.example.test/", resolver=resolver, total_s=0.2)
    release.set()
    assert failed.value.why == "timeout"


def test_what_goes_wrong_is_named_and_what_was_sent_is_not(open_to: Any) -> None:
    open_to("127.0.0.1:*", "nowhere.example.test")

    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with serving(says(200, b"s3cret" * 1000)) as server:
        url = f"http://127.0.0.1:{server.server_port}/"
        assert fetch("GET", url, max_bytes=0).body == b""
        cases: list[tuple[str, Callable[[], object]]] = [
            ("too_large", lambda: fetch("GET", url, max_bytes=100)),
            ("unknown_host", lambda: fetch("GET", "https://nowhere.example.test/", resolver=unknown)),
            ("tls", lambda: fetch("GET", url.replace("http", "https"))),
        ]
        for why, call in cases:
            with pytest.raises(EgressFailed) as failed:
                call()
            assert failed.value.why == why and "s3cret" not in str(failed.value)
    with pytest.raises(EgressFailed) as failed:
        fetch("GET", url)
    assert failed.value.why == "refused"
    with serving(lambda handler: handler.wfile.write(b"nonsense\r\n\r\n") and None) as server:
        with pytest.raises(EgressFailed) as failed:
            fetch("GET", f"http://127.0.0.1:{server.server_port}/")
        assert failed.value.why == "broken"


def test_the_certificate_must_be_the_names_own(open_to: Any, settings: Any, tmp_path: Path) -> None:
    """TLS asks for the name, not for the address that was connected to."""
    open_to("hooks.example.test:*", "other.example.test:*", networks=("127.0.0.0/8",), http=False)
    context = certificate("hooks.example.test", tmp_path)
    with serving(says(200, b"hello"), context) as server:

        def call(host: str) -> bytes:
            return fetch("GET", f"https://{host}:{server.server_port}/", resolver=lambda host, port: HERE).body

        with pytest.raises(EgressFailed) as failed:
            call("hooks.example.test")
        assert failed.value.why == "tls"
        settings.EGRESS_CA_FILE = str(tmp_path / "nothing.pem")
        with pytest.raises(EgressRefused, match="EGRESS_CA_FILE"):
            call("hooks.example.test")
        settings.EGRESS_CA_FILE = str(tmp_path / "certificate.pem")
        assert call("hooks.example.test") == b"hello"
        with pytest.raises(EgressFailed) as failed:
            call("other.example.test")
        assert failed.value.why == "tls"
    assert [host for *_, host in server.seen] == [f"hooks.example.test:{server.server_port}"]


def certificate(host: str, folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return context
