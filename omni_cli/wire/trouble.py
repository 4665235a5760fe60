"""From an HTTP library's exception to a typed error in plain words, without importing it.

Classes are told apart by name. The library's own words are used only where they cannot hold a
secret: a header's value is part of some of them.
"""

import socket
import ssl

from omni_cli.domain.errors import (
    AuthError,
    BadRequest,
    ConnectionFailed,
    Malformed,
    ProviderError,
    TimedOut,
    Untrusted,
)
from omni_cli.ports import HttpCall
from omni_cli.wire.scrub import scrub
from omni_cli.wire.values import host_of, place_of

_HINT_NETWORK = "Check the network and the provider's base URL."
_HINT_LOCAL = "Is the server running? Check its port in the provider's base URL."
_HINT_PROXY = "Check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY."
_SLOW = "{} did not accept a connection in time"
_FOREIGN = "{} does not speak HTTP"
_HINT_TIMEOUT = "Try again, or raise the link's timeout_ms."


#: Exceptions raised before the first byte of a request has left.
_UNSENT = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "InvalidURL",
        "LocalProtocolError",
        "PoolTimeout",
        "ProxyError",
        "UnicodeError",
        "UnsupportedProtocol",
    }
)


def fault(exc: BaseException, call: HttpCall, timeout_s: float) -> ProviderError:
    """The typed error of what went wrong between here and the call's host."""
    names = {cls.__name__ for cls in type(exc).__mro__}
    if isinstance(exc, ProviderError):
        return _own(exc, call, timeout_s)
    error = _fault(exc, names, call, timeout_s)
    error.reached = names.isdisjoint(_UNSENT)
    return error


def _own(exc: ProviderError, call: HttpCall, timeout_s: float) -> ProviderError:
    """What our own client says for every caller, in the words of a call that a person made."""
    host = host_of(call.url) or call.url
    error: ProviderError = exc
    if isinstance(exc, TimedOut):
        error = silent(call, timeout_s)
        if not exc.reached:
            error = TimedOut(_SLOW.format(host), hint=_HINT_NETWORK)
    elif isinstance(exc, Malformed):
        error = Malformed(_FOREIGN.format(host), hint=_HINT_LOCAL)
    elif isinstance(exc, ConnectionFailed) and (exc.__cause__ is not None or not exc.hint):
        error = _connection(exc, host, place_of(call.url))
    error.reached = exc.reached
    return error


def _fault(exc: BaseException, names: set[str], call: HttpCall, timeout_s: float) -> ProviderError:
    host = host_of(call.url) or call.url
    if "ConnectTimeout" in names:
        return TimedOut(_SLOW.format(host), hint=_HINT_NETWORK)
    if "PoolTimeout" in names:
        return TimedOut(f"No connection to {host} became free within {timeout_s:g} s")
    if "TimeoutException" in names or isinstance(exc, TimeoutError):
        return silent(call, timeout_s)
    if "ProxyError" in names:
        return ConnectionFailed(f"The proxy refused the way to {host}", hint=_HINT_PROXY)
    if "InvalidURL" in names or "UnsupportedProtocol" in names:
        return BadRequest(
            f"{scrub(call.url)} is no HTTP address",
            hint="Set the provider's base URL, with https://",
        )
    if "LocalProtocolError" in names or isinstance(exc, UnicodeError):
        return AuthError(
            "A header cannot be sent: its value holds a line break or a letter outside ASCII",
            hint="Enter the provider's key again: omni keys",
        )
    if "DecodingError" in names:
        return Malformed(f"The answer of {host} cannot be decompressed")
    if "RemoteProtocolError" in names and not _closed(exc):
        return Malformed(_FOREIGN.format(host), hint=_HINT_LOCAL)
    return _connection(exc, host, place_of(call.url))


def silent(call: HttpCall, timeout_s: float) -> TimedOut:
    """The error for a host that sends nothing of the answer for ``timeout_s`` seconds."""
    host = host_of(call.url)
    return TimedOut(f"{host} sent nothing for {timeout_s:g} s", hint=_HINT_TIMEOUT)


def _closed(exc: BaseException) -> bool:
    words = str(exc).lower()
    return "disconnect" in words or "closed" in words


def _connection(exc: BaseException, host: str, place: str) -> ConnectionFailed:
    for cause in _causes(exc):
        if not isinstance(cause, OSError):
            continue
        if isinstance(cause, socket.gaierror):
            return ConnectionFailed(f"The name {host} cannot be resolved", hint=_HINT_NETWORK)
        if isinstance(cause, ConnectionRefusedError):
            return ConnectionFailed(f"Nothing listens at {place}", hint=_HINT_LOCAL)
        if isinstance(cause, ConnectionResetError | BrokenPipeError):
            return ConnectionFailed(f"{host} reset the connection", hint="Try again.")
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Untrusted(
                f"The certificate of {host} is not trusted: {scrub(cause.verify_message)}",
                hint="A proxy that inspects traffic needs its certificate in SSL_CERT_FILE.",
            )
        if isinstance(cause, ssl.SSLError):
            return ConnectionFailed(
                f"No TLS connection to {host}: {scrub(cause.reason or 'handshake failed')}",
                hint="Does the base URL need http:// instead of https://?",
            )
        if isinstance(cause, FileNotFoundError):
            return ConnectionFailed(
                "The file of trusted certificates is missing", hint="Check SSL_CERT_FILE."
            )
    if isinstance(exc, ImportError | ValueError):
        return ConnectionFailed("The proxy setting cannot be used", hint=_HINT_PROXY)
    if _closed(exc):
        return ConnectionFailed(f"{host} closed the connection", hint="Try again.")
    return ConnectionFailed(f"No connection to {host}", hint=_HINT_NETWORK)


def _causes(exc: BaseException | None) -> list[BaseException]:
    """The exception and what led to it, nearest first."""
    found: list[BaseException] = []
    pending = [exc]
    while pending:
        current = pending.pop(0)
        if current is None or current in found:
            continue
        found.append(current)
        if isinstance(current, BaseExceptionGroup):  # asyncio tries several addresses at once
            pending.extend(current.exceptions)
        pending += [current.__cause__, current.__context__]
    return found
