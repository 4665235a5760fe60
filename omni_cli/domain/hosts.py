"""What an address may look like, and which are this machine's own."""

from omni_cli.domain.patterns import Pattern

#: Azure's older API has its version in the query; nobody else has one.
_BASE_URL = Pattern(r"https?://[^\s/@?#]+(/[^\s?#]*)?(\?api-version=[\w-]+)?")


#: What people paste behind a base URL: the endpoint of an example, of any protocol.
_ENDPOINT = Pattern(
    r"/(?:chat/completions|completions|responses|embeddings|messages|api/(?:chat|generate|embed)"
    r"|models/[^/]+:\w+)/*$"
)


def base_url_in(text: str) -> str:
    """The base URL of what was pasted for one, which may be a whole endpoint."""
    found = text.strip()
    if "azure" in found or "api-version=" in found:
        from omni_cli.domain.clouds import azure_base

        found = azure_base(found)
    return _ENDPOINT.sub("", found) if "://" in found else found


def is_base_url(text: str) -> bool:
    """Where an API is: a scheme, a host, perhaps a path; no key, no query, no user name."""
    return _BASE_URL.fullmatch(text) is not None


def is_loopback(host: str) -> bool:
    """True for addresses that only this machine reaches."""
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


#: Known servers that run weights themselves (those of providers/presets.py marked local).
RUNNERS = frozenset({"ollama", "lmstudio", "vllm", "llamacpp"})
#: Calls at once that such a server on this machine is given where nobody says: it computes with
#: the machine's own memory and cores, and what it cannot run beside the others waits in its queue
#: or fails. A hosted API says by its 429s what is too much.
LOCAL_SLOTS = 8


def default_slots(slug: str, base_url: str) -> int | None:
    """The limit of a provider of this kind at this address where nobody set one; None: no limit.

    An address on this machine alone says little: a proxy to hosted models listens here, too.
    """
    return LOCAL_SLOTS if slug in RUNNERS and is_here(base_url) else None


def is_near(url: str) -> bool:
    """Whether a URL leads to this machine or into a private network."""
    import ipaddress
    from urllib.parse import urlsplit

    host = urlsplit(url).hostname or ""
    if is_loopback(host):
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host.endswith((".local", ".lan", ".internal", ".home.arpa"))


#: What 64:ff9b::/96 begins with: translators lead it to the IPv4 address at its end (RFC 6052).
_NAT64 = 0x64FF9B << 64
#: Where Azure tells its own machines of themselves (Microsoft Learn, "What is IP address
#: 168.63.129.16?"), by an address that looks like any other's.
_AZURE = "168.63.129.16"


def is_public(address: str) -> bool:
    """Whether an IP address is one of the whole internet: not this machine's, of a private network,
    of a link (clouds tell a machine's own keys there), or of several."""
    import ipaddress

    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        within = found.ipv4_mapped or found.sixtofour
        if int(found) >> 32 == _NAT64:
            within = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if within is None:
            # Only 2000::/3 is given out (IANA, IPv6 address space): Python counts old ways to write
            # an IPv4 address, and addresses of a site, among the rest.
            return int(found) >> 125 == 1 and found.is_global
        found = within
    return found.is_global and not found.is_multicast and str(found) != _AZURE


def host_and_port(url: str) -> tuple[str, int]:
    """Where a base URL leads; ("", 0) for what is none."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return "", 0


def is_here(url: str) -> bool:
    """Whether a URL leads to this machine."""
    from urllib.parse import urlsplit

    return is_loopback(urlsplit(url).hostname or "")
