"""Hosts that must lead out of this machine's networks, at the moment of connecting.

An organisation says where its own provider is, and its name may lead elsewhere tomorrow than when
it was looked at (DNS rebinding). So the name is looked up once, what it means is judged, and that
address is connected to; Host and TLS keep the name.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping

from omni_cli.domain.errors import ConnectionFailed, OmniError
from omni_cli.domain.hosts import is_public

#: Whether a host and its port must lead outside.
Outside = Callable[[str, int], bool]


def nowhere(_host: str, _port: int) -> bool:
    """No host must."""
    return False


class Guarded:
    """As the fleet was when it was last looked at, which whoever owns this does when it changes.
    A host that was nobody's then is looked for anew: calls may be planned by a newer fleet.

    Args:
        look: by (host, port) of each provider, whether it must lead outside. May raise OmniError.
    """

    def __init__(self, look: Callable[[], Mapping[tuple[str, int], bool]]) -> None:
        self._look = look
        self._origins = look()

    def renew(self) -> None:
        """Raises OmniError."""
        self._origins = self._look()

    def __call__(self, host: str, port: int) -> bool:
        origin = host, port
        if origin not in self._origins:
            with contextlib.suppress(OmniError):  # nor did anybody read a newer fleet
                self.renew()
        return self._origins.get(origin, False)


async def addresses_outside(host: str, port: int) -> list[str]:
    """Where to connect to, in the resolver's order.

    Raises:
        ConnectionFailed: any address of the host is within this machine's networks.
        OSError: nobody knows the host.
    """
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(
        None, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    )
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses or not all(is_public(address) for address in addresses):
        fault = ConnectionFailed(
            f"{host} leads into the gateway's own network: nothing was sent there",
            hint="who runs the gateway allows it: omni config set "
            "general.org_private_addresses true",
        )
        fault.reached = False
        raise fault
    return addresses
