"""Models, their aliases and their prices."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec
from msgspec import Struct, field

from omni_cli.domain.models import ModelInfo, fold_alias
from omni_cli.domain.prices import Price, price_from_json, price_to_json
from omni_cli.records import Lock, StoredPrice
from omni_cli.store.port import Row, Table

_UPSERT = """
INSERT INTO models (id, provider, wire_name, name, type, context_window, max_output,
                    parameters_b, status, is_system, is_default, hidden, details, user_fields,
                    added_at, updated_at)
VALUES (:id, :provider, :wire_name, :name, :type, :context_window, :max_output,
        :parameters_b, :status, :is_system, :is_default, :hidden, :details, :user_fields,
        :now, :now)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, type = excluded.type, context_window = excluded.context_window,
    max_output = excluded.max_output, parameters_b = excluded.parameters_b,
    status = excluded.status, is_default = excluded.is_default, hidden = excluded.hidden,
    details = excluded.details, user_fields = excluded.user_fields,
    updated_at = excluded.updated_at
"""
_CURRENT_PRICES = """
SELECT id, model, origin, state, price, effective_from FROM prices
WHERE superseded_at IS NULL {where}
ORDER BY model, origin = 'user', origin = 'provider', effective_from
"""


class _Details(Struct, frozen=True):
    """What is asked of no row: kept as one JSON text, whose fields are a model's own."""

    input_types: tuple[str, ...] = ("text",)
    output_types: tuple[str, ...] = ("text",)
    badges: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    scores: Mapping[str, int | float] = field(default_factory=dict)
    score_sources: Mapping[str, str] = field(default_factory=dict)
    strengths: tuple[str, ...] = ()
    recommended_for: tuple[str, ...] = ()
    token_weights: Mapping[str, int | float] = field(default_factory=dict)
    settings: Mapping[str, int] = field(default_factory=dict)
    retired_on: str | None = None


#: The same text comes again with every look at the fleet, and in every session.
_READ = lru_cache(2_048)(msgspec.json.Decoder(_Details).decode)
#: Of so many models the names are asked for by model.
_FEW = 100


def _marks(values: Collection[str]) -> str:
    return ",".join("?" * len(values))


class ModelStore(Table):
    def all(self, *, provider: str | None = None, hidden: bool = False) -> list[ModelInfo]:
        """Sorted by id; hidden models only when asked for."""
        sql = "SELECT * FROM models WHERE (CAST(:provider AS TEXT) IS NULL OR provider = :provider)"
        if not hidden:
            sql += " AND hidden = 0"
        rows = self._store.db.execute(f"{sql} ORDER BY id", {"provider": provider}).fetchall()
        aliases = self._aliases([row["id"] for row in rows])
        return [_model(row, aliases.get(row["id"], ())) for row in rows]

    def names(self) -> list[tuple[str, tuple[str, ...]]]:
        """Of every model, hidden ones too, its id and aliases."""
        aliases = self._aliases()
        ids = self._store.db.execute("SELECT id FROM models ORDER BY id").fetchall()
        return [(model, aliases.get(model, ())) for (model,) in ids]

    def of_providers(self, slugs: Iterable[str], statuses: Collection[str] = ()) -> list[ModelInfo]:
        """The models of these providers, sorted by id, hidden ones left out; with ``statuses``
        those that have one of them."""
        wanted = list(slugs)
        if not wanted:
            return []
        sql = f"SELECT * FROM models WHERE provider IN ({_marks(wanted)}) AND hidden = 0"  # noqa: S608  # only marks
        if statuses:
            sql += f" AND status IN ({_marks(statuses)})"
        rows = self._store.db.execute(f"{sql} ORDER BY id", [*wanted, *statuses]).fetchall()
        aliases = self._aliases([row["id"] for row in rows])
        return [_model(row, aliases.get(row["id"], ())) for row in rows]

    def standing_by(self, slugs: Iterable[str]) -> int:
        """How many models of these providers are on standby, hidden ones left out."""
        wanted = list(slugs)
        sql = f"SELECT COUNT(*) FROM models WHERE provider IN ({_marks(wanted)}) AND hidden = 0"  # noqa: S608  # only marks
        return self._value(int, f"{sql} AND status = 'standby'", wanted) or 0

    def get(self, model_id: str) -> ModelInfo | None:
        row = self._store.db.execute("SELECT * FROM models WHERE id = ?", (model_id,)).fetchone()
        if row is None:
            return None
        aliases = self._store.db.execute(
            "SELECT alias FROM aliases WHERE model = ? ORDER BY alias", (model_id,)
        )
        return _model(row, tuple(alias for (alias,) in aliases))

    def find(self, name: str) -> list[str]:
        """Ids that ``name`` may mean: an id, an alias, or a wire name at any provider."""
        name = name.strip()
        db = self._store.db
        exact = db.execute("SELECT id FROM models WHERE id = ?", (name,)).fetchone()
        if exact:
            return [exact[0]]
        folded = fold_alias(name)
        row = db.execute("SELECT model FROM aliases WHERE alias = ?", (folded,)).fetchone()
        if row:
            return [row[0]]
        rows = db.execute("SELECT id FROM models WHERE wire_name = ? ORDER BY id", (name,))
        return [model_id for (model_id,) in rows]

    def put(self, model: ModelInfo, *, now_ms: int, user_fields: Iterable[str] = ()) -> None:
        with self._store.transaction(Lock.FLEET) as db:
            db.execute(_UPSERT, _row(model, now_ms, user_fields))
            db.execute("DELETE FROM aliases WHERE model = ?", (model.id,))
            db.executemany(
                "INSERT INTO aliases (alias, model, is_system) VALUES (?, ?, ?) ON CONFLICT (alias)"
                " DO UPDATE SET model = excluded.model, is_system = excluded.is_system",
                [(fold_alias(alias), model.id, int(model.is_system)) for alias in model.aliases],
            )

    def touched(self) -> dict[str, frozenset[str]]:
        """Fields the user set by hand, by model: catalogue updates leave them alone."""
        return {
            row["id"]: frozenset(msgspec.json.decode(row["user_fields"]))
            for row in self._store.db.execute(
                "SELECT id, user_fields FROM models WHERE user_fields != '[]'"
            )
        }

    def user_fields(self, model_id: str) -> frozenset[str]:
        """The same of one model."""
        row = self._store.db.execute(
            "SELECT user_fields FROM models WHERE id = ?", (model_id,)
        ).fetchone()
        return frozenset(msgspec.json.decode(row[0])) if row else frozenset()

    def own(self) -> list[ModelInfo]:
        """Models that the user added or changed, hidden ones included, sorted by id."""
        rows = self._store.db.execute(
            "SELECT * FROM models WHERE is_system = 0 OR user_fields != '[]' ORDER BY id"
        ).fetchall()
        aliases = self._aliases([row["id"] for row in rows])
        return [_model(row, aliases.get(row["id"], ())) for row in rows]

    def own_scores(self) -> dict[str, dict[str, float]]:
        """Capability scores that the user gave, by model. (``own`` takes 25 ms for its names.)"""
        found: dict[str, dict[str, float]] = {}
        for row in self._store.db.execute(
            """SELECT id, details FROM models WHERE user_fields LIKE '%"scores"%'"""
        ):
            details = msgspec.json.decode(row["details"])
            sources = details.get("score_sources", {})
            found[row["id"]] = {
                name: float(score)
                for name, score in details.get("scores", {}).items()
                if sources.get(name, "user") == "user"
            }
        return found

    def sizes(self) -> dict[str, float]:
        """Billions of parameters by model, where they are known."""
        return {
            model: float(size)
            for model, size in self._store.db.execute(
                "SELECT id, parameters_b FROM models WHERE parameters_b > 0"
            )
        }

    def user_prices(self) -> dict[str, StoredPrice]:
        """The user's own current prices by model."""
        rows = self._store.db.execute(
            _CURRENT_PRICES.format(where="AND origin = 'user'")
        ).fetchall()
        return {
            row["model"]: StoredPrice(
                row["id"], row["origin"], price_from_json(msgspec.json.decode(row["price"]))
            )
            for row in rows
        }

    def delete(self, model_id: str) -> None:
        with self._store.transaction(Lock.FLEET) as db:
            db.execute("DELETE FROM models WHERE id = ?", (model_id,))
            db.execute(
                "DELETE FROM prices WHERE model = ? AND id NOT IN"
                " (SELECT price FROM attempts WHERE price IS NOT NULL)",
                (model_id,),
            )

    def prices(self, wanted: Iterable[str] | None = None) -> dict[str, list[StoredPrice]]:
        """Current prices by model, of all or of those ``wanted``: catalogue rows by date first,
        the user's own last."""
        ids = None if wanted is None else list(wanted)
        where = "" if ids is None else f"AND model IN ({','.join('?' * len(ids))})"
        found: dict[str, list[StoredPrice]] = {}
        for row in self._store.db.execute(_CURRENT_PRICES.format(where=where), ids or ()):
            price = price_from_json(msgspec.json.decode(row["price"]))
            found.setdefault(row["model"], []).append(StoredPrice(row["id"], row["origin"], price))
        return found

    def price_by_id(self, price_id: int) -> Price | None:
        row = self._store.db.execute(
            "SELECT price FROM prices WHERE id = ?", (price_id,)
        ).fetchone()
        return None if row is None else price_from_json(msgspec.json.decode(row[0]))

    def set_price(self, model_id: str, price: Price, *, origin: str, now_ms: int) -> int:
        """Record a price; older ones of the same origin and start date are superseded, not
        removed. Returns the row's id; an unchanged price keeps its row."""
        text = json.dumps(price_to_json(price), sort_keys=True)
        with self._store.transaction(Lock.FLEET) as db:
            current = db.execute(
                "SELECT id, price FROM prices WHERE model = ? AND origin = ?"
                " AND coalesce(effective_from, '') = coalesce(?, '') AND superseded_at IS NULL",
                (model_id, origin, price.effective_from),
            ).fetchone()
            if current and current["price"] == text:
                return int(current["id"])
            if current:
                db.execute(
                    "UPDATE prices SET superseded_at = ? WHERE id = ?", (now_ms, current["id"])
                )
            cursor = db.execute(
                "INSERT INTO prices (model, origin, state, price, effective_from, recorded_at)"
                " VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
                (model_id, origin, price.state, text, price.effective_from, now_ms),
            )
            return int(cursor.fetchall()[0][0])

    def drop_prices(self, model_id: str, *, origin: str, now_ms: int) -> None:
        """Supersede every current price of this origin."""
        with self._store.transaction(Lock.FLEET) as db:
            db.execute(
                "UPDATE prices SET superseded_at = ? WHERE model = ? AND origin = ?"
                " AND superseded_at IS NULL",
                (now_ms, model_id, origin),
            )

    def _aliases(self, models: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
        """By model; of few models theirs alone, where all are thousands."""
        few = models if len(models) <= _FEW else ()
        only = f" WHERE model IN ({_marks(few)})" if few else ""
        found: dict[str, tuple[str, ...]] = {}
        for alias, model in self._store.db.execute(
            f"SELECT alias, model FROM aliases{only} ORDER BY alias",  # noqa: S608  # only marks
            list(few),
        ):
            found[model] = (*found.get(model, ()), alias)
        return found


def _row(model: ModelInfo, now_ms: int, user_fields: Iterable[str]) -> dict[str, object]:
    details = {
        name: sorted(value) if isinstance(value := getattr(model, name), frozenset) else value
        for name in _Details.__struct_fields__
        if getattr(model, name)
    }
    return {
        "id": model.id,
        "provider": model.provider,
        "wire_name": model.wire_name,
        "name": model.name,
        "type": model.type,
        "context_window": model.context_window,
        "max_output": model.max_output,
        "parameters_b": model.parameters_b,
        "status": model.status,
        "is_system": int(model.is_system),
        "is_default": int(model.is_default),
        "hidden": int(model.hidden),
        "details": json.dumps(details, sort_keys=True, default=dict),
        "user_fields": json.dumps(sorted(user_fields)),
        "now": now_ms,
    }


def _model(row: Row, aliases: tuple[str, ...]) -> ModelInfo:
    details = _READ(row["details"])
    return ModelInfo(
        id=row["id"],
        provider=row["provider"],
        wire_name=row["wire_name"],
        name=row["name"],
        aliases=aliases,
        type=row["type"],
        context_window=row["context_window"],
        max_output=row["max_output"],
        input_types=details.input_types,
        output_types=details.output_types,
        badges=details.badges,
        lacks=details.lacks,
        scores=details.scores,
        score_sources=details.score_sources,
        strengths=details.strengths,
        recommended_for=details.recommended_for,
        parameters_b=row["parameters_b"],
        token_weights=details.token_weights,
        settings=details.settings,
        retired_on=details.retired_on,
        status=row["status"],
        is_system=bool(row["is_system"]),
        is_default=bool(row["is_default"]),
        hidden=bool(row["hidden"]),
        added_at=row["added_at"],
        updated_at=row["updated_at"],
    )
