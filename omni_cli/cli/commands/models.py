"""``omni models``: what there is, what it costs, what is at work."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct

from omni_cli.bootstrap import App
from omni_cli.cli.common import (
    JsonFlag,
    TokenRates,
    YesFlag,
    agree_to_leaving,
    complete_catalogue,
    complete_models,
    complete_providers,
    confirmed,
    grouped,
    money,
    numbers,
    omni,
    words,
)
from omni_cli.cli.render import answer, emit_json, note, out, paint
from omni_cli.cli.tables import View
from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.domain.models import ModelInfo, fold_alias, retirement_words
from omni_cli.domain.record import replace
from omni_cli.domain.words import meant
from omni_cli.services.fleet.browse import Filters, Listed
from omni_cli.services.fleet.describe import model_document, price_document, uses_document
from omni_cli.services.money.prices import utc_day

if TYPE_CHECKING:  # lists, the common case, change nothing
    from omni_cli.services.fleet.model_changes import ModelChange

app = typer.Typer(rich_markup_mode=None, help="Models, prices, aliases; the catalogue.")

Model = Annotated[str, typer.Argument(autocompletion=complete_models, help="Id or alias.")]
Known = Annotated[str, typer.Argument(autocompletion=complete_catalogue, help="Id or alias.")]
Type = Annotated[str | None, typer.Option("--type", help="text, vision or multimodal.")]


class Rates(TokenRates, frozen=True):
    """What a model costs, as options."""

    free: Annotated[bool, typer.Option("--free", help="It costs nothing.")] = False


class Facts(Struct, frozen=True):
    """What is said of a model, as options."""

    name: Annotated[str | None, typer.Option("--name", help="The name to show.")] = None
    alias: Annotated[
        list[str] | None, typer.Option("--alias", help="A short name; repeatable.")
    ] = None
    context: Annotated[int | None, typer.Option("--context", help="Context window, tokens.")] = None
    max_output: Annotated[
        int | None, typer.Option("--max-output", help="Longest answer, tokens.")
    ] = None
    capability: Annotated[
        list[str] | None,
        typer.Option("--capability", help="coding, reasoning, creativity, speed: coding=95."),
    ] = None
    badge: Annotated[
        list[str] | None,
        typer.Option("--badge", help="vision, function-calling, json-mode, streaming, reasoning."),
    ] = None
    parameters_b: Annotated[float | None, typer.Option("--parameters-b", help="Billions.")] = None
    kind: Type = None
    strength: Annotated[list[str] | None, typer.Option("--strength", help="Repeatable.")] = None
    recommended_for: Annotated[
        list[str] | None,
        typer.Option("--recommended-for", help="What it is good for; repeatable."),
    ] = None
    token_weight: Annotated[
        list[str] | None,
        typer.Option("--token-weight", help="Scale of omni's estimate: input=1.1."),
    ] = None
    gives: Annotated[
        list[str] | None,
        typer.Option("--gives", help="What it writes: text, embedding, image, audio, video."),
    ] = None

    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--setting",
            help="Of calls to it, NAME=NUMBER or NAME=none: timeout_ms, max_retries, "
            "retry_delay_ms, rate_limit_rpm, batch_size.",
        ),
    ] = None

    def change(self) -> "ModelChange":
        """Raises UsageError."""
        from omni_cli.services.fleet.model_changes import ModelChange, settings_in

        return ModelChange(
            name=self.name,
            aliases=[text.lower() for text in words(self.alias)],
            context_window=self.context,
            max_output=self.max_output,
            type=self.kind,
            badges=words(self.badge),
            scores=numbers(self.capability, "--capability"),
            parameters_b=self.parameters_b,
            strengths=words(self.strength),
            recommended_for=words(self.recommended_for),
            token_weights=numbers(self.token_weight, "--token-weight"),
            gives=words(self.gives),
            settings=settings_in(words(self.setting)),
        )


@app.command("list")
@grouped
def list_(
    search: Annotated[list[str] | None, typer.Argument(help="Words in id, name or alias.")] = None,
    every: Annotated[bool, typer.Option("--all", help="The whole catalogue.")] = False,
    provider: Annotated[
        list[str] | None, typer.Option(autocompletion=complete_providers, help="Repeatable.")
    ] = None,
    status: Annotated[
        list[str] | None, typer.Option(help="active, standby or disabled; repeatable.")
    ] = None,
    capability: Annotated[
        list[str] | None, typer.Option(help="A badge or a scored capability; repeatable.")
    ] = None,
    kind: Type = None,
    max_price_in: Annotated[
        str | None, typer.Option("--max-price-in", help="USD per 1M input tokens.")
    ] = None,
    free: Annotated[bool, typer.Option("--free", help="Only what costs nothing.")] = False,
    quality: Annotated[str | None, typer.Option(help="high, medium or basic.")] = None,
    speed: Annotated[str | None, typer.Option(help="fast, medium or slow.")] = None,
    min_context: Annotated[int | None, typer.Option(help="Tokens.")] = None,
    sort: Annotated[
        str, typer.Option(help="name, provider, cost, context, quality, speed, popularity.")
    ] = "provider",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Cards instead of a table.")] = False,
    *,
    view: View,
) -> None:
    """Models at work; with --all or filters by --status also those that could be.

    Without --all: of your providers, all but those on standby.
    """
    for value in status or ():
        if value not in ("active", "standby", "disabled"):
            raise UsageError(f"--status is active, standby or disabled, not {value!r}")
    filters = Filters(
        providers=provider or (),
        statuses=status or (() if every else ("active", "disabled")),
        capabilities=capability or (),
        type=kind,
        search=" ".join(search) if search else None,
        max_price_in=money(max_price_in, "--max-price-in"),
        free=free,
        quality=quality,
        speed=speed,
        min_context=min_context,
    )
    with omni() as omni_app:
        connected = {item.slug for item in omni_app.providers.all()}
        known = omni_app.models
        models = known.all() if every else known.of_providers(connected, filters.statuses)
        rows = omni_app.browser.find(models, filters, sort)
        if not rows:
            _check_providers(filters.providers, connected | {one.provider for one in known.all()})
        idle = 0 if every or status else known.standing_by(connected)
    shown = rows[:limit]
    from omni_cli.cli.model_view import list_models, print_grid

    if grid and shown and not view.data:
        print_grid(shown)
    else:
        list_models(
            view,
            shown,
            lambda: [model_document(row) for row in shown],
            popularity=sort == "popularity",
        )
    if view.data:
        return
    if len(shown) < len(rows):
        note(f"{len(rows) - len(shown):,} more: without --limit")
    if not rows and search and not every:
        note(f"omni models list {' '.join(search)} --all looks through the whole catalogue")
    elif not every and not status:
        if idle:
            note(f"{idle:,} more of your providers stand by: omni models list --status standby")
        elif not connected:
            note("no providers yet: omni init; omni models list --all shows the catalogue")


def _check_providers(named: Iterable[str], known: Iterable[str]) -> None:
    """Raises NotFound: one of these has no model, whatever is asked of it."""
    known = set(known)
    for slug in words(named):
        if slug not in known:
            raise NotFound(
                f"no provider {slug!r} in the fleet or the catalogue", hint=meant(slug, known)
            )


@app.command()
def show(model: Known, as_json: JsonFlag = False) -> None:
    """Everything about one model: prices with source and date, scores, who uses it."""
    from omni_cli.services.fleet.fleet import uses_of

    with omni() as omni_app:
        row = omni_app.browser.listed(omni_app.fleet.model(model))
        uses = uses_of(omni_app.assignments, row.model.id)
    if as_json:
        emit_json(model_document(row) | uses_document(uses))
    else:
        from omni_cli.cli.model_view import print_model

        print_model(row, uses, utc_day(omni_app.now_ms()))


@app.command()
@grouped
def add(
    model: Annotated[
        str, typer.Argument(autocompletion=complete_catalogue, help="PROVIDER/WIRE_NAME")
    ],
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            autocompletion=complete_catalogue,
            help="The model that it is: an Azure deployment has its facts and price.",
        ),
    ] = None,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
    *,
    rates: Rates,
    facts: Facts,
) -> None:
    """Put a model to work: one from the catalogue, or any other its provider serves.

    Prices are US dollars per 1,000,000 tokens. Without one the cost stays unknown, never zero.
    Bedrock's and Vertex AI's names tell which model they are; of an Azure deployment say it:

    omni models add azure/my-deployment --like openai/gpt-5.5
    """
    from omni_cli.services.fleet.model_changes import PriceChange, add_model, split_id
    from omni_cli.services.money.prices import PriceBook

    change, price = facts.change(), PriceChange(rates.given(), {}, rates.free)
    with omni() as omni_app:
        slugs = [provider.slug for provider in omni_app.providers.all()]
        if "/" not in model and ":" not in model:
            found = omni_app.fleet.model(model)  # an alias of the catalogue
            slug, wire_name = found.provider, found.wire_name
        else:
            slug, wire_name = split_id(model, slugs)
        if (known := omni_app.models.get(f"{slug}/{wire_name}")) is not None:
            agree_to_leaving(omni_app, known.id, yes=yes)
        fleet, models = omni_app.fleet, omni_app.models
        book = PriceBook(omni_app.models, now_ms=omni_app.now_ms())
        held = book.current(f"{slug}/{wire_name}")
        if held is None or held.price.state == "unknown":
            like = like or omni_app.same_model(slug, wire_name)
        fresh, new = confirmed(
            lambda sure: add_model(
                fleet, models, slug, wire_name, change, price, like=like, sure=sure
            ),
            yes,
        )
        row = omni_app.browser.listed(fresh)
    if as_json:
        emit_json(model_document(row))
        return
    out(f"{'added' if new else 'activated'} {fresh.id}{_price_words(row)}")
    if like is not None and not fresh.is_system:
        note(f"facts and price are those of {like}; another one: --like MODEL")
    if "text" not in fresh.output_types:
        kinds = " and ".join(fresh.output_types)
        note(f"it writes {kinds}: the router never chooses it; --gives text if it chats")
    if row.price is None or row.price.price.state == "unknown":
        note(
            "price unknown: its calls are recorded without a cost; "
            f"omni models price {fresh.id} --price-in USD --price-out USD sets it"
        )


@app.command()
@grouped
def edit(
    model: Known,
    as_json: JsonFlag = False,
    *,
    facts: Facts,
) -> None:
    """Change what is named; updates of the catalogue leave it so."""
    from omni_cli.services.fleet.model_changes import edit_model

    with omni() as omni_app:
        row = omni_app.browser.listed(edit_model(omni_app.fleet, model, facts.change()))
    answer(model_document(row), f"changed {row.model.id}", as_json=as_json)


@app.command()
def activate(model: Known, yes: YesFlag = False) -> None:
    """Let the router choose it."""
    _set_status(model, "active", yes=yes)


@app.command()
def standby(model: Model) -> None:
    """Keep it ready, but let the router pass it by."""
    _set_status(model, "standby")


@app.command()
def disable(model: Model) -> None:
    """Never call it."""
    _set_status(model, "disabled")


@app.command()
def remove(model: Model) -> None:
    """Delete a model that you added; hide one of the catalogue (models add brings it back)."""
    with omni() as omni_app:
        gone = omni_app.fleet.remove_model(model)
    out(f"{'hid' if gone.is_system else 'removed'} {gone.id}")


@app.command()
def alias(
    model: Known,
    names: Annotated[list[str], typer.Argument(help="Short names.")],
    drop: Annotated[bool, typer.Option("--remove", help="Take them away.")] = False,
) -> None:
    """Give a model short names, or take them away."""
    with omni() as omni_app:
        found = omni_app.fleet.model(model)
        if drop:
            folded = [fold_alias(name) for name in names]
            missing = [name for name in folded if name not in found.aliases]
            if missing:
                raise NotFound(f"{missing[0]!r} is no alias of {found.id}")
            aliases = tuple(name for name in found.aliases if name not in folded)
        else:
            aliases = tuple(dict.fromkeys((*found.aliases, *(name.lower() for name in names))))
        omni_app.fleet.put_model(replace(found, aliases=aliases), set_fields=("aliases",))
    out(f"{found.id}: {', '.join(aliases) or 'no aliases'}")


@app.command()
@grouped
def price(
    model: Known,
    price_reasoning: Annotated[
        str | None, typer.Option("--price-reasoning", help="USD per 1M reasoning tokens.")
    ] = None,
    per_request: Annotated[str | None, typer.Option(help="USD for each request.")] = None,
    minimum: Annotated[str | None, typer.Option(help="USD that a request costs at least.")] = None,
    free_requests: Annotated[int | None, typer.Option(min=0, help="Free ones a month.")] = None,
    per_image: Annotated[str | None, typer.Option(help="USD for an image made.")] = None,
    per_audio_hour: Annotated[str | None, typer.Option(help="USD for an hour heard.")] = None,
    per_million_characters: Annotated[
        str | None, typer.Option(help="USD for 1M characters spoken.")
    ] = None,
    per_thousand_searches: Annotated[
        str | None, typer.Option(help="USD for 1,000 searches of a ranking.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Back to the catalogue's price.")] = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
    *,
    rates: Rates,
) -> None:
    """Show or set what a model costs. Yours wins over the catalogue's, and updates keep it.

    What was charged already stays as it was.
    """
    from omni_cli.services.fleet.model_changes import PriceChange, set_price

    given = rates.given()
    if (reasoning := money(price_reasoning, "--price-reasoning")) is not None:
        given["reasoning"] = reasoning
    terms: dict[str, Any] = {}
    if (fee := money(per_request, "--per-request")) is not None:
        terms["per_request_usd"] = fee
    if (least := money(minimum, "--minimum")) is not None:
        terms["minimum_usd"] = least
    for field, text in {
        "per_image": per_image,
        "per_audio_hour": per_audio_hour,
        "per_million_characters": per_million_characters,
        "per_thousand_searches": per_thousand_searches,
    }.items():
        if (rate := money(text, f"--{field.replace('_', '-')}")) is not None:
            terms[f"{field}_usd"] = rate
    if free_requests is not None:
        terms["free_requests_per_month"] = free_requests
    change = PriceChange(given, terms, rates.free)
    if reset and change:
        raise UsageError("--reset takes no price beside it")
    with omni() as omni_app:
        found = _priced_model(omni_app, model)
        if reset:
            omni_app.fleet.reset_price(found.id)
        elif change:
            confirmed(lambda sure: set_price(omni_app.fleet, found.id, change, sure=sure), yes)
        row = omni_app.browser.listed(found)
    answer(
        {"model": found.id, **price_document(row.price)},
        f"{found.id}{_price_words(row)}",
        as_json=as_json,
    )


@app.command()
def update(
    file: Annotated[
        Path | None, typer.Option("--file", help="A downloaded data file instead of the network.")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="A mirror of the data file.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Refresh the catalogue's models and prices. Your own prices and edits stay."""
    if file is not None and url is not None:
        raise UsageError("--file and --url exclude each other")
    from omni_cli.catalog import update as catalogue

    with omni() as omni_app:
        report = catalogue.update(
            omni_app.store,
            omni_app.models,
            omni_app.transport,
            file=file,
            url=url,
            now_ms=omni_app.now_ms(),
        )
    if as_json:
        emit_json(report)
        return
    out(
        f"catalogue of {report['checked']}: {report['models']:,} models, "
        f"{len(report['added'])} new, {len(report['repriced'])} with another price"
    )
    for model_id in report["added"]:
        out(f"  new      {model_id}")
    for model_id in report["repriced"]:
        out(f"  price    {model_id}")


@app.command()
def compare(
    models: Annotated[
        list[str], typer.Argument(autocompletion=complete_catalogue, help="Ids or aliases.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Facts and prices side by side. Calls nothing; omni compare asks them."""
    with omni() as omni_app:
        rows = [omni_app.browser.listed(omni_app.fleet.model(name)) for name in models]
    if len({row.model.id for row in rows}) < 2:
        raise UsageError("name two models or more")
    if as_json:
        emit_json([model_document(row) for row in rows])
    else:
        from omni_cli.cli.model_view import print_comparison

        print_comparison(rows)


def _price_words(row: Listed) -> str:
    from omni_cli.domain.prices import rate_text

    stored = row.price
    if stored is None or stored.price.state == "unknown":
        return ""
    text = "free"
    if stored.price.state == "priced":
        rates = [rate_text(stored.price, kind) for kind in ("input", "output")]
        text = f"{rates[0]} in, {rates[1]} out per 1M"
    return paint(f"  {text} ({stored.origin})", "dim")


def _priced_model(omni_app: App, text: str) -> "ModelInfo":
    """The model meant: never one that only bears the name of calls that an import recorded."""
    try:
        found: ModelInfo | None = omni_app.fleet.model(text)
    except NotFound:
        found = None
    if found is not None and found.id == text:
        return found
    strangers = omni_app.repricing.strangers(text)
    if found is not None and not strangers:
        return found
    if not strangers:
        return omni_app.fleet.model(text)
    command = f"omni reprice --model {strangers[0]} --price-in USD --price-out USD --apply"
    if found is None:
        raise NotFound(
            f"{text!r} is no model of the fleet, but the name of imported calls", hint=command
        )
    raise UsageError(
        f"{text!r} may mean {found.id} or the imported calls of {', '.join(strangers)}",
        hint=f"omni models price {found.id} ..., or: {command}",
    )


def _set_status(name: str, status: str, *, yes: bool = True) -> None:
    with omni() as omni_app:
        model = omni_app.fleet.model(name)
        omni_app.fleet.provider(model.provider)
        if status == "active":
            agree_to_leaving(omni_app, model.id, yes=yes)
        if model.hidden:
            omni_app.fleet.put_model(replace(model, hidden=False), set_fields=("hidden",))
        omni_app.fleet.set_status(model.id, status)
        _warn_retired(omni_app, model.id, status)
    out(f"{model.id} is {status}")


def _warn_retired(omni_app: App, model_id: str, status: str) -> None:
    model = omni_app.fleet.model(model_id)
    if model.retired_on and status == "active":
        said = retirement_words(model.retired_on, utc_day(omni_app.now_ms()))
        note(f"its provider {said}; the router leaves it out from then on")
