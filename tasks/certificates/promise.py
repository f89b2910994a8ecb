"""What a release promises about being wrong, and what that rests on, in words. Pure."""

from typing import Any

from gateway.storage.models import ReleaseRow
from tasks.releases.plan import statistics_policy
from tasks.releases.reconcile import canary_policy
from tasks.releases.stages import Stage


def promise(release: ReleaseRow, *, by_hand: bool, decided: bool) -> dict[str, Any]:
    """The bound that holds for this release, with its assumptions; ``bound`` is None where it has none."""
    canary = canary_policy(release)
    policy = statistics_policy(canary)
    rails = ", ".join(f"{rail.metric} ({rail.margin:g})" for rail in policy.guardrails)
    count = len(policy.guardrails)
    margins = {rail.metric: rail.margin for rail in policy.guardrails}
    facts: dict[str, Any] = {"alpha": policy.alpha, "margins": margins, "bound": None}
    if not release.baseline:
        words = "There was nothing to compare with: a first version is held against absolute floors only."
        return {**facts, "in_words": words, "assumptions": []}
    if experiment := release.policy.get("experiment"):
        words = (
            f"It was promoted from experiment {experiment}, with the words: {release.reason}. Nothing was tested by the"
            f" release itself; 'promptyard experiment status {experiment}' has the evidence."
        )
        return {**facts, "in_words": words, "assumptions": []}
    if not decided:
        words = "The release ended before any live user's evidence was weighed: no statistical claim is made."
        return {**facts, "in_words": words + _mirrored(release), "assumptions": []}
    bound = f"P(promoting a version worse than the margin on any guardrail) ≤ {policy.alpha:g}"
    words = (
        f"Had {release.version} been worse than {release.baseline} by its margin or more on any guardrail, {rails},"
        f" this procedure would have promoted it with a probability of at most {policy.alpha:g}, however often it was"
        f" looked at. Had it been no worse than tolerated on each of them, it would have been rolled back with a"
        f" probability of at most {policy.alpha:g} (each of {count} guardrails is tested at {policy.alpha:g}/{count})."
    )
    if by_hand:
        words += " This release was ended by a person, not by the procedure; the bound is about the looks before that."
    elif release.stage == Stage.INCONCLUSIVE:
        words += " It ended inconclusive: nothing is claimed about the version."
    words += _mirrored(release)
    return {**facts, "bound": bound, "in_words": words, "assumptions": list(_assumptions(release))}


def _mirrored(release: ReleaseRow) -> str:
    """What the mirror stage promises, where there was one."""
    canary = canary_policy(release)
    if canary.mirror is None:
        return ""
    return (
        f" Mirrored calls came first, one question of each user to both versions: had {release.version} been no worse"
        f" than {release.baseline} on any of them, it would have been refused there with a probability of at most"
        f" {canary.alpha:g}. Having passed them proves nothing by itself."
    )


def _assumptions(release: ReleaseRow) -> tuple[str, ...]:
    canary = canary_policy(release)
    return (
        "Which users see the candidate is decided by a hash of the release's salt and the user's id, which has nothing"
        " to do with how they fare. A user counts once, on the arm of the first eligible call.",
        "A canary user is held against stable users who came at about the same time; but for the version, users who"
        " come at the same time are alike on average.",
        f"A user's value is the mean over {canary.window:g} seconds from the first eligible call; scores count when"
        f" they arrive within {canary.scoring_grace:g} seconds after that.",
        "Quality is what the judge says. The bound is about the judge's scores; errors that it makes alike on both arms"
        " make differences look smaller, and the margin is on its scale.",
        "Answers from the cache, shared between calls or given by a fallback model, and failures outside of the prompt"
        " say nothing about it and are left out; how many is listed.",
        "The margins, α, the window and the plan of shares were fixed before the first call; they are in the first link"
        " of the digest chain.",
    )
