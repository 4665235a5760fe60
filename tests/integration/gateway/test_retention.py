"""``store.keep_days``: a gateway, and ``omni watch``, remove old requests by themselves."""

import time
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.cli.commands.watch import _retention
from omni_cli.config import set_value
from omni_cli.domain.errors import ConfigError
from omni_cli.gateway import app as gateway_app
from omni_cli.simulator import Simulator
from omni_cli.store.ledger import LedgerStore
from tests.gateway_server import serving
from tests.unit.test_partitions import DAY_MS, add_calls


def test_a_gateway_keeps_what_the_settings_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_app, "_RETENTION_S", 0.1)
    with Simulator(seed=1) as sim, serving(tmp_path, sim) as served:
        app = served.app
        with pytest.raises(ConfigError, match="63 or more"):
            set_value(app.paths, "store.keep_days", "30")
        now = app.now_ms()
        old = add_calls(app.store, [now - 80 * DAY_MS, now - 70 * DAY_MS])
        new = add_calls(app.store, [now - 60 * DAY_MS])
        set_value(app.paths, "store.keep_days", "63")
        for _ in range(200):
            left = {row.id for row in LedgerStore(app.store).recent(limit=9)}
            if left == {*new}:
                break
            time.sleep(0.05)
        assert left == {*new}
        assert not {*old} & left
        for _ in range(100):  # the entry is written after the last of them went
            entry = app.audit.entries(limit=1)[0]
            if entry.action == "prune":
                break
            time.sleep(0.02)
        assert '"by": "store.keep_days"' in str(entry.after)
    with App({"OMNI_HOME": str(tmp_path), "USER": "test"}) as later:
        add_calls(later.store, [now - 75 * DAY_MS])
        assert _retention(later).run() == []  # this day's is done
        later.store.set_meta("retained_at", str(now - DAY_MS - 1))
        (alert,) = _retention(later).run()
        assert "1 request" in alert.text
