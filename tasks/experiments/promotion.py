"""From an experiment to production: only on a claim that is valid at every look, or because a person says so.

A bandit's weights promote nobody. What does is the e-process that says "better than the baseline", and then promotion
is one SQL transaction: the experiment ends, a release of the version is opened and promoted, and the table is written.
"""

from dataclasses import dataclass

from sqlalchemy import Engine

from gateway.clock import Clock
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.storage.engine import writing
from gateway.storage.models import ExperimentRow, PromptVersionRow, ReleaseRow
from gateway.types import RoutingTable
from tasks.experiments import store
from tasks.experiments.history import PROMOTED, add_step
from tasks.experiments.weights import Found, evidence_of, found_now
from tasks.releases.owed import Owed, owing
from tasks.releases.rows import known_version, locked_prompt, open_experiment_of
from tasks.releases.store import Step, promote_outright
from tasks.specs.model import CanarySpec, PromptSpec
from tasks.statistics.claims import Claim


class NotShownBetter(Conflict):
    code = "not_shown_better"
    default_hint = "Say that you want it all the same: --force --by NAME."


@dataclass(frozen=True)
class Promoted:
    """The release that stands for the promotion, and the table to push."""

    release: ReleaseRow
    reason: str
    table: RoutingTable


def promote(
    engine: Engine, clock: Clock, *, experiment_id: str, version: str, author: str = "", force: bool = False
) -> Promoted:
    """Put an arm into production and end the experiment.

    Raises NotFound, NotShownBetter unless the e-process says that it is better, InvalidRequest for a promotion by
    force that nobody answers for, ExperimentInProgress beside another one of the prompt, and Conflict where another
    version than the baseline is in production by now or somebody has stopped the experiment since it was looked at.
    """
    if force and not author.strip():
        raise InvalidRequest("a promotion by force needs somebody who answers for it", hint="Say who, as in --by Ada.")
    found = found_now(engine, clock, experiment_id)
    reason = _reason(found, version, author, force)
    with writing(engine) as session:
        current = locked_prompt(session, found.row.tenant, found.row.prompt)
        row = session.get_one(ExperimentRow, found.row.id)
        if current.production != found.shown.versions[0]:
            raise Conflict(
                f"{current.production or 'nothing'} is in production by now, not {found.shown.versions[0]}",
                hint="What was compared does not serve any more. Release the version: 'promptyard release PATH'.",
            )
        if row.stage == store.STOPPED != found.row.stage:
            raise Conflict(f"experiment {row.id} was ended meanwhile: {row.reason}", hint="Ask whoever ended it.")
        store.end_experiment(session, row.id, "finished", reason, clock)
        session.flush()
        if (following := open_experiment_of(session, row.tenant, row.prompt)) is not None:
            raise store.ExperimentInProgress(f"experiment {following.id} of {row.prompt} is open")
        registered = known_version(session, row.tenant, row.prompt, version)
        evidence = {"experiment": row.id, "forced": force, **evidence_of(found.look)}
        release, table = promote_outright(
            session,
            clock,
            tenant=row.tenant,
            prompt=row.prompt,
            version=version,
            policy={"canary": _canary(registered), "experiment": row.id, "approval": "none"},
            author=author,
            step=Step("promoted", reason, owing(Owed.WARM, evidence)),
        )
        add_step(session, clock, row, PROMOTED, reason, {"release": release.id, **evidence})
        return Promoted(release, reason, table)


def _reason(found: Found, version: str, author: str, force: bool) -> str:
    versions = found.shown.versions
    if version not in versions:
        raise NotFound(f"experiment {found.row.id} has no arm {version}", hint=f"Its arms: {', '.join(versions)}.")
    arm = found.look.arms[versions.index(version)]
    if arm.standing is None:
        raise InvalidRequest(f"{version} is the baseline: it is in production already", hint="Name another arm.")
    says = arm.standing.doubt or arm.standing.comparison.in_words(version, versions[0])
    if arm.excluded:
        says = f"{version} is excluded, since more of its answers fail; {says}"
    if force:
        return f"promoted by {author} in spite of it: {says}"
    if arm.excluded or arm.standing.claim is not Claim.BETTER:
        all_the_same = "say that you want it all the same: --force --by NAME."
        if found.row.stage != store.OPEN:
            raise NotShownBetter(
                says, hint=f"It has ended, and will have no more users: start it again, or {all_the_same}"
            )
        raise NotShownBetter(
            says, hint=f"'promptyard experiment status {found.row.id}' says what it waits for; or {all_the_same}"
        )
    return f"promoted{f' by {author}' if author else ''} from experiment {found.row.id}: {says}"


def _canary(version: PromptVersionRow) -> dict[str, object]:
    """The version's own plan, for what reads a release's; nothing of it was used."""
    canary = PromptSpec.model_validate(version.spec).canary if version.spec else CanarySpec()
    return canary.model_dump(mode="json")
