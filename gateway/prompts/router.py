"""Which version a call gets. Pure: a table and a user in, a route out."""

from collections.abc import Mapping
from hashlib import sha256

from msgspec import structs

from gateway.errors import UnknownPrompt
from gateway.types import STABLE, Arm, Call, Route, RoutingTable

BASIS = 10_000


def bucket(salt: str, candidate: str, user: str) -> int:
    """A user's place in [0, 10,000), uniform and fixed for a release: ``SHA-256(salt ‖ candidate ‖ user) mod 10⁴``.

    ``candidate`` is ``name@version``; every release draws a salt of its own unless it is given one, so that the same
    users are not the first to see every change. The parts are length-prefixed: no two different triples read alike.
    """
    text = "".join(f"{len(part)}:{part}" for part in (salt, candidate, user))
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big") % BASIS


def choose_arm(route: Route, user: str) -> Arm:
    """The arm of a user. Within a release weights only grow, so that assignments nest: nobody goes back.

    No user: the stable arm.
    """
    if user and len(route.arms) > 1:
        place = bucket(route.salt, route.arms[-1].version.ref, user)
        for arm in route.arms[1:]:
            if place < arm.weight:
                return arm
            place -= arm.weight
    return route.arms[0]


def in_evidence_sample(route: Route, user: str) -> bool:
    """Whether this user's calls bypass the cache while the release is open: the same share of users of every arm."""
    if not (user and route.release and route.evidence_share):
        return False
    return bucket(f"{route.salt}/evidence", route.arms[-1].version.ref, user) < route.evidence_share


class Router:
    """Holds an immutable table that is swapped whole."""

    def __init__(self, table: RoutingTable | None = None) -> None:
        self._table = RoutingTable()
        self._routes: Mapping[tuple[str, str], Route] = {}
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
        """The call with version, arm and release. A call that already has a version keeps it."""
        if call.version is not None or not call.prompt:
            return call
        route = self.find(call.tenant, call.prompt)
        if call.pinned:
            return self._pin(call, route)
        arm = choose_arm(route, call.user)
        return structs.replace(
            call,
            version=arm.version,
            arm=arm.name,
            release=route.release,
            weight=arm.weight,
            evidence=in_evidence_sample(route, call.user),
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


def describe(route: Route, user: str = "") -> dict[str, object]:
    """What is active, for whom: plain JSON for people and machines."""
    answer: dict[str, object] = {
        "prompt": route.prompt,
        "stable": route.stable.version,
        "release": route.release or None,
        "arms": [
            {"arm": arm.name, "version": arm.version.version, "share_of_users": arm.weight / BASIS}
            for arm in route.arms
        ],
    }
    if user:
        arm = choose_arm(route, user)
        answer["user"] = {"arm": arm.name, "version": arm.version.version}
    return answer


def stable_only(route: Route) -> Route:
    """The route without its release."""
    arm = structs.replace(route.arms[0], name=STABLE, weight=BASIS)
    return structs.replace(route, arms=(arm,), release="", salt="", evidence_share=0)
