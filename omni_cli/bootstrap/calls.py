"""Calls to providers, and what dead processes left."""

import time
from functools import cached_property
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from omni_cli.ports import Transport
    from omni_cli.services.engine.chat import ChatService
    from omni_cli.services.engine.recovery import Recovery
    from omni_cli.services.fleet.connection_test import ConnectionTester
    from omni_cli.services.fleet.listing import Lister
    from omni_cli.services.judge.abtest import AbTests
    from omni_cli.services.judge.check_record import CheckRecorder

from omni_cli.bootstrap.fleet import FleetParts


class Calls(FleetParts):
    """Calls to providers, and what dead processes left."""

    @cached_property
    def recovery(self) -> "Recovery":
        from omni_cli.services.engine.recovery import Recovery

        return Recovery(self.ledger, self.models, self.clock)

    def sibling(self) -> Self:
        """Another omni for another thread: its own store connection, the same transport."""
        made = type(self)(
            self.env, clock=self.clock, durable=self._durable, cwd=self._cwd, note=self.note
        )
        made._borrows = True
        made.__dict__["transport"] = self.transport
        return made

    @cached_property
    def transport(self) -> "Transport":
        from omni_cli.providers.http import HttpTransport

        return HttpTransport()

    @cached_property
    def check_recorder(self) -> "CheckRecorder":
        from omni_cli.services.judge.check_record import CheckRecorder

        return CheckRecorder(self.windows, self.providers, self.breakers)

    @cached_property
    def tester(self) -> "ConnectionTester":
        from omni_cli.services.fleet.connection_test import ConnectionTester
        from omni_cli.wire.registry import adapter

        return ConnectionTester(
            recorder=self.check_recorder,
            claims=self.store,
            adapters=adapter,
            transport=lambda: self.transport,
            key=self.key,
            clock=self.clock,
            timer=time.perf_counter,
        )

    @cached_property
    def lister(self) -> "Lister":
        """Providers' lists of models, for checks and discovery."""
        from omni_cli.services.fleet.listing import Lister
        from omni_cli.wire.registry import adapter

        return Lister(adapter, lambda: self.transport, self.key)

    @cached_property
    def abtests(self) -> "AbTests":
        """A/B tests of roles; also the router's seam to them."""
        import random

        from omni_cli.services.judge.abtest import AbTests
        from omni_cli.store.abtests import AbTestStore

        return AbTests(
            tests=AbTestStore(self.store),
            fleet=lambda: self.fleet,
            clock=self.clock,
            rng=random.Random(),
            note=self.note,
        )

    @cached_property
    def chat(self) -> "ChatService":
        import random
        import secrets

        from omni_cli.services.engine.answer_cache import AnswerCache
        from omni_cli.services.engine.attempts import Target
        from omni_cli.services.engine.chat import ChatService
        from omni_cli.services.engine.dispatch import Dispatcher
        from omni_cli.wire.registry import adapter

        def room(request_id: int, target: Target) -> int | None:
            row = self.ledger.get(request_id)
            if row is None:
                return None
            return self.budgets.room_nusd(target.provider.slug, target.model.id, row)

        chat = self.config.chat
        return ChatService(
            models=self.models,
            assignments=self.assignments,
            learning=self.learning,
            conversations=self.conversations,
            ledger=self.ledger,
            routing=self.routing,
            dispatcher=Dispatcher(
                ledger=self.ledger,
                transport=self.transport,
                adapters=adapter,
                keys=self.key,
                health=self.health,
                clock=self.clock,
                sleep=time.sleep,
                rng=random.Random(),
                room=room,
                await_turn=self.ledger.await_turn,
                reclaim=self.recovery.run,
                note=self.note,
                limit_s=chat.limit_s,
            ),
            recovery=self.recovery,
            names=self.names,
            clock=self.clock,
            random_bits=lambda: secrets.randbits(20),
            premium_model=self.config.general.premium_model,
            default_retries=chat.max_retries,
            default_timeout_ms=int(chat.timeout_s * 1000),
            experiments=self.abtests,
            answers=AnswerCache(self.answers, clock=self.clock),
        )
