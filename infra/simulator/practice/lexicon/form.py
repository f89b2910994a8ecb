"""Wordings about length, form, several questions in one message, and manner."""

from .cue import Cue, Habit, cue

FORM_CUES: tuple[Cue, ...] = (
    # -- length ------------------------------------------------------------------------------------------------------
    cue(Habit.BRIEF, +1, r"\b(?:concise\w*|brief(?:ly)?|brevity|short(?:er|ly)?|succinct\w*|terse\w*|to the "
                          r"point|(?:few|fewest|fewer) (?:words|sentences|lines)|crisp\w*|snappy|"
                          r"compact|pithy|laconic|one-liners?|economical|minimal)\b",
         unlike=r"\bshort (?:of|with)\b|\bin short\b"),
    cue(Habit.BRIEF, -1, r"\b(?:lengthy|long-winded|wordy|verbose|rambl\w*|waffl\w*|padding|fluff|filler|"
                          r"elaborat\w*|detailed|in(?:to)? (?:\w+ )?detail|"
                          r"(?:more|much|full|plenty of|lots of|every|all the) details?|thorough\w*|in[- ]depth|"
                          r"comprehensive\w*|exhaustive\w*|extensive\w*|"
                          r"at length|(?:full|some|plenty of) (?:background|explanations?)|essays?|(?:several|"
                          r"many|multiple) paragraphs|preambles?|generous)\b"),
    cue(Habit.BRIEF, -1, r"\blong(?:er)?\b", unlike=r"\b(?:as|how|so) long\b|\bno longer\b|\blong as\b"),
    cue(Habit.BRIEF, +1, r"\b(?:make|keep) it quick\b|\bquick(?:ly)? (?:answers?|repl\w+)\b|\banswer quickly\b"),
    cue(Habit.BRIEF, -1, r"\bexplain(?:ing)? everything\b|\btake your time\b|\b(?:every|all) (?:the )?details?\b"),
    cue(Habit.BRIEF, +1, r"\bwast(?:e|ing) no (?:words|time)\b|\b(?:skip|no|without|cut) (?:the |any )?small "
                          r"talk\b|\bbe direct\b"),
    cue(Habit.BRIEF, -1, r"\bleav(?:e|ing) no details? out\b|\b(?:leave out|leaving out|spare) no details?\b"),
    # -- form --------------------------------------------------------------------------------------------------------
    cue(Habit.JSON, +1, r"\bjson\b", unlike=r"\b(?:not|never|no|n't|without)\b[^.;]{0,25}\b(?:wrap|fence|"
                                             r"markdown|code|text|prose|anything)[^.;]*json"),
    cue(Habit.LIST, +1, r"\b(?:bullets?(?: points?)?|bulleted|numbered (?:list|steps)|as a list|step[- ]by[- "
                         r"]step)\b"),
    # -- several questions in one message ----------------------------------------------------------------------------
    cue(Habit.ONE_QUESTION, +1, r"\b(?:one|single)(?: \w+)? at a time\b"),
    cue(Habit.ONE_QUESTION, +1, r"\b(?:one|single) (?:question|topic|issue|request|thing|matter|point|subject) "
                                 r"(?:per|in each|each|only|for each|in a|in one|in every)\b"),
    cue(Habit.ONE_QUESTION, +1, r"\bonly (?:ever )?(?:answer|handle|deal with|take|address|respond to|reply to|"
                                 r"help with|accept|treat) (?:one|a single)\b"),
    cue(Habit.ONE_QUESTION, +1, r"\b(?:separate|individual|own|new|different) (?:messages?|requests?|chats?|"
                                 r"tickets?|conversations?)\b"),
    cue(Habit.ONE_QUESTION, +1, r"\b(?:ask|send|submit|raise|repeat|resend|post|put)\w* (?:\w+ "
                                 r"){0,6}(?:separately|individually|one by one|one after)\b"),
    cue(Habit.ONE_QUESTION, +1, r"\b(?:split|break) (?:\w+ ){0,4}(?:up|into|apart|messages?|questions?)\b"),
    cue(Habit.ONE_QUESTION, +1, r"\b(?:pick|choose|select) (?:\w+ ){0,3}(?:one|which)\b|\bwhich (?:one|"
                                 r"question) (?:\w+ ){0,4}(?:first|matters)\b",
         only_with=r"\b(?:more than one|multiple|several|two|many|compound)\b"),
    cue(Habit.ONE_QUESTION, -1, r"\banswer\w* (?:\w+ )?(?:more than one|several|multiple|two|compound) (?:\w+ "
                                 r")?(?:questions?|things|requests?|topics?|points?)\b", weight=1.5),
    cue(Habit.ONE_QUESTION, -1, r"\banswer\w*\b", weight=0.8, only_with=r"\b(?:more than one|multiple|several|"
                                                                         r"two or more|many|compound|two) "
                                                                         r"(?:\w+ )?(?:questions?|things|"
                                                                         r"topics?|requests?)\b"
                                 r"(?=.*(?:n't|\bnot\b|\bnever\b|\brefus|\bdeclin|\ball\b|\beach\b|\bevery\b|\bboth\b|\bthem\b))"),
    cue(Habit.ONE_QUESTION, -1, r"\b(?:answer|address|cover|handle|reply to|respond to|deal with|treat)\w* "
                                 r"(?:\w+ ){0,2}?(?:each|all|both|every)\b", weight=1.5),
    cue(Habit.ONE_QUESTION, -1, r"\banswer (?:them|these|those|each|all) (?:\w+ ){0,3}(?:one by one|one at a "
                                 r"time|in turn|in order|separately|individually)\b", weight=3.0),
    cue(Habit.FIRST_ONLY, +1, r"\b(?:only|just) (?:answer |address |handle |deal with )?(?:to )?the first\b|"
                               r"\b(?:answer|address) (?:only |just )?the first(?: (?:one|question))?\b(?! "
                               r"(?:before|then))"
                               r"|\bignore the (?:rest|others?|second)\b"),
    cue(Habit.ONE_QUESTION, +1, r"\b(?:skip|drop|ignor|overlook|miss|leav)\w*(?: out)? (?:any|some|the second|"
                                 r"the other|one|parts?)\b(?: \w+)? ?(?:parts?|questions?|points?|of)\b"),
    cue(Habit.ONE_QUESTION, +1, r"\b(?:answer|take|accept) only (?:one|a single|single) questions?\b"),
    cue(Habit.ONE_QUESTION, -1, r"\b(?:every|each) (?:question|part) (?:\w+ ){0,4}(?:gets?|deserves|receives|"
                                 r"needs) (?:its|an|a) (?:\w+ )?(?:answer|reply)\b",
         only_with=r"\bmessage|\bpart"),
    # -- manner ------------------------------------------------------------------------------------------------------
    cue(Habit.FRIENDLY, +1, r"\b(?:friendl\w+|warm(?:th|ly)?|cheer\w+|casual(?:ly)?|informal(?:ly)?|relaxed|"
                             r"upbeat|conversational)\b"),
    cue(Habit.FORMAL, +1, r"\b(?:formal(?:ly)?|professional(?:ly)?|business-?like|courteous(?:ly)?|courtesy)\b"),
    cue(Habit.MATCH_TONE, +1, r"\b(?:match|mirror|adopt|copy|reflect|follow|use|echo|same|adapt|adjust|"
                               r"suit)\w*\b[^.;]{0,30}\b(?:tone|style|register|mood|voice|manner|way of)\b",
         only_with=r"\b(?:customer|user|their|they|person|reader|asker|writer|people|them)"),
    cue(Habit.ESCALATE, +1, r"\b(?:refer|direct|point|send|hand|route|pass|escalate|forward|connect|contact|"
                             r"offer)\w*\b[^;]{0,40}?\b(?:support|human|agent|colleague|team|person|staff|specialist|\S+@\S+)"),
)  # fmt: skip
