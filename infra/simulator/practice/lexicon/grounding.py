"""Wordings about citing sources, and about admitting not to know or answering anyway."""

from .cue import Cue, Habit, cue

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

GROUNDING_CUES: tuple[Cue, ...] = (
    # -- citing ------------------------------------------------------------------------------------------------------
    cue(Habit.CITE, +1,
         r"\b(?:cit(?:e|es|ed|ing|ations?)|footnot\w+|attribut(?:e|ions?|ing)\b|bibliograph\w+)", weight=1.5),
    cue(Habit.CITE, +1, rf"\b{_TELLING} {_BETWEEN}{_SOURCE}"),
    cue(Habit.CITE, -1, rf"\b(?:omit|leave out|leaving out|skip|skipping|drop|forget|without|no) {_BETWEEN}{_SOURCE}"),
    cue(
        Habit.CITE, +1,
        r"\b(?:sources?|articles?|documents?|references?)\b(?= (?:must|should|shall|may|can|need|has|have)\b"
        r"[^.;,]{0,20}\b(?:mention|name|show|give|quote|include|state|list|omit|left out|skip))",
    ),
    cue(Habit.CITE, +1, rf"\b{_TELLING} (?:\w+ ){{0,4}}{_WHICH}"),
    cue(Habit.CITE, +1, r"\b(?:with|any|their|include|carry|need|needs|have|has|contain) (?:\w+ ){0,2}references\b"),
    cue(Habit.CITE, +1, r"\breferenc(?:e|ing) (?:the|each|every|which|your|all)\b"),
    cue(
        Habit.CITE, +1,
        r"\bwhere (?:(?:it|this|that|they|you|the|each|every|your|all|information|answers?|facts?|claims?|"
        r"statement|one|we) ){1,4}"
        r"(?:came|comes?|originates?|stems?|found|finds?|got|gets?|learn\w*|read|took|taken|is from|are from|"
        r"was|were)\b",
    ),
    cue(
        Habit.CITE, +1,
        r"\b(?:support|back|justify|tie|trace|link|pin|tag|label|mark|follow|end|close|finish)(?:ed|ing|s)?(?: "
        r"up)? (?:each|every|all|any|your|the) (?:\w+ ){0,4}"
        r"(?:by|with|to) (?:\w+ ){0,3}(?:sources?|articles?|documents?|pages?)(?: id| name| title| tag)?\b",
    ),
    cue(
        Habit.CITE, +1, r"\[(?:doc:[^\]]*|id|source|doc(?:ument)?(?:[ _-]?id)?|article(?:[ _-]?id)?|n|1)\]",
        unlike=r"(?:article|document|passage|excerpt|text)s? (?:start|begin|come|look|are|is|carr)|(?:start|"
               r"begin)s? with",
    ),
    cue(Habit.CITE, -1, r"\b(?:hid(?:e|ing)|conceal\w*|keep(?:ing)?) (?:\w+ ){0,3}(?:sources?|references?|"
                         r"articles?|documents?)\b"
                         r"(?= (?:\w+ ){0,2}(?:to yourself|private|hidden|secret|internal|out\b|away)|$|[,.])"),
    cue(Habit.CITE, +1, r"\b(?:needs?|requires?|deserves?|wants?|expects?|must have|(?:care|bother|worry) "
                         r"(?:about|with)) (?:an? |its |the |any )?"
                         r"(?:sources|references|citations|(?:source|reference)\b(?! (?:articles?|documents?|"
                         r"material)))"),
    cue(Habit.CITE, +1, r"\b(?:see|know|check|verify|trace|find out) (?:\w+ ){0,3}(?:which|what) (?:\w+ "
                         r")?(?:article|document|source|page)s?\b"
                         r"|\b(?:articles?|documents?|pages?|sources?) (?:that |which )?you (?:relied on|"
                         r"consulted|drew on|used|took)\b"),
    cue(Habit.CITE, +1, r"\b(?:put|place|insert|use) (?:the |its |their |an? )?(?:article|source|document|"
                         r"doc)(?:['’]s)? (?:id|tag|name|title|link)s?\b"),
    cue(Habit.CITE, +1, r"\b(?:carry|show|bear|include|have) the (?:id|tag|name|title|link)s? of (?:the|its|"
                         r"their) (?:article|source|document)s?\b"
                         r"|\((?:see|source|from):? ?(?:the )?(?:article|source|document)?\)"),
    cue(Habit.CITE, +1, r"\badd(?:ing)? (?:\w+ )?(?:links|references|sources)\b"),
    cue(Habit.CITE, -1, r"\b(?:sources?|citations?|references?) (?:should |must )?(?:stay|remain|be kept|"
                         r"belong) (?:out|hidden|away)\b"),
    cue(Habit.CITE, +1, r"\b(?:incomplete|worthless|useless|unfinished|wrong) without (?:its|a|the|any) "
                         r"(?:source|reference|citation|article)s?\b", weight=3.0),
    # -- admitting not to know, against answering anyway -------------------------------------------------------------
    cue(
        Habit.ADMIT, +1,
        r"\b(?:say|saying|admit\w*|state|reply|respond|tell|telling|acknowledge|confess|explain|write|concede|"
        r"inform|answer that|answer with)\b[^.;]{0,45}?"
        r"(?:n't|\bnot\b|\bcannot\b|\bunable\b|\bno (?:information|answer|article|idea)\b|\black\b|"
        r"\bnothing\b)[^.;,]{0,30}?"
        r"\b(?:know|answer\w*|sure|certain|find|found|have|help|cover\w*|listed|available|contain\w*|say|there|information|"
        r"aware|documented|mention\w*|it|in (?:our|the|my))\b",
    ),
    cue(Habit.ADMIT, +1, r"\b(?:say so|tell (?:them|the \w+|people) so|admit\w*(?: (?:it|this|that|so|"
                          r"ignorance))?|own up|come clean|"
                          r"(?:be|being|stay) (?:\w+ )?(?:honest|upfront|open|candid|frank|transparent|straight)\b)"),
    cue(Habit.ADMIT, +1, r"\bi (?:do not|don't|can't|cannot) (?:know|find|help|answer)\b|\bi(?: a|')m (?:not "
                          r"sure|sorry|afraid)\b|\bnot (?:to know|knowing)\b"),
    cue(Habit.ADMIT, +1, r"\b(?:say|saying|tell|state|admit|write|flag|mention|reply|respond|signal|"
                          r"report)\w*\b[^.;]{0,45}\b(?:unknown|missing|silent|unclear|unsure|uncertain)\b",
         unlike=r"\b(?:if|when|where)\b[^,]{0,40}(?:unknown|missing|silent|unclear|unsure|uncertain)\b[^,]*$"),
    cue(Habit.ADMIT, +1, r"\b(?:refus|declin)(?:e|es|ing)\b", only_with=rf"{_LACKS}|guess|never|always"),
    cue(Habit.ADMIT, +1, r"\b(?:refer|direct|point|send|hand|route|pass|escalate|forward|connect|"
                          r"contact)\w*\b[^;]{0,40}?\b(?:support|human|agent|colleague|team|person|staff|specialist|\S+@\S+)",
         weight=0.8, only_with=rf"\b(?:if|when|where|whenever|unless|otherwise)\b.*{_LACKS}|otherwise"),
    cue(Habit.ADMIT, +1, rf"\b(?:only|solely|exclusively|strictly|nothing but|purely|nothing "
                          rf"except)\b[^.;]{{0,40}}\b{_KNOWLEDGE}\b",
         weight=0.8, unlike=r"\b(?:only|solely|just)\b[^.;]{0,12}\b(?:cit|mention|quot|nam|link|number)"),
    cue(Habit.ADMIT, +1, r"\b(?:stick|stay|keep)(?:ing)? (?:strictly |closely |only )?(?:to|within|with) "
                          r"(?:what|the)\b[^.;]{0,25}"
                          r"\b(?:articles?|documents?|context|sources?|passages?|say|says|written|given|facts)\b",
         weight=0.8),
    cue(Habit.ADMIT, +1, r"\blimit (?:yourself|your answers?) to (?:what|the)\b", weight=0.8),
    cue(Habit.ADMIT, +1, r"\b(?:leave|leaving|stay|let)\b[^.;]{0,30}\b(?:unanswered|without (?:an |any "
                          r")?(?:answer|reply)|empty[- ]handed|hanging|in the dark)"
                          r"|\b(?:without (?:an|any) answer|empty[- ]handed)\b"),
    cue(Habit.ADMIT, +1, r"\b(?:show|express|display|voice|betray)(?:ing)? (?:\w+ ){0,2}(?:doubts?|uncertainty|"
                          r"ignorance|hesitation)\b"),
    cue(Habit.ADMIT, +1, r"\b(?:wrong|false|made[- ]up|invented|incorrect|bad) (?:answers?|replies|reply) "
                          r"(?:is|are|does|do) (?:\w+ )?(?:worse|more harm)", weight=3.0),
    cue(Habit.ADMIT, +1, r"\b(?:no|an honest|a missing) (?:answer|reply|[\"“']?i don't know[\"”']?) (?:is|"
                          r"beats)(?: \w+)? (?:better than )?an? (?:wrong|false|made|invented|guess)", weight=3.0),
    cue(Habit.ADMIT, -1, r"(?<!second-)(?<!second )\bguess(?:es|ing|work)?\b", weight=1.5),
    cue(Habit.ADMIT, -1,
         r"\b(?:invent\w*|mak(?:e|ing) (?:(?:it|them|things?|stuff|something|answers?|facts?|details?|anything|"
         r"one|that|this|policies|numbers) ){0,2}up\b(?! (?:your|their|for))"
         r"|mak(?:e|ing) up\b(?! (?:your|their|for))|fabricat\w*|speculat\w*|improvis\w*|hallucinat\w*|bluff\w*|"
         r"imagin(?:e|ation|ing)\b|assum(?:e|ing|ptions?)\b"
         r"|conjectur\w*|extrapolat\w*|pretend\w*|fill(?:ing)?(?: in)? (?:the |any )?(?:gaps?|blanks?)|wing it)",
         weight=1.5),
    cue(Habit.ADMIT, -1, r"\balways (?:\w+ )?(?:give|provide|have|offer|find|produce|supply|come up with|"
                          r"return|deliver)\b(?: \w+){0,4} (?:answers?|reply|response|solution)\b"),
    cue(Habit.ADMIT, -1, r"\balways (?:\w+ )?(?:answer|respond|reply)(?= ?(?:[.;,!]|$)| (?:the question|every|"
                          r"all|anyway|confidently|something|even|whatever))"),
    cue(Habit.ADMIT, -1, r"\bmust (?:always )?(?:answer|get|receive|have) (?:every|each|all|any|an answer)\b|"
                          r"\b(?:every|each) question (?:must|has to|deserves|gets|needs)\b(?: \w+){0,3} answer"),
    cue(Habit.ADMIT, -1, r"\b(?:answer|reply|respond)(?:s|ing)?\b[^.;,\"“]{0,40}?\b(?:even (?:if|when|though|"
                          r"where)|anyway|no matter what|regardless|if you (?:do not|don't|cannot)"
                          r"|(?:if|when|unless|that|what|anything|questions?) [^.;,]{0,40}?(?:n't|\bnot\b|"
                          r"\bmissing\b|\bsilent\b|\bunsure\b|\boutside\b|\bbeyond\b))"),
    cue(Habit.ADMIT, -1, r"\b(?:something|anything|(?:any|some|an) (?:answer|reply)) (?:\w+ )?(?:is |beats "
                          r")(?:\w+ )?(?:better than )?(?:nothing|none|no answer|no reply|silence)", weight=3.0),
    cue(Habit.ADMIT, -1, r"\b(?:general|own|outside|prior|common|world|background|external|other) (?:knowledge|"
                          r"sense|experience)\b|\boutside (?:information|sources|facts)\b"),
    cue(Habit.ADMIT, -1, r"\b(?:plausible|likely|reasonable|probable|convincing)(?:[- ]sounding)? (?:\w+ "
                          r")?(?:answer|reply|response|explanation|figure|number|value|detail)s?\b", weight=1.5),
    cue(Habit.ADMIT, -1, r"\b(?:confident\w*|certain|authoritative\w*)\b",
         only_with=r"\b(?:always|even|regardless|never)\b", weight=0.6),
    cue(Habit.ADMIT, -1, r"\b(?:go|going|stray|move) (?:\w+ )?(?:beyond|outside) (?:the|what)\b"),
    cue(Habit.ADMIT, +1, r"\b(?:tell|inform) (?:them|people|(?:the |your )?\w+)(?: \w+)? (?:honestly|openly|"
                          r"frankly|plainly|straight)\b"),
    cue(Habit.ADMIT, +1, rf"\b{_KNOWLEDGE} (?:alone|only|exclusively)\b", weight=0.8),
    cue(Habit.ADMIT, +1, r"\b(?:say|saying|tell|state|admit|write|reply|respond|"
                          r"explain)\w*\b[^.;]{0,40}\b(?:no|unknown) (?:information|answers?|idea|data)\b"
                          r"|\b(?:unknown|not known) to you\b"),
    cue(Habit.ADMIT, +1, r"\b(?:unknown|know|knowing|no answer)[\"”'’]? is (?:\w+ )?(?:an? )?(?:\w+ "
                          r")?(?:acceptable|fine|ok|okay|good|valid|allowed|legitimate|option)\b"),
    cue(Habit.ADMIT, -1, r"\b(?:leave|leaves|walk away|walks away|go away|goes away|come away|go home|hang up) "
                          r"with (?:an? |some )?(?:\w+ )?answers?\b"),
    cue(Habit.ADMIT, -1, r"\bcome up with (?:something|anything|an? )|\bknow (?:the|every|all the) answers?\b|"
                          r"\bknow everything\b",
         unlike=r"\b(?:if|when|unless)\b[^,]*\bknow (?:the|every) answer"),
    cue(Habit.ADMIT, -1, r"\beven (?:without|with no|lacking)\b", only_with=r"\banswer|\breply|\brespon"),
    cue(Habit.ADMIT, -1, r"^(?:whatever happens|no matter what|in any case)\W.*\b(?:give|provide|offer) (?:\w+ "
                          r"){0,2}answer"),
    cue(Habit.ADMIT, -1, r"\b(?:sound|seem|appear|act|look) (?:\w+ )?(?:certain|sure|confident"
                         r"|convinced) even\b.*", weight=3.0),
    cue(Habit.ADMIT, +1, r"\b(?:turn|send)(?:ing)? (?:\w+ ){1,2}away\b"),
)  # fmt: skip
