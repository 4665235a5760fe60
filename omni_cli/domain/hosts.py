"""Which addresses are this machine's own."""


def is_loopback(host: str) -> bool:
    """True for addresses that only this machine reaches."""
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_here(url: str) -> bool:
    """Whether a URL leads to this machine."""
    from urllib.parse import urlsplit

    return is_loopback(urlsplit(url).hostname or "")
