"""A certificate as a page: one HTML file without script or network that reads well on paper."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from tasks.certificates import mirrored
from tasks.certificates.charts import E_VALUES, SHARES, WORTH, release_charts
from tasks.certificates.drawing import Drawing
from tasks.certificates.page_style import STYLE
from tasks.releases.judged import judged_rows
from tasks.specs.commit import CHANGED

_STAMP = {"promoted": "good", "rolled_back": "bad", "refused": "bad", "error": "bad", "inconclusive": "open"}
_SHOWN_HOLDS = 3
_WHY = {
    "window_open": "their time for further calls and scores was not over yet",
    "waiting": "not enough users had come on the other arm yet",
    "not_concurrent_stable": "saw the version before, while no canary user was there to be compared with",
    "not_concurrent_canary": "saw the candidate, while too few were there to be compared with",
    "other_arm_first": "had been on the other arm first",
    "repeated": "counted already",
}


_SHARES = ("right, as judged", "corrected", "from", "to")


def page(record: Mapping[str, Any]) -> str:
    """The whole document. Every text of the record is escaped."""
    release, verdict = record["release"], record["verdict"]
    title = f"{release['prompt']} {release['version']}"
    stage = str(verdict["stage"]).replace("_", " ")
    charts = release_charts(record["steps"], record["business"])
    parts = [
        f'<header><p class="kicker">Certificate of release</p><h1>{_t(title)}</h1>'
        f'<p class="stamp {_STAMP.get(verdict["stage"], "open")}">{_t(stage)}</p>'
        f'<p class="lead">{_t(_sentence(verdict["reason"]))}</p></header>',
        _facts(release, record["digests"]),
        _promise(record["promise"]),
        _gate(record["gate"]),
        _approvals(record["approvals"]),
        mirrored.section(record.get("mirror")),
        _canary(record["steps"], charts),
        _left_out(record["left_out"]),
        _judged(record.get("judged")),
        _business(record["business"], charts),
        _evidence(record["evidence"]),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_t(title)}: {_t(stage)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body><main>\n{body}\n'
        f"</main></body></html>\n"
    )


def _facts(release: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    rows = [
        ("Release", f"<code>{_t(release['id'])}</code>"),
        ("Before", _t(release["baseline"] or "nothing: the first version")),
        ("Author", _t(release["author"] or "–")),
        ("Change", _t(release["changelog"] or "–")),
        ("Source", _t(release["source"] or "–")),
        ("Commit", _commit(release["commit"])),
        ("Opened", _t(release["opened_at"])),
        ("Closed", _t(release["closed_at"])),
        *((f"SHA-256 of {name.replace('_', ' ')}", f"<code>{_t(value)}</code>") for name, value in digests.items()),
    ]
    return "<section><dl>" + "".join(f"<dt>{_t(name)}</dt><dd>{value}</dd>" for name, value in rows) + "</dl></section>"


def _commit(commit: str | None) -> str:
    if not commit:
        return "–"
    more = " and changes that were not committed" if commit.endswith(CHANGED) else ""
    return f"<code>{_t(commit.removesuffix(CHANGED))}</code>{more}"


def _promise(promise: Mapping[str, Any]) -> str:
    bound = f'<p class="bound">{_t(promise["bound"])}</p>' if promise["bound"] else ""
    items = "".join(f"<li>{_t(one)}</li>" for one in promise["assumptions"])
    rests = f"<h3>It rests on</h3><ol>{items}</ol>" if items else ""
    return f"<section><h2>What is promised</h2>{bound}<p>{_t(promise['in_words'])}</p>{rests}</section>"


def _gate(gate: Mapping[str, Any] | None) -> str:
    if gate is None:
        return "<section><h2>Gate</h2><p>The gate gave no verdict.</p></section>"
    against = f"against {gate['against']}" if gate["against"] else "on absolute floors"
    reasons = "".join(f"<li>{_t(reason)}</li>" for reason in gate["reasons"])
    rows = [
        (
            _t(one["metric"]),
            number(one["candidate"]),
            number(one["baseline"]),
            number(one["difference"], sign=True),
            f"{number(one['lower'], sign=True)} … {number(one['upper'], sign=True)}"
            if one["lower"] is not None
            else "–",
            number(-one["margin"], sign=True),
            number(one["floor"]),
        )
        for one in gate["metrics"]
    ]
    heads = ("metric", "candidate", gate["against"] or "before", "difference", "interval", "margin", "floor")
    return (
        f"<section class='whole'><h2>Gate: {_t(gate['outcome'])}</h2>"
        f"<p>{_t(gate['items'])} items {_t(against)}, {_t(gate['at'])}.</p>"
        f"<ul>{reasons}</ul>{_table(heads, rows)}</section>"
    )


def _approvals(approvals: Sequence[Mapping[str, Any]]) -> str:
    if not approvals:
        return "<section><h2>Approval</h2><p>The prompt asks for none.</p></section>"
    rows = [
        (
            _t("approved" if one["approved"] else "rejected"),
            _t(one["by"] or "–"),
            _t(one["at"]),
            _t(one["reason"] or "–"),
        )
        for one in approvals
    ]
    return f"<section><h2>Approval</h2>{_table(('', 'by', 'at', 'reason'), rows, figures=False)}</section>"


def _canary(steps: Sequence[Mapping[str, Any]], charts: Mapping[str, Drawing]) -> str:
    rows = []
    for step in _telling(steps):
        users = step["users"]
        seen = f"{users.get('canary', 0)} / {users.get('stable', 0)}" if users else "–"
        rows.append(
            (
                _t(step["step"]),
                f"<nobr>{_t(step['at'][:16] if step['at'] else '')}</nobr>",
                _t(step["what"].replace("_", " ")),
                f"<nobr>{step['share_percent']:g} %</nobr>",
                seen,
                _t(step["blocks"] if step["blocks"] is not None else "–"),
                *(_e_values(step["guardrails"]) or ("–",) * 2 * len(_metrics(steps))),
            )
        )
    decided = [step for step in steps if step["guardrails"]]
    heads = ["", "at", "what", "share", "users (canary / stable)", "blocks"]
    heads += [head for name in _metrics(steps) for head in (f"{name}: E worse", f"{name}: E not worse")]
    hidden = len(steps) - len(rows)
    note = (
        f"<p class='note'>{hidden} looks that held are left out here; the JSON record has them all.</p>"
        if hidden
        else ""
    )
    tables = _table(heads, rows) + note
    last = _last_look(decided[-1]) if decided else ""
    drawn = "".join(charts[name].inline(name) for name in (E_VALUES, SHARES) if name in charts)
    return f"<section><h2>Every step</h2>{tables}</section>{drawn}{last}"


def _telling(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """All that changed something, and the first and last looks that held."""
    held = [step["step"] for step in steps if step["what"] == "held"]
    shown = {*held[:_SHOWN_HOLDS], *held[-_SHOWN_HOLDS:]}
    return [step for step in steps if step["what"] != "held" or step["step"] in shown]


def _metrics(steps: Iterable[Mapping[str, Any]]) -> list[str]:
    names: dict[str, None] = {}
    for step in steps:
        names.update({one["metric"]: None for one in step["guardrails"]})
    return list(names)


def _e_values(guardrails: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(
        _reached(one[value], one[limit])
        for one in guardrails
        for value, limit in (("e_worse", "rolls_back_at"), ("e_not_worse", "promotes_at"))
    )


def _reached(value: float, limit: float) -> str:
    text = f"{value:.3g}"
    return f"<b>{text}</b>" if value >= limit else text


def _last_look(step: Mapping[str, Any]) -> str:
    rows = [
        (
            _t(one["metric"]),
            number(one["canary_mean"]),
            number(one["stable_mean"]),
            _t(one["blocks"]),
            f"{one['missing']['canary']} / {one['missing']['stable']}",
            f"{_reached(one['e_worse'], one['rolls_back_at'])} of {one['rolls_back_at']:g}",
            f"{_reached(one['e_not_worse'], one['promotes_at'])} of {one['promotes_at']:g}",
        )
        for one in step["guardrails"]
    ]
    heads = ("guardrail", "canary", "stable", "blocks", "without value", "E worse", "E not worse")
    ratio = step["sample_ratio"]
    split = (
        f"<p class='note'>Of the users, {ratio['canary_users']} saw the candidate and {ratio['stable_users']} did not;"
        f" {ratio['canary_users_expected']:g} were to be expected to.</p>"
        if ratio
        else ""
    )
    return f"<section class='whole'><h2>The last look</h2>{_table(heads, rows)}{split}</section>"


def _left_out(left_out: Mapping[str, Mapping[str, int]]) -> str:
    rows = [("calls", _t(reason), _t(count)) for reason, count in left_out["calls"].items()]
    rows += [("users", _t(_WHY.get(why, why.replace("_", " "))), _t(n)) for why, n in left_out["users"].items()]
    if not rows:
        return ""
    return f"<section class='whole'><h2>Left out of the evidence</h2>{_table(('', 'why', 'how many'), rows)}</section>"


def _judged(judged: Mapping[str, Any] | None) -> str:
    if not judged:
        return ""
    rows = [
        (
            _t(row["arm"]),
            "" if row["answers"] is None else _t(row["answers"]),
            *(f"{row[name]:.3f}" for name in _SHARES),
        )
        for row in judged_rows(judged)
    ]
    basis = (
        f"The judge ({judged['judge']}) errs; how often is known from {judged['labelled']} labelled examples."
        " The guardrails tested what it said. Corrected for its errors, these shares of the answers were right:"
    )
    heads = ("", "answers", "right, as judged", "corrected", "from", "to (95 %)")
    return f"<section><h2>Right answers</h2><p>{_t(basis)}</p>{_table(heads, rows)}</section>"


def _business(business: Mapping[str, Any] | None, charts: Mapping[str, Drawing]) -> str:
    if not business:
        return ""
    rows = [
        (_t(one["arm"]), _t(one["calls"]), *(money(one["per_1000_calls"][key]) for key in ("mean", "lower", "upper")))
        for one in business["arms"]
    ]
    gain = business["gain_per_1000_calls"]
    rows.append(("gain", "", *(money(gain[key]) for key in ("mean", "lower", "upper"))))
    year = business["gain_per_year"]
    rows.append(
        (
            f"gain a year ({business['calls_per_year']:,} calls)",
            "",
            *(money(year[key]) for key in ("mean", "lower", "upper")),
        )
    )
    heads = ("", "calls", "net value per 1,000 calls", "from", "to (95 %)")
    advice = f"<p>{_t(business['recommendation'])}</p><p>{_t(_testing(business))}</p>"
    drawn = charts[WORTH].inline(WORTH) if WORTH in charts else ""
    return f"<section><h2>What it is worth</h2>{advice}{_table(heads, rows)}</section>{drawn}"


def _testing(business: Mapping[str, Any]) -> str:
    """What the test cost and brought, and what a year is projected from."""
    testing, hours = business["testing"], business["observed_hours"]
    brought, times = testing["brought_per_year_usd"], testing["return"]
    words = ""
    if testing["cost_usd"] is not None:
        words = f"Testing cost {money(testing['cost_usd'])}"
        if times is not None and brought >= 0:
            often = f"{times:,.0f}" if times >= 10 else f"{times:.1f}"
            words += f"; over a year the verdict brings {money(brought)}, {often} times that"
        elif times is not None:
            words += f"; over a year the verdict costs {money(-brought)}, as far as the calls so far tell"
        words += ". "
    if business.get("calls_declared"):
        return words + "A year is projected from the declared calls per day."
    seen = f"{hours:g} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"
    doubt = "" if hours >= 24 else " That is too short to know a year by: declare value.calls_per_day."
    return f"{words}A year is projected from {seen} of this release's traffic.{doubt}"


def _evidence(evidence: Mapping[str, Any]) -> str:
    again = evidence["replay"]
    held = (
        f"Every decision was taken again from the ledger's rows when this page was made, and came out the same"
        f" (verdicts: {again['verdicts']})."
        if again["holds"]
        else f"The ledger does not hold what was decided on any more. First difference: {again['first_difference']}."
    )
    rows = [
        ("Looks", _t(evidence["looks"])),
        ("Calls that a look was shown", _t(evidence["calls"])),
        ("Calls that no look was shown", _t(evidence["late_calls"])),
        ("Sealed", "yes" if evidence["sealed"] else "not yet"),
        ("Digest of the chain", f"<code>{_t(evidence['digest'])}</code>"),
    ]
    facts = "".join(f"<dt>{_t(name)}</dt><dd>{value}</dd>" for name, value in rows)
    kind = "" if again["holds"] else ' class="alarm"'
    return f"<section><h2>Evidence</h2><p{kind}>{_t(held)}</p><dl>{facts}</dl></section>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, figures: bool = True) -> str:
    head = "".join(f"<th>{_t(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    kind = ' class="figures"' if figures else ""
    return f"<div class='wide'><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def number(value: float | None, *, sign: bool = False) -> str:
    """Three decimals; unknown as a dash."""
    if value is None:
        return "–"
    return f"{value:+.3f}".replace("-", "−") if sign else f"{value:.3f}"


def money(value: float | None) -> str:
    """US dollars."""
    return "–" if value is None else f"{'−' if value < 0 else ''}${abs(value):,.2f}"


def _sentence(text: str) -> str:
    return (text[:1].upper() + text[1:]).rstrip(".") + "." if text else ""


def _t(value: Any) -> str:
    return escape(str(value))
