"""Hosts that must lead out of this machine's networks, at the moment of connecting.

An organisation says where its own provider is, and its name may lead elsewhere tomorrow than when
it was looked at (DNS rebinding). So the name is looked up once, what it means is judged, and that
address is connected to; Host and TLS keep the name.
"""

import asyncio
import socket
from collections.abc import Callable, Collection

from omni_cli.domain.errors import ConnectionFailed
from omni_cli.domain.hosts import is_public

#: Whether a host and its port must lead outside.
Outside = Callable[[str, int], bool]


def nowhere(_host: str, _port: int) -> bool:
    """No host must."""
    return False


class Guarded:
    """Those of some (host, port) pairs, which whoever owns it brings up to date."""

    def __init__(self) -> None:
        self.origins: Collection[tuple[str, int]] = frozenset()

    def __call__(self, host: str, port: int) -> bool:
        return (host, port) in self.origins


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
