"""Find the client's address of a request, behind the proxies that are trusted to name it."""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from django.conf import settings

Address = IPv4Address | IPv6Address
CLIENT = "takhin.client"
# A chain of proxies is short. The client itself made up the rest of a longer header.
MOST_HOPS = 32
# The size of the network that one subscriber gets (RFC 6177); addresses within it cost nothing.
SUBSCRIBER_BITS = 64


def client_of(meta: dict[str, Any]) -> str:
    """Return the client's address: the peer's, or what trusted proxies report in X-Forwarded-For or Forwarded.

    Each proxy appends the address that called it, so the right-most address that is not a trusted proxy is the
    client's. Anyone can forge the addresses to the left of it. A proxy sets one of the headers and may pass the other
    one through unchanged, so if both are present and disagree, the peer counts as the client. See RFC 7239.
    """
    known: str | None = meta.get(CLIENT)
    if known is None:
        known = meta[CLIENT] = _find(meta)
    return known


def _find(meta: dict[str, Any]) -> str:
    given = meta.get("REMOTE_ADDR", "")
    peer = _parse(given)
    if peer is None:
        return str(given)
    forwarded = meta.get("HTTP_X_FORWARDED_FOR", ""), meta.get("HTTP_FORWARDED", "")
    if forwarded == ("", "") or not _is_trusted(peer):
        return _text_of(peer)
    listed = _hops(forwarded[0]), _nodes(forwarded[1])
    named = {_first_untrusted(peer, hops) for hops in listed if hops}
    return str(named.pop() if len(named) == 1 else peer)


def comes_from_trusted_proxy(meta: dict[str, Any]) -> bool:
    peer = _parse(meta.get("REMOTE_ADDR", ""))
    return peer is not None and _is_trusted(peer)


def subscriber_of(client: str) -> str:
    """Return the address that limits count by. For IPv6 it is the whole /64, because a client has all of it."""
    address = _parse(client)
    if not isinstance(address, IPv6Address):
        return client
    return str(ip_network((int(address), SUBSCRIBER_BITS), strict=False).network_address)


def _is_trusted(address: Address) -> bool:
    return any(address in network for network in settings.TAKHIN_TRUSTED_PROXIES)


def _first_untrusted(peer: Address, hops: list[str]) -> Address:
    found = peer
    for hop in reversed(hops):
        address = _parse(hop)
        if address is None:
            break
        found = address
        if not _is_trusted(address):
            break
    return found


def _hops(header: str) -> list[str]:
    return header.rsplit(",", MOST_HOPS)[-MOST_HOPS:] if header.strip() else []


def _nodes(header: str) -> list[str]:
    """Return the `for` parameter of each element of a Forwarded header, or an empty string if it has none."""
    nodes = (re.search(r'(?:^|;)\s*for\s*=\s*("[^"]*"|[^;"\s]+)', hop, re.IGNORECASE) for hop in _hops(header))
    return [node[1] if node is not None else "" for node in nodes]


_text_of = lru_cache(4096)(str)


@lru_cache(4096)
def _parse(text: str) -> Address | None:
    """Parse an address as proxies write it: bare, quoted, in brackets, or with a port. Return None for other text."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
