"""``promptyard experiment``: A/B tests and bandits over versions. Needs SQL alone, and pushes what it sets."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.ledger_access import open_ledger
from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.settings import Settings
    from gateway.types import RoutingTable

Json = Annotated[bool, typer.Option("--json", help="Print for machines.")]
Tenant = Annotated[str, typer.Option("--tenant", help="Whose prompt; PROMPTYARD_TENANT by default.")]
By = Annotated[str, typer.Option("--by", help="Who decides; kept with the experiment.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="A/B tests and bandits over versions of a prompt.", no_args_is_help=True)
    group.command("start")(start)
    group.command("status")(status)
    group.command("stop")(stop)
    group.command("promote")(promote)
    app.add_typer(group, name="experiment")


def start(
    prompt: Annotated[str, typer.Argument(help="The prompt.")],
    policy: Annotated[str, typer.Option("--policy", help="ab, bandit or contextual.")],
    arm: Annotated[
        list[str],
        typer.Option(
            "--arm",
            help="VERSION; in an A/B test also VERSION=SHARE, relative to the others. The one in production too.",
        ),
    ],
    fall_back: Annotated[
        bool, typer.Option("--fall-back", help="A/B: the baseline answers where an arm fails.")
    ] = False,
    context: Annotated[
        list[str] | None, typer.Option("--context", help="Contextual: a key of the caller's context, such as plan.")
    ] = None,
    discount: Annotated[
        float, typer.Option("--discount", min=0.5, max=1, help="Bandit: what an outcome counts after a further one.")
    ] = 1.0,
    floor: Annotated[float, typer.Option("--floor", min=5, max=50, help="Bandit: least percent of an arm.")] = 5.0,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Bandit: new outcomes until its weights move.")] = 50,
    metric: Annotated[str, typer.Option("--metric", help="The score that arms are compared on.")] = "quality",
    alpha: Annotated[float, typer.Option("--alpha", min=0.001, max=0.2, help="P(any wrong statement, ever).")] = 0.05,
    window: Annotated[
        float, typer.Option("--window", min=1, help="Seconds of a user's answers until they count in comparisons.")
    ] = 900.0,
    max_days: Annotated[
        float, typer.Option("--max-days", min=0.01, max=365, help="Then it ends, decided or not.")
    ] = 14,
    by: By = "",
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Split live users over versions: fixed (ab), by what they earn (bandit), or that by segment (contextual).

    The version in production is the baseline; every other arm must be registered. Nothing is promoted by itself.
    """
    from pydantic import ValidationError

    from deployments.cli.experiment_view import print_started
    from gateway.clock import SystemClock
    from tasks.experiments.options import ExperimentOptions
    from tasks.experiments.weights import start_experiment

    chosen = _policy(policy)
    named = _arms(arm, chosen.value)
    settings, engine = open_ledger()
    owner = tenant or settings.tenant
    named = _baseline_first(engine, owner, prompt, named)
    asked = {"metric": metric, "discount": discount, "floor": floor / 100.0, "batch": batch, "alpha": alpha}
    asked |= {"window": window, "max_days": max_days, "context_keys": context or (), "fall_back": fall_back}
    try:
        options = ExperimentOptions.model_validate({**asked, "author": by})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidRequest(
            f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}", hint="promptyard experiment start --help"
        ) from None
    row, table = start_experiment(
        engine,
        SystemClock(),
        tenant=owner,
        prompt=prompt,
        policy=chosen,
        versions=list(named),
        shares=list(named.values()),
        options=options,
    )
    told = _push(settings, table)
    ungated = _ungated(engine, owner, prompt, list(named)[1:])
    if as_json:
        arms = [{"version": one["version"], "share": one["weight"] / 10_000} for one in row.arms]
        facts = {"id": row.id, "prompt": prompt, "policy": row.policy, "arms": arms, "without_passed_gate": ungated}
        typer.echo(json.dumps({**facts, "routing": told}))
        return
    print_started(row, options, str(told["in_words"]), ungated)


def status(
    experiment_id: Annotated[str, typer.Argument(help="Its id, or how it begins; all by default.")] = "",
    prompt: Annotated[str, typer.Option("--prompt", help="Only of this prompt.")] = "",
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """How each arm does, what may be said of it, and what it is worth; or all experiments in a table."""
    from deployments.cli.experiment_view import print_experiment, print_list
    from gateway.clock import SystemClock
    from gateway.storage.engine import reading
    from tasks.experiments.business import worth_now
    from tasks.experiments.store import experiments_of
    from tasks.experiments.view import as_plain
    from tasks.experiments.weights import found_now

    settings, engine = open_ledger()
    if not experiment_id:
        with reading(engine) as session:
            rows = experiments_of(session, tenant or settings.tenant, prompt)
        print_list(rows, as_json=as_json)
        return
    found = found_now(engine, SystemClock(), experiment_id)
    worth = worth_now(engine, found)
    if as_json:
        typer.echo(json.dumps(as_plain(found, worth), indent=2))
        return
    print_experiment(found, worth)


def stop(
    experiment_id: Annotated[str, typer.Argument(help="Its id, or how it begins.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the experiment.")] = "",
    by: By = "",
    as_json: Json = False,
) -> None:
    """End it: the baseline serves everybody again within a second."""
    from gateway.clock import SystemClock
    from tasks.experiments.weights import stop_experiment

    settings, engine = open_ledger()
    words = f"stopped{f' by {by}' if by else ' by hand'}{f': {reason}' if reason else ''}"
    row, table = stop_experiment(engine, SystemClock(), experiment_id, words)
    told = _push(settings, table)
    if as_json:
        typer.echo(json.dumps({"id": row.id, "stage": row.stage, "reason": row.reason, "routing": told}))
        return
    typer.echo(f"{row.id} is stopped: {row.prompt} {row.arms[0]['version']} serves every user.")
    typer.echo(told["in_words"])


def promote(
    experiment_id: Annotated[str, typer.Argument(help="Its id, or how it begins.")],
    version: Annotated[str, typer.Argument(help="The arm.")],
    force: Annotated[bool, typer.Option("--force", help="Although it is not shown to be better.")] = False,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Put an arm into production that is shown to be better than the baseline; the experiment ends with it."""
    from gateway.clock import SystemClock
    from tasks.experiments.promotion import promote as promoted

    settings, engine = open_ledger()
    done = promoted(engine, SystemClock(), experiment_id=experiment_id, version=version, author=by, force=force)
    told = _push(settings, done.table)
    if as_json:
        facts = {"prompt": done.release.prompt, "version": version, "release": done.release.id, "reason": done.reason}
        typer.echo(json.dumps({**facts, "routing": told}))
        return
    typer.echo(f"{done.release.prompt} {version} is in production (release {done.release.id}): {done.reason}.")
    typer.echo(told["in_words"])


def _policy(name: str) -> Any:
    from gateway.prompts.splits import POLICIES, Policy

    if name not in POLICIES:
        raise InvalidRequest(f"there is no policy {name!r}", hint=f"Choose one of: {', '.join(POLICIES)}.")
    return Policy(name)


def _arms(texts: list[str], policy: str) -> dict[str, float]:
    """Share by version; equal ones where none are given. Raises InvalidRequest."""
    parts = [text.partition("=") for text in texts]
    versions = [version.strip() for version, _, _ in parts]
    if len(set(versions)) < len(versions) or not all(versions):
        raise InvalidRequest("the arms of an experiment are different versions", hint="Name each version once.")
    given = [share for _, equals, share in parts if equals]
    if not given:
        return dict.fromkeys(versions, 1.0)
    if policy != "ab":
        raise InvalidRequest(f"a {policy} experiment sets the shares itself", hint="Name versions only: --arm 1.1.0.")
    if len(given) < len(parts):
        raise InvalidRequest("some arms have a share and some have none", hint="As in: --arm 1.0.0=70 --arm 1.1.0=30.")
    try:
        shares = [float(share) for share in given]
    except ValueError:
        raise InvalidRequest("a share is a number", hint="As in: --arm 1.0.0=70 --arm 1.1.0=30.") from None
    if min(shares) <= 0 or not sum(shares) < 1e9:
        raise InvalidRequest("each arm's share is more than 0", hint="Leave out an arm that nobody is to get.")
    return dict(zip(versions, shares, strict=True))


def _baseline_first(engine: "Engine", tenant: str, prompt: str, arms: dict[str, float]) -> dict[str, float]:
    """In any order; the version in production is the baseline. Raises NotFound, InvalidRequest."""
    from tasks.releases.store import get_prompt

    serves = get_prompt(engine, tenant, prompt).production
    if serves not in arms:
        other = f"{serves} is" if serves else "nothing is yet"
        hint = f"Add it: --arm {serves}" if serves else f"'promptyard release' brings a first version of {prompt}."
        raise InvalidRequest(f"an arm must be the version in production, and {other}", hint=hint)
    return {serves: arms[serves], **arms}


def _ungated(engine: "Engine", tenant: str, prompt: str, versions: list[str]) -> list[str]:
    """Those that no gate has passed: nothing but live users will tell how they do."""
    from tasks.releases.store import get_version

    return [one for one in versions if get_version(engine, tenant, prompt, one).verdict != "pass"]


def _push(settings: "Settings", table: "RoutingTable | None") -> dict[str, Any]:
    """The table to every gateway, and how far it got."""
    import time

    from deployments.cli.rollback import said
    from tasks.releases.publishing import publish

    if table is None:
        return {"in_words": "There is no routing table to push."}
    begun = time.monotonic()
    published = publish(settings, table, patience=2.0)
    took = 1000 * (time.monotonic() - begun)
    return {
        "revision": published.revision,
        "gateways": published.live,
        "verified": published.verified,
        "in_words": said(published, took),
    }
