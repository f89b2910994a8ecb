"""Which version a call gets. Pure: a table and a user in, a route out."""

from collections.abc import Mapping

from msgspec import structs

from gateway.errors import UnknownPrompt
from gateway.prompts.lease import Lease
from gateway.prompts.splits import BASIS, choose, in_evidence_sample
from gateway.types import STABLE, Call, Route, RoutingTable


class Router:
    """Holds an immutable table that is swapped whole."""

    def __init__(self, table: RoutingTable | None = None) -> None:
        self._table = RoutingTable()
        self._routes: Mapping[tuple[str, str], Route] = {}
        self.lease = Lease()
        if table:
            self.swap(table)

    @property
    def table(self) -> RoutingTable:
        return self._table

    def swap(self, table: RoutingTable) -> bool:
        """Serve by this table from the next call on. An older revision is refused; returns whether it was taken."""
        if table.revision < self._table.revision:
            return False
        self._routes = {(route.tenant, route.prompt): route for route in table.routes}
        self._table = table
        return True

    def find(self, tenant: str, prompt: str) -> Route:
        """Raises UnknownPrompt, whether the prompt does not exist or is another tenant's."""
        route = self._routes.get((tenant, prompt))
        if route is None:
            raise UnknownPrompt(f"no prompt named {prompt!r} is active")
        return route

    def route(self, call: Call) -> Call:
        """The call with version, arm and what chose it. A call that already has a version keeps it."""
        if call.version is not None or not call.prompt:
            return call
        route = self.find(call.tenant, call.prompt)
        if call.pinned:
            return self._pin(call, route)
        choice = choose(route, call.user, call.traits)
        return structs.replace(
            call,
            version=choice.arm.version,
            arm=choice.arm.name,
            release=route.release,
            weight=choice.weight,
            evidence=in_evidence_sample(route, call.user),
            experiment=route.experiment,
            segment=choice.segment,
            propensity=choice.propensity,
            baseline=route.stable if route.fall_back and choice.arm is not route.arms[0] else None,
        )

    @staticmethod
    def _pin(call: Call, route: Route) -> Call:
        for arm in route.arms:
            if arm.version.version == call.pinned:
                return structs.replace(call, version=arm.version, arm="", weight=0)
        active = ", ".join(arm.version.version for arm in route.arms)
        raise UnknownPrompt(
            f"version {call.pinned} of {call.prompt!r} is not active",
            hint=f"Active: {active}; or leave the version out.",
        )


def by_baseline(came: Call, failed: Call) -> Call | None:
    """The call as the baseline answers it in place of the arm that failed; None where nobody is to, or has already.

    ``came``: the call before variables were bound. What drew the arm stays on it, whatever table holds by now.
    """
    if failed.baseline is None or failed.version is None:
        return None
    return structs.replace(
        came,
        version=failed.baseline,
        arm=STABLE,
        release="",
        weight=failed.weight,
        evidence=failed.evidence,
        experiment=failed.experiment,
        segment=failed.segment,
        propensity=failed.propensity,
        baseline=None,
        fell_back_from=failed.version.version,
    )


def describe(route: Route, user: str = "", traits: Mapping[str, str] | None = None) -> dict[str, object]:
    """What is active, for whom: plain JSON for people and machines."""
    answer: dict[str, object] = {
        "prompt": route.prompt,
        "stable": route.stable.version,
        "release": route.release or None,
        "experiment": _experiment(route),
        "arms": [
            {"arm": arm.name, "version": arm.version.version, "share_of_users": arm.weight / BASIS}
            for arm in route.arms
        ],
    }
    if user:
        choice = choose(route, user, traits or {})
        answer["user"] = {"arm": choice.arm.name, "version": choice.arm.version.version}
    return answer


def _experiment(route: Route) -> dict[str, object] | None:
    if not route.experiment:
        return None
    versions = [arm.version.version for arm in route.arms]
    return {
        "id": route.experiment,
        "policy": route.policy,
        "epoch": route.epoch,
        "fall_back": route.fall_back,
        "context_keys": list(route.context_keys),
        "segments": {
            segment: {version: weight / BASIS for version, weight in zip(versions, weights, strict=True)}
            for segment, weights in sorted(route.segments.items())
        },
    }


def stable_only(route: Route) -> Route:
    """The route without its release or experiment."""
    arm = structs.replace(route.arms[0], name=STABLE, weight=BASIS)
    return Route(tenant=route.tenant, prompt=route.prompt, arms=(arm,))
