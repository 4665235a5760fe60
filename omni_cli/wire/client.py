"""A protocol as providers are told it: ports.ProviderAdapter, and what the gateway asks more."""

from collections.abc import Callable, Mapping

from omni_cli.domain.chat import Usage
from omni_cli.domain.embeddings import Texts, Vectors
from omni_cli.domain.errors import ProviderError
from omni_cli.ports import Endpoint, HttpCall, ProviderAdapter, SentBody
from omni_cli.wire import faults
from omni_cli.wire.facts import Facts
from omni_cli.wire.values import unsupported


class Client(Facts, ProviderAdapter):
    """The base of every protocol's client."""

    def explain(self, status: int, headers: Mapping[str, str], body: str) -> ProviderError:
        return faults.explain(status, headers, body)

    def wish_usage(self, sent: SentBody) -> bool:
        """Ask in a caller's own body for its stream's usage; whether the caller had not.

        Asked of protocols only that ``tells_usage_on_wish``.
        """
        del sent
        return False

    def mend(self, sent: SentBody, body: bytes) -> None:
        """Mend in a caller's own body what this provider's kind is known to refuse, such as ids of
        calls that another one's model gave.

        Args:
            body: the same as it came: looked at first, as it is fine most of the time.
        """

    def forget_thoughts(self, sent: SentBody, refused: Callable[[str], bool]) -> bool:
        """Leave out of a caller's own body what models have thought; whether there was any.

        Args:
            refused: told a thought's signature, or what it is encrypted as; whether it has to go.
        """
        del sent, refused
        return False

    def passing(self, what: str, wire_name: str, endpoint: Endpoint) -> HttpCall:
        """Where a body of one of ``passes`` goes. Raises BadRequest: the protocol has no such."""
        del wire_name, endpoint
        raise unsupported(f"/{what}", self.name)

    def passed_usage(self, sent: SentBody, body: bytes) -> Usage | None:
        """What an answer that goes on as it came has used; None: nothing tells.

        Args:
            body: of a stream its last events.
        """
        del sent, body
        return None

    def embed(self, texts: Texts, wire_name: str, endpoint: Endpoint) -> HttpCall:
        """Raises BadRequest: the protocol has no vectors."""
        del texts, wire_name, endpoint
        raise unsupported("embeddings", self.name)

    def vectors_usage(self, body: bytes) -> Usage | None:
        """The tokens of an answer whose vectors go on as they came. Raises Malformed."""
        return self.vectors(body).usage

    def vectors(self, body: bytes) -> Vectors:
        """Raises Malformed."""
        del body
        raise unsupported("embeddings", self.name)
