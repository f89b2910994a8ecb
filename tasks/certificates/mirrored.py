"""The mirror stage in a certificate: what the last look at mirrored calls saw. Pure."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from gateway.storage.models import ReleaseStepRow
from tasks.releases.mirror_view import e_value


def last_mirror(steps: Sequence[ReleaseStepRow]) -> dict[str, Any] | None:
    """Of the last look at mirrored calls, which covers all of them; None where the release had no mirror stage."""
    told = [step for step in steps if step.evidence.get("mirror")]
    if not told:
        return None
    found = told[-1].evidence["mirror"]
    decision = found["decision"]
    return {
        "step": told[-1].seq,
        "looks": len(told),
        "outcome": decision["outcome"],
        "pairs": decision["pairs"],
        "needed": decision["needed"],
        "hours": round(decision["elapsed"] / 3600, 2),
        "alpha": decision["alpha"],
        "metrics": [_metric(one) for one in decision["metrics"]],
        "excluded_pairs": dict(found["excluded_pairs"]),
        "described": dict(found["described"]),
    }


def _metric(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "metric": one["metric"],
        "candidate": one["candidate_mean"],
        "stable": one["stable_mean"],
        "pairs": one["pairs"],
        "lost": one["losses"],
        "won": one["wins"],
        "median_ratio": one["median_ratio"],
        "e_worse": e_value(one["log_e_max"]),
        "refused_at": e_value(one["log_threshold"]) if one["decides"] else None,
    }


def in_words(mirror: Mapping[str, Any]) -> str:
    """One line: "50 of 50 pairs in 6.2 hours, gone on with; failure lost 0 won 0 (E 1 of 40)"."""
    outcome = {"go_on": "gone on with", "hold": "ended before a verdict"}.get(mirror["outcome"], mirror["outcome"])
    rails = ", ".join(
        f"{one['metric']} lost {one['lost']} won {one['won']} (E {one['e_worse']:.3g} of {one['refused_at']:g})"
        for one in mirror["metrics"]
        if one["refused_at"] is not None
    )
    return f"{mirror['pairs']} of {mirror['needed']} pairs in {mirror['hours']:g} hours, {outcome}; {rails}"


def section(mirror: Mapping[str, Any] | None) -> str:
    """Of the page; empty without a mirror stage."""
    if mirror is None:
        return ""
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{cell}</td>"
            for cell in (
                escape(one["metric"]),
                _number(one["candidate"]),
                _number(one["stable"]),
                str(one["pairs"]),
                f"{one['lost']} / {one['won']}",
                _number(one["median_ratio"]),
                f"{one['e_worse']:.3g}"
                if one["refused_at"] is None
                else f"{one['e_worse']:.3g} of {one['refused_at']:g}",
            )
        )
        + "</tr>"
        for one in mirror["metrics"]
    )
    heads = "".join(
        f"<th>{head}</th>"
        for head in ("metric", "candidate", "stable", "pairs", "lost / won", "times as much", "E worse")
    )
    shown = mirror["described"]
    alike = (
        f" Answers have {shown['words']:.0f} words on average, {shown['words_before']:.0f} before;"
        f" {100 * shown['shared_words']:.0f} % of their words are shared, and {100 * shown['same_text']:.0f} % say the"
        " same word by word."
        if shown.get("words") is not None
        else ""
    )
    left_out = "; ".join(f"{count} {escape(why)}" for why, count in mirror["excluded_pairs"].items())
    out = f"<p class='note'>Pairs left out: {left_out}.</p>" if left_out else ""
    words = (
        f"{mirror['pairs']} live questions of {mirror['needed']} were answered by both versions within"
        f" {mirror['hours']:g} hours, the candidate's answers unseen by any user.{alike}"
    )
    return (
        f"<section><h2>Mirrored calls</h2><p>{words}</p><div class='wide'><table class=\"figures\"><thead><tr>{heads}"
        f"</tr></thead><tbody>{rows}</tbody></table></div>{out}</section>"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
