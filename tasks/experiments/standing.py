"""How an arm of an experiment stands beside the baseline, from blocks of users. Pure.

Blocks (``tasks/statistics/blocks.py``) are formed within an epoch and a segment, where weights stood still: who is
compared with whom then never follows from outcomes, whatever a bandit did with them later.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.ledger.queries import ExperimentCall
from gateway.prompts.splits import Policy
from tasks.experiments.evidence import OUTCOME, FirstSight
from tasks.experiments.options import ExperimentOptions
from tasks.releases.evidence import FAILURE
from tasks.statistics.blocks import Block, BlockPlan, form_blocks, stable_users_per_block
from tasks.statistics.claims import Claim, Comparison, block_values, compare
from tasks.statistics.guardrails import Guardrail, GuardrailEvidence, weigh
from tasks.statistics.sample_ratio import SampleRatio, StepArrivals, check_sample_ratio

ALPHA_MISSING = 0.001
ALPHA_SAMPLE_RATIO = 0.001
LARGE_SEGMENT = 0.05
"""Share of the users from which a segment must agree before an arm of a contextual experiment is called better."""


@dataclass(frozen=True)
class Epoch:
    """Weights in basis points, in the order of the arms, from a moment on."""

    began: float
    weights: tuple[int, ...]
    segments: Mapping[str, tuple[int, ...]]

    def of(self, segment: str) -> tuple[int, ...]:
        return self.segments.get(segment, self.weights)


@dataclass(frozen=True)
class Shown:
    """What a look is shown. ``excluded``: when each excluded arm was, by its place; times in seconds since the epoch.

    ``known_outcomes``: how many the weights of now rest on.
    """

    policy: Policy
    options: ExperimentOptions
    versions: tuple[str, ...]
    excluded: Mapping[int, float]
    epochs: tuple[Epoch, ...]
    known_outcomes: int
    calls: Sequence[ExperimentCall]
    now: float


@dataclass(frozen=True)
class Standing:
    """How an arm stands beside the baseline. ``doubt``: why nothing may be said yet, whatever the e-values are."""

    claim: Claim
    comparison: Comparison
    by_segment: Mapping[str, Comparison]
    failures: GuardrailEvidence
    ratio: SampleRatio
    doubt: str = ""


def standing_of(shown: Shown, users: Sequence[FirstSight], arm: int) -> Standing:
    """Of the arm at that place, from users in order of their first call."""
    options, others = shown.options, len(shown.versions) - 1
    mine = [one for one in users if one.arm in (0, arm)]
    strata: dict[tuple[int, str], list[FirstSight]] = defaultdict(list)
    for one in mine:
        strata[one.epoch, one.segment].append(one)
    by_segment: dict[str, list[Block]] = defaultdict(list)
    arrivals = []
    for (epoch, segment), members in sorted(strata.items()):
        share = _share(shown.epochs[epoch].of(segment), arm)
        if not 0.0 < share < 1.0:
            continue  # an arm that is out has no users to compare but those who came before gateways knew
        k = stable_users_per_block(share, options.block_baseline_users)
        blocks = BlockPlan(window=options.window + options.scoring_grace, k=k)
        by_segment[segment] += form_blocks([one.user for one in members], blocks, now=shown.now).blocks
        count = Counter(one.arm for one in members)
        arrivals.append(StepArrivals(count[0], count[arm], share))
    blocks_in_order = sorted((one for found in by_segment.values() for one in found), key=_complete_at)
    ratio = check_sample_ratio(arrivals, ALPHA_SAMPLE_RATIO / others)
    goal = weigh(
        Guardrail(OUTCOME), blocks_in_order, guardrails=others, alpha=options.alpha, alpha_missing=ALPHA_MISSING
    )
    failures = weigh(
        Guardrail(FAILURE, margin=options.margin, tolerance=options.tolerance, lower_is_better=True),
        blocks_in_order,
        guardrails=others,
        alpha=options.alpha,
        alpha_missing=ALPHA_MISSING,
    )

    def compared(blocks: Sequence[Block]) -> Comparison:
        return compare(block_values(blocks, OUTCOME), alpha=options.alpha, tests=2 * others)

    overall = compared(blocks_in_order)
    segments = {}
    claim = overall.claim
    if shown.policy is Policy.CONTEXTUAL:
        segments = {name: compared(sorted(found, key=_complete_at)) for name, found in sorted(by_segment.items())}
        claim = _agreed(segments, Counter(one.segment for one in users))
    doubt = ""
    if ratio.mismatch:
        seen = f"{ratio.n_canary} of {ratio.n_canary + ratio.n_stable} users"
        doubt = f"users are not split as drawn: {seen} had it, {ratio.expected_canary:.0f} were expected"
    elif goal.evidence.missing_unequally:
        doubt = goal.evidence.missing_in_words()
    return Standing(Claim.NOT_YET if doubt else claim, overall, segments, failures.evidence, ratio, doubt)


def _agreed(segments: Mapping[str, Comparison], users: Mapping[str, int]) -> Claim:
    """What every large segment says: an intersection–union test, which needs no correction for how many there are."""
    total = sum(users.values())
    large = [name for name, count in users.items() if count >= LARGE_SEGMENT * total]
    said = {segments[name].claim if name in segments else Claim.NOT_YET for name in large}
    return said.pop() if len(said) == 1 else Claim.NOT_YET


def _share(weights: Sequence[int], arm: int) -> float:
    both = weights[0] + weights[arm]
    return weights[arm] / both if both else 0.0


def _complete_at(block: Block) -> tuple[float, str]:
    """When its last user came. A later look only adds blocks behind those of an earlier one."""
    return max(user.first_call_at for user in (block.canary, *block.stable)), block.canary.user
