"""Who does what: roles, rules and chains."""

from omni_cli.domain.models import Chain, ChainLink, Role, RoleModel, Rule
from omni_cli.records import Lock
from omni_cli.store.port import Table, read

_ROLE_ROWS = """
SELECT name, description, model, priority
FROM roles LEFT JOIN role_models ON role = name
{where} ORDER BY name, priority, model
"""
_CHAIN_ROWS = """
SELECT name, max_cost_multiple, any_cost, free_to_paid, hedge_ms, model, max_retries, timeout_ms
FROM chains LEFT JOIN chain_links ON chain = name
{where} ORDER BY name, position
"""


class AssignmentStore(Table):
    def roles(self) -> list[Role]:
        return self._roles("", None)

    def role(self, name: str) -> Role | None:
        return next(iter(self._roles("WHERE name = :name", name)), None)

    def _roles(self, where: str, name: str | None) -> list[Role]:
        found: dict[str, Role] = {}
        for row in self._store.db.execute(_ROLE_ROWS.format(where=where), {"name": name}):
            role = found.get(row["name"]) or Role(row["name"], row["description"])
            models = role.models
            if row["model"] is not None:
                models = (*models, RoleModel(row["model"], row["priority"]))
            found[role.name] = Role(role.name, role.description, models)
        return list(found.values())

    def put_role(self, role: Role) -> None:
        with self._store.transaction(Lock.FLEET) as db:
            db.execute(
                "INSERT INTO roles (name, description) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET description = excluded.description",
                (role.name, role.description),
            )
            db.execute("DELETE FROM role_models WHERE role = ?", (role.name,))
            db.executemany(
                "INSERT INTO role_models (role, model, priority) VALUES (?, ?, ?)",
                [(role.name, item.model, item.priority) for item in role.models],
            )

    def delete_role(self, name: str) -> None:
        with self._store.transaction(Lock.FLEET) as db:
            db.execute("DELETE FROM roles WHERE name = ?", (name,))

    def rules(self) -> list[Rule]:
        """In the order they are tried: priority, then age."""
        rows = self._store.db.execute("SELECT * FROM rules ORDER BY priority, id")
        return [read(Rule, row, enabled=bool(row["enabled"])) for row in rows]

    def put_rule(self, rule: Rule) -> int:
        """``rule.id`` 0 adds a new one; returns its id."""
        with self._store.transaction(Lock.FLEET) as db:
            cursor = db.execute(
                "INSERT INTO rules (id, condition, model, priority, enabled)"
                " VALUES (coalesce(?, (SELECT coalesce(max(id), 0) + 1 FROM rules)), ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET"
                " condition = excluded.condition, model = excluded.model,"
                " priority = excluded.priority, enabled = excluded.enabled RETURNING id",
                (rule.id or None, rule.condition, rule.model, rule.priority, int(rule.enabled)),
            )
            return int(cursor.fetchall()[0][0])

    def delete_rule(self, rule_id: int) -> None:
        with self._store.transaction(Lock.FLEET) as db:
            db.execute("DELETE FROM rules WHERE id = ?", (rule_id,))

    def chains(self) -> list[Chain]:
        return self._chains("", None)

    def chain(self, name: str) -> Chain | None:
        return next(iter(self._chains("WHERE name = :name", name)), None)

    def _chains(self, where: str, name: str | None) -> list[Chain]:
        found: dict[str, Chain] = {}
        for row in self._store.db.execute(_CHAIN_ROWS.format(where=where), {"name": name}):
            links = found[row["name"]].links if row["name"] in found else ()
            if row["model"] is not None:
                links = (*links, ChainLink(row["model"], row["max_retries"], row["timeout_ms"]))
            found[row["name"]] = Chain(
                row["name"],
                links,
                row["max_cost_multiple"],
                None if row["free_to_paid"] is None else bool(row["free_to_paid"]),
                row["hedge_ms"],
                bool(row["any_cost"]),
            )
        return list(found.values())

    def put_chain(self, chain: Chain) -> None:
        with self._store.transaction(Lock.FLEET) as db:
            db.execute(
                "INSERT INTO chains (name, max_cost_multiple, any_cost, free_to_paid, hedge_ms)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
                " max_cost_multiple = excluded.max_cost_multiple,"
                " any_cost = excluded.any_cost,"
                " free_to_paid = excluded.free_to_paid,"
                " hedge_ms = excluded.hedge_ms",
                (
                    chain.name,
                    chain.max_cost_multiple,
                    int(chain.any_cost),
                    None if chain.allow_free_to_paid is None else int(chain.allow_free_to_paid),
                    chain.hedge_ms,
                ),
            )
            db.execute("DELETE FROM chain_links WHERE chain = ?", (chain.name,))
            db.executemany(
                "INSERT INTO chain_links (chain, position, model, max_retries, timeout_ms)"
                " VALUES (?, ?, ?, ?, ?)",
                [
                    (chain.name, position, link.model, link.max_retries, link.timeout_ms)
                    for position, link in enumerate(chain.links)
                ],
            )

    def rename_chain(self, name: str, new_name: str) -> None:
        with self._store.transaction(Lock.FLEET) as db:
            db.execute("UPDATE chains SET name = ? WHERE name = ?", (new_name, name))

    def delete_chain(self, name: str) -> None:
        with self._store.transaction(Lock.FLEET) as db:
            db.execute("DELETE FROM chains WHERE name = ?", (name,))
