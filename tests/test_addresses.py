"""The client's address is the peer's, unless a trusted proxy names another."""

import json
from ipaddress import ip_network
from typing import Any

import pytest

from core import addresses
from tests.conftest import Api

pytestmark = pytest.mark.no_database

PROXIES = ["127.0.0.1", "10.0.0.0/8", "2001:db8:ffff::/48"]


@pytest.fixture
def behind_proxies(settings: Any) -> None:
    settings.TAKHIN_TRUSTED_PROXIES = [ip_network(proxy) for proxy in PROXIES]


def client(peer: str = "127.0.0.1", listed: str = "", forwarded: str = "") -> str:
    return addresses.client_of(
        {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": listed, "HTTP_FORWARDED": forwarded},
    )


def test_it_works(behind_proxies: None) -> None:
    assert client(listed="203.0.113.7") == "203.0.113.7"


def test_nobody_is_believed_by_default() -> None:
    assert client(listed="203.0.113.7", forwarded="for=203.0.113.7") == "127.0.0.1"


@pytest.mark.parametrize("peer", ["198.51.100.9", "2001:db8::1", "11.0.0.1"])
def test_a_peer_that_is_no_proxy_is_not_believed(behind_proxies: None, peer: str) -> None:
    assert client(peer, "203.0.113.7", "for=203.0.113.7") == peer


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        # What is left of the right-most address that is no proxy's was written by the client.
        ("1.1.1.1, 203.0.113.7", "203.0.113.7"),
        ("1.1.1.1,203.0.113.7,10.1.2.3", "203.0.113.7"),
        ("1.1.1.1, 127.0.0.1, 203.0.113.7, 10.1.2.3, 10.0.0.9", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:DB8:0:0::7, 2001:db8:ffff::1", "2001:db8::7"),
        # All are proxies: the first of them called.
        ("10.0.0.7, 10.0.0.8", "10.0.0.7"),
        # What is no address ends the chain at the last proxy that is known.
        ("203.0.113.7, unknown", "127.0.0.1"),
        ("203.0.113.7, , 10.0.0.8", "10.0.0.8"),
        ("203.0.113.7, 999.1.1.1", "127.0.0.1"),
        ("<script>", "127.0.0.1"),
        (" ", "127.0.0.1"),
        ("1.1.1.1," * 10_000 + "203.0.113.7", "203.0.113.7"),
    ],
)
def test_the_right_most_untrusted_address_is_the_client(behind_proxies: None, listed: str, found: str) -> None:
    assert client(listed=listed) == found


@pytest.mark.parametrize(
    ("forwarded", "found"),
    [
        ("for=203.0.113.7", "203.0.113.7"),
        ('for="203.0.113.7:4711";proto=https', "203.0.113.7"),
        ('proto=https; For="[2001:db8::7]:4711"; by=10.0.0.1', "2001:db8::7"),
        ("for=1.1.1.1, for=203.0.113.7, for=10.0.0.8", "203.0.113.7"),
        ("for=203.0.113.7, for=_hidden", "127.0.0.1"),
        ("for=203.0.113.7, proto=https", "127.0.0.1"),
        ("xfor=203.0.113.7", "127.0.0.1"),
    ],
)
def test_the_standard_header_says_the_same(behind_proxies: None, forwarded: str, found: str) -> None:
    assert client(forwarded=forwarded) == found


def test_a_header_that_the_proxy_passes_on_is_not_believed_against_its_own(behind_proxies: None) -> None:
    assert client(listed="203.0.113.7", forwarded="for=203.0.113.7") == "203.0.113.7"
    assert client(listed="203.0.113.7", forwarded="for=1.1.1.1") == "127.0.0.1"
    assert client(listed="1.1.1.1", forwarded="for=203.0.113.7") == "127.0.0.1"


@pytest.mark.parametrize("peer", ["", "not an address", "/run/proxy.sock"])
def test_a_peer_without_an_address_is_passed_on_as_it_is(behind_proxies: None, peer: str) -> None:
    assert client(peer, "203.0.113.7") == peer


def test_an_address_of_both_kinds_is_one(behind_proxies: None) -> None:
    """A socket for IPv4 and IPv6 names an IPv4 peer in IPv6's way."""
    assert client("::ffff:127.0.0.1", "203.0.113.7") == "203.0.113.7"
    assert client("::ffff:198.51.100.9") == "198.51.100.9"


def test_a_whole_subscriber_meets_the_limits_together() -> None:
    assert addresses.subscriber_of("2001:db8:1:2:aaaa::1") == addresses.subscriber_of("2001:db8:1:2:bbbb::9")
    assert addresses.subscriber_of("2001:db8:1:2::1") != addresses.subscriber_of("2001:db8:1:3::1")
    assert addresses.subscriber_of("203.0.113.7") == "203.0.113.7"
    assert addresses.subscriber_of("") == ""


def test_the_request_line_names_the_client(api: Api, behind_proxies: None, capfd: pytest.CaptureFixture[str]) -> None:
    api.get("/api/health/live", **{"X-Forwarded-For": "203.0.113.7"})

    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["client"] for line in lines if line["event"] == "request"] == ["203.0.113.7"]


def test_a_proxy_alone_says_that_it_was_called_by_tls(api: Api, behind_proxies: None, settings: Any) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.SECURE_HSTS_SECONDS = 60

    def is_secure(peer: str) -> bool:
        answer = api.client.get("/api/health/live", headers={"X-Forwarded-Proto": "https"}, REMOTE_ADDR=peer)
        return "Strict-Transport-Security" in answer

    assert is_secure("10.0.0.8")
    assert not is_secure("203.0.113.7")
