"""What instructions look like: for each habit, the wordings that speak for it (+1) or against it (-1).

A cue says nothing about negation; `instructions` counts the negating words around it ("never guess", "do not leave
out the source") and flips the sign for each. To teach a new wording, add a pattern here and a row to its table test.
"""

import re
from dataclasses import dataclass
from enum import StrEnum


class Habit(StrEnum):
    """What a prompt can ask of the practice model."""

    CITE = "cite"
    ADMIT = "admit"
    BRIEF = "brief"
    JSON = "json"
    ONE_QUESTION = "one_question"
    FIRST_ONLY = "first_only"
    FRIENDLY = "friendly"
    FORMAL = "formal"
    MATCH_TONE = "match_tone"
    LIST = "list"
    ESCALATE = "escalate"


@dataclass(frozen=True, slots=True)
class Cue:
    """A wording: `sign` is +1 for the habit and -1 against it, `weight` settles contradictions, `unlike` voids it."""

    habit: Habit
    pattern: re.Pattern[str]
    sign: int
    weight: float
    unlike: re.Pattern[str] | None
    only_with: re.Pattern[str] | None


def _cue(
    habit: Habit,
    sign: int,
    pattern: str,
    *,
    weight: float = 1.0,
    unlike: str | None = None,
    only_with: str | None = None,
) -> Cue:
    return Cue(
        habit,
        re.compile(pattern),
        sign,
        weight,
        re.compile(unlike) if unlike else None,
        re.compile(only_with) if only_with else None,
    )


_SOURCE = (
    r"(?:(?:sources?|articles?|documents?|docs?|pages?|origin|provenance|references?|guides?)(?:['’]s?)?(?: "
    r"(?:ids?|names?|titles?|tags?|numbers?))?"
    r"(?! (?:(?:is|are|do|does|don|did|say|says|have|has|had|cannot|can|contain|contains|lack|fail|cover|below|"
    r"above|given|"
    r"provided|were|offer|answers?|tell|stay|remain|material|articles?|documents?)\b)))"
)
_BETWEEN = (
    r"(?:(?:the|a|an|its|your|each|every|any|all|of|their|relevant|exact|matching|original|supporting|names?|titles?|ids?|tags?|"
    r"links?|to|for|them|customers?|readers?|users?|people|back|specific|corresponding|one|both|these|those|with|clear|full|"
    r"as|his|her|used|in|brackets|always|after|claim|fact|statement|sentence|answer|reply|finish|by|naming|up) ){0,7}"
)
_TELLING = (
    r"(?:nam(?:e|ing)|giv(?:e|ing)|mention(?:ing)?|list(?:ing)?|includ(?:e|ing)|stat(?:e|ing)|show(?:ing)?|add(?:ing)?|provid(?:e|ing)|"
    r"link(?:ing)?|indicat(?:e|ing)|not(?:e|ing)|quot(?:e|ing)|tell(?:ing)?|say(?:ing)?|point(?:ing)?|mark(?:ing)?|tag(?:ging)?|"
    r"credit(?:ing)?|identify(?:ing)?|specify(?:ing)?|disclos(?:e|ing)|reveal(?:ing)?|attach(?:ing)?|append(?:ing)?|end|finish|close|"
    r"acknowledg(?:e|ing)|write|supply(?:ing)?)"
)
_WHICH = r"(?:which|what) (?:\w+ )?(?:article|document|source|page|doc|guide|passage)s?\b"
_LACKS = (
    r"(?:n't|\bnot\b|\bno\b|\bnothing\b|missing|silent|lack|unsure|uncertain|outside|unable|beyond|without|"
    r"unknown|cannot)"
)
_KNOWLEDGE = (
    r"(?:articles?|documents?|context|sources?|passages?|information|text|material|docs|knowledge base|"
    r"facts|excerpts?|above|below)"
)

CUES: tuple[Cue, ...] = (
    # -- citing ------------------------------------------------------------------------------------------------------
    _cue(Habit.CITE, +1,
         r"\b(?:cit(?:e|es|ed|ing|ations?)|footnot\w+|attribut(?:e|ions?|ing)\b|bibliograph\w+)", weight=1.5),
    _cue(Habit.CITE, +1, rf"\b{_TELLING} {_BETWEEN}{_SOURCE}"),
    _cue(Habit.CITE, -1, rf"\b(?:omit|leave out|leaving out|skip|skipping|drop|forget|without|no) {_BETWEEN}{_SOURCE}"),
    _cue(
        Habit.CITE, +1,
        r"\b(?:sources?|articles?|documents?|references?)\b(?= (?:must|should|shall|may|can|need|has|have)\b"
        r"[^.;,]{0,20}\b(?:mention|name|show|give|quote|include|state|list|omit|left out|skip))",
    ),
    _cue(Habit.CITE, +1, rf"\b{_TELLING} (?:\w+ ){{0,4}}{_WHICH}"),
    _cue(Habit.CITE, +1, r"\b(?:with|any|their|include|carry|need|needs|have|has|contain) (?:\w+ ){0,2}references\b"),
    _cue(Habit.CITE, +1, r"\breferenc(?:e|ing) (?:the|each|every|which|your|all)\b"),
    _cue(
        Habit.CITE, +1,
        r"\bwhere (?:(?:it|this|that|they|you|the|each|every|your|all|information|answers?|facts?|claims?|"
        r"statement|one|we) ){1,4}"
        r"(?:came|comes?|originates?|stems?|found|finds?|got|gets?|learn\w*|read|took|taken|is from|are from|"
        r"was|were)\b",
    ),
    _cue(
        Habit.CITE, +1,
        r"\b(?:support|back|justify|tie|trace|link|pin|tag|label|mark|follow|end|close|finish)(?:ed|ing|s)?(?: "
        r"up)? (?:each|every|all|any|your|the) (?:\w+ ){0,4}"
        r"(?:by|with|to) (?:\w+ ){0,3}(?:sources?|articles?|documents?|pages?)(?: id| name| title| tag)?\b",
    ),
    _cue(
        Habit.CITE, +1, r"\[(?:doc:[^\]]*|id|source|doc(?:ument)?(?:[ _-]?id)?|article(?:[ _-]?id)?|n|1)\]",
        unlike=r"(?:article|document|passage|excerpt|text)s? (?:start|begin|come|look|are|is|carr)|(?:start|"
               r"begin)s? with",
    ),
    _cue(Habit.CITE, -1, r"\b(?:hid(?:e|ing)|conceal\w*|keep(?:ing)?) (?:\w+ ){0,3}(?:sources?|references?|"
                         r"articles?|documents?)\b"
                         r"(?= (?:\w+ ){0,2}(?:to yourself|private|hidden|secret|internal|out\b|away)|$|[,.])"),
    # -- admitting not to know, against answering anyway -------------------------------------------------------------
    _cue(
        Habit.ADMIT, +1,
        r"\b(?:say|saying|admit\w*|state|reply|respond|tell|telling|acknowledge|confess|explain|write|concede|"
        r"inform|answer that|answer with)\b[^.;]{0,45}?"
        r"(?:n't|\bnot\b|\bcannot\b|\bunable\b|\bno (?:information|answer|article|idea)\b|\black\b|"
        r"\bnothing\b)[^.;,]{0,30}?"
        r"\b(?:know|answer\w*|sure|certain|find|found|have|help|cover\w*|listed|available|contain\w*|say|there|information|"
        r"aware|documented|mention\w*|it|in (?:our|the|my))\b",
    ),
    _cue(Habit.ADMIT, +1, r"\b(?:say so|tell (?:them|the \w+|people) so|admit\w*(?: (?:it|this|that|so|"
                          r"ignorance))?|own up|come clean|"
                          r"(?:be|being|stay) (?:\w+ )?(?:honest|upfront|open|candid|frank|transparent|straight)\b)"),
    _cue(Habit.ADMIT, +1, r"\bi (?:do not|don't|can't|cannot) (?:know|find|help|answer)\b|\bi(?: a|')m (?:not "
                          r"sure|sorry|afraid)\b|\bnot (?:to know|knowing)\b"),
    _cue(Habit.ADMIT, +1, r"\b(?:say|saying|tell|state|admit|write|flag|mention|reply|respond|signal|"
                          r"report)\w*\b[^.;]{0,30}\b(?:unknown|missing|silent|unclear|unsure|uncertain)\b",
         unlike=r"\b(?:if|when|where)\b[^,]{0,40}(?:unknown|missing|silent|unclear|unsure|uncertain)\b[^,]*$"),
    _cue(Habit.ADMIT, +1, r"\b(?:refus|declin)(?:e|es|ing)\b", only_with=rf"{_LACKS}|guess|never|always"),
    _cue(Habit.ADMIT, +1, r"\b(?:refer|direct|point|send|hand|route|pass|escalate|forward|connect|"
                          r"contact)\w*\b[^;]{0,40}?\b(?:support|human|agent|colleague|team|person|staff|specialist|\S+@\S+)",
         weight=0.8, only_with=rf"\b(?:if|when|where|whenever|unless|otherwise)\b.*{_LACKS}|otherwise"),
    _cue(Habit.ADMIT, +1, rf"\b(?:only|solely|exclusively|strictly|nothing but|purely|nothing "
                          rf"except)\b[^.;]{{0,40}}\b{_KNOWLEDGE}\b",
         weight=0.8, unlike=r"\b(?:only|solely|just)\b[^.;]{0,12}\b(?:cit|mention|quot|nam|link|number)"),
    _cue(Habit.ADMIT, +1, r"\b(?:stick|stay|keep)(?:ing)? (?:strictly |closely |only )?(?:to|within|with) "
                          r"(?:what|the)\b[^.;]{0,25}"
                          r"\b(?:articles?|documents?|context|sources?|passages?|say|says|written|given|facts)\b",
         weight=0.8),
    _cue(Habit.ADMIT, +1, r"\blimit (?:yourself|your answers?) to (?:what|the)\b", weight=0.8),
    _cue(Habit.ADMIT, +1, r"\b(?:leave|leaving|stay|let)\b[^.;]{0,30}\b(?:unanswered|without (?:an |any "
                          r")?(?:answer|reply)|empty[- ]handed|hanging|in the dark)"
                          r"|\b(?:without (?:an|any) answer|empty[- ]handed)\b"),
    _cue(Habit.ADMIT, +1, r"\b(?:show|express|display|voice|betray)(?:ing)? (?:\w+ ){0,2}(?:doubts?|uncertainty|"
                          r"ignorance|hesitation)\b"),
    _cue(Habit.ADMIT, +1, r"\b(?:wrong|false|made[- ]up|invented|incorrect|bad) (?:answers?|replies|reply) "
                          r"(?:is|are|does|do) (?:\w+ )?(?:worse|more harm)", weight=3.0),
    _cue(Habit.ADMIT, +1, r"\b(?:no|an honest|a missing) (?:answer|reply|[\"“']?i don't know[\"”']?) (?:is|"
                          r"beats)(?: \w+)? (?:better than )?an? (?:wrong|false|made|invented|guess)", weight=3.0),
    _cue(Habit.ADMIT, -1, r"(?<!second-)(?<!second )\bguess(?:es|ing|work)?\b", weight=1.5),
    _cue(Habit.ADMIT, -1,
         r"\b(?:invent\w*|mak(?:e|ing) (?:(?:it|them|things?|stuff|something|answers?|facts?|details?|anything|"
         r"one|that|this|policies|numbers) ){0,2}up\b(?! (?:your|their|for))"
         r"|mak(?:e|ing) up\b(?! (?:your|their|for))|fabricat\w*|speculat\w*|improvis\w*|hallucinat\w*|bluff\w*|"
         r"imagin(?:e|ation|ing)\b|assum(?:e|ing|ptions?)\b"
         r"|conjectur\w*|extrapolat\w*|pretend\w*|fill(?:ing)?(?: in)? (?:the |any )?(?:gaps?|blanks?)|wing it)",
         weight=1.5),
    _cue(Habit.ADMIT, -1, r"\balways (?:\w+ )?(?:give|provide|have|offer|find|produce|supply|come up with|"
                          r"return|deliver)\b(?: \w+){0,4} (?:answers?|reply|response|solution)\b"),
    _cue(Habit.ADMIT, -1, r"\balways (?:\w+ )?(?:answer|respond|reply)(?= ?(?:[.;,!]|$)| (?:the question|every|"
                          r"all|anyway|confidently|something|even|whatever))"),
    _cue(Habit.ADMIT, -1, r"\bmust (?:always )?(?:answer|get|receive|have) (?:every|each|all|any|an answer)\b|"
                          r"\b(?:every|each) question (?:must|has to|deserves|gets|needs)\b(?: \w+){0,3} answer"),
    _cue(Habit.ADMIT, -1, r"\b(?:answer|reply|respond)(?:s|ing)?\b[^.;,\"“]{0,40}?\b(?:even (?:if|when|though|"
                          r"where)|anyway|no matter what|regardless|if you (?:do not|don't|cannot)"
                          r"|(?:if|when|unless|that|what|anything|questions?) [^.;,]{0,40}?(?:n't|\bnot\b|"
                          r"\bmissing\b|\bsilent\b|\bunsure\b|\boutside\b|\bbeyond\b))"),
    _cue(Habit.ADMIT, -1, r"\b(?:something|anything|(?:any|some|an) (?:answer|reply)) (?:\w+ )?(?:is |beats "
                          r")(?:\w+ )?(?:better than )?(?:nothing|none|no answer|no reply|silence)", weight=3.0),
    _cue(Habit.ADMIT, -1, r"\b(?:general|own|outside|prior|common|world|background|external|other) (?:knowledge|"
                          r"sense|experience)\b|\boutside (?:information|sources|facts)\b"),
    _cue(Habit.ADMIT, -1, r"\b(?:plausible|likely|reasonable|probable|convincing)(?:[- ]sounding)? (?:\w+ "
                          r")?(?:answer|reply|response|explanation|figure|number|value|detail)s?\b", weight=1.5),
    _cue(Habit.ADMIT, -1, r"\b(?:confident\w*|certain|authoritative\w*)\b",
         only_with=r"\b(?:always|even|regardless|never)\b", weight=0.6),
    _cue(Habit.ADMIT, -1, r"\b(?:go|going|stray|move) (?:\w+ )?(?:beyond|outside) (?:the|what)\b"),
    # -- length ------------------------------------------------------------------------------------------------------
    _cue(Habit.BRIEF, +1, r"\b(?:concise\w*|brief(?:ly)?|brevity|short(?:er|ly)?|succinct\w*|terse\w*|to the "
                          r"point|(?:few|fewest|fewer) (?:words|sentences|lines)|crisp\w*|snappy|"
                          r"compact|pithy|laconic|one-liners?|economical|minimal)\b",
         unlike=r"\bshort (?:of|with)\b|\bin short\b"),
    _cue(Habit.BRIEF, -1, r"\b(?:lengthy|long-winded|wordy|verbose|rambl\w*|waffl\w*|padding|fluff|filler|"
                          r"elaborat\w*|detailed|in (?:\w+ )?detail|"
                          r"(?:more|much|full|plenty of|lots of|every|all the) details?|thorough\w*|in[- ]depth|"
                          r"comprehensive\w*|exhaustive\w*|extensive\w*|"
                          r"at length|(?:full|some|plenty of) (?:background|explanations?)|essays?|(?:several|"
                          r"many|multiple) paragraphs|preambles?|generous)\b"),
    _cue(Habit.BRIEF, -1, r"\blong(?:er)?\b", unlike=r"\b(?:as|how|so) long\b|\bno longer\b|\blong as\b"),
    # -- form --------------------------------------------------------------------------------------------------------
    _cue(Habit.JSON, +1, r"\bjson\b", unlike=r"\b(?:not|never|no|n't|without)\b[^.;]{0,25}\b(?:wrap|fence|"
                                             r"markdown|code|text|prose|anything)[^.;]*json"),
    _cue(Habit.LIST, +1, r"\b(?:bullets?(?: points?)?|bulleted|numbered (?:list|steps)|as a list|step[- ]by[- "
                         r"]step)\b"),
    # -- several questions in one message ----------------------------------------------------------------------------
    _cue(Habit.ONE_QUESTION, +1, r"\b(?:one|single)(?: \w+)? at a time\b"),
    _cue(Habit.ONE_QUESTION, +1, r"\b(?:one|single) (?:question|topic|issue|request|thing|matter|point|subject) "
                                 r"(?:per|in each|each|only|for each|in a|in one|in every)\b"),
    _cue(Habit.ONE_QUESTION, +1, r"\bonly (?:ever )?(?:answer|handle|deal with|take|address|respond to|reply to|"
                                 r"help with|accept|treat) (?:one|a single)\b"),
    _cue(Habit.ONE_QUESTION, +1, r"\b(?:separate|individual|own|new|different) (?:messages?|requests?|chats?|"
                                 r"tickets?|conversations?)\b"),
    _cue(Habit.ONE_QUESTION, +1, r"\b(?:ask|send|submit|raise|repeat|resend|post|put)\w* (?:\w+ "
                                 r"){0,6}(?:separately|individually|one by one|one after)\b"),
    _cue(Habit.ONE_QUESTION, +1, r"\b(?:split|break) (?:\w+ ){0,4}(?:up|into|apart|messages?|questions?)\b"),
    _cue(Habit.ONE_QUESTION, +1, r"\b(?:pick|choose|select) (?:\w+ ){0,3}(?:one|which)\b|\bwhich (?:one|"
                                 r"question) (?:\w+ ){0,4}(?:first|matters)\b",
         only_with=r"\b(?:more than one|multiple|several|two|many|compound)\b"),
    _cue(Habit.ONE_QUESTION, -1, r"\banswer\w* (?:\w+ )?(?:more than one|several|multiple|two|compound) (?:\w+ "
                                 r")?(?:questions?|things|requests?|topics?|points?)\b", weight=1.5),
    _cue(Habit.ONE_QUESTION, -1, r"\banswer\w*\b", weight=0.8, only_with=r"\b(?:more than one|multiple|several|"
                                                                         r"two or more|many|compound|two) "
                                                                         r"(?:\w+ )?(?:questions?|things|"
                                                                         r"topics?|requests?)\b"
                                 r"(?=.*(?:n't|\bnot\b|\bnever\b|\brefus|\bdeclin|\ball\b|\beach\b|\bevery\b|\bboth\b|\bthem\b))"),
    _cue(Habit.ONE_QUESTION, -1, r"\b(?:answer|address|cover|handle|reply to|respond to|deal with|treat)\w* "
                                 r"(?:\w+ ){0,2}?(?:each|all|both|every)\b", weight=1.5),
    _cue(Habit.ONE_QUESTION, -1, r"\banswer (?:them|these|those|each|all) (?:\w+ ){0,3}(?:one by one|one at a "
                                 r"time|in turn|in order|separately|individually)\b", weight=3.0),
    _cue(Habit.FIRST_ONLY, +1, r"\b(?:only|just) (?:answer |address |handle |deal with )?(?:to )?the first\b|"
                               r"\b(?:answer|address) (?:only |just )?the first(?: (?:one|question))?\b(?! "
                               r"(?:before|then))"
                               r"|\bignore the (?:rest|others?|second)\b"),
    # -- manner ------------------------------------------------------------------------------------------------------
    _cue(Habit.FRIENDLY, +1, r"\b(?:friendl\w+|warm(?:th|ly)?|cheer\w+|casual(?:ly)?|informal(?:ly)?|relaxed|"
                             r"upbeat|conversational)\b"),
    _cue(Habit.FORMAL, +1, r"\b(?:formal(?:ly)?|professional(?:ly)?|business-?like|courteous(?:ly)?|courtesy)\b"),
    _cue(Habit.MATCH_TONE, +1, r"\b(?:match|mirror|adopt|copy|reflect|follow|use|echo|same|adapt|adjust|"
                               r"suit)\w*\b[^.;]{0,30}\b(?:tone|style|register|mood|voice|manner|way of)\b",
         only_with=r"\b(?:customer|user|their|they|person|reader|asker|writer|people|them)"),
    _cue(Habit.ESCALATE, +1, r"\b(?:refer|direct|point|send|hand|route|pass|escalate|forward|connect|contact|"
                             r"offer)\w*\b[^;]{0,40}?\b(?:support|human|agent|colleague|team|person|staff|specialist|\S+@\S+)"),
)  # fmt: skip
