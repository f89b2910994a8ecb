"""What the token guards know of English: short lists of words that turn a question into another one.

They are the closed classes of the language (negators, question words, number words, days, months) and its common
opposites, of no particular trade. Words of other languages are in none of them, so they only ever meet the guards for
numbers, names, substitution and order.
"""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.embedding.words import stem


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _counted(text: str, start: int, step: int = 1) -> dict[str, str]:
    return {word: str(value * step) for value, word in enumerate(text.split(), start)}


NEGATORS = _words(
    """
    no not never none nobody nothing neither nor nowhere without cannot non unable except unless
    cant dont doesnt didnt isnt arent wasnt werent wont wouldnt couldnt shouldnt hasnt havent hadnt aint mustnt neednt
    """
)
"""As written without apostrophes; every word that ends in n't is one too."""

QUESTION_WORDS = _words("who whom whose what which when where why how")

ASKING: Mapping[str, str] = MappingProxyType(
    {"who": "who", "whom": "who", "whose": "who", "when": "when", "where": "where", "why": "why"}
)
"""Question words that ask for one thing. What, which and how ask for anything: how to is what is the way to."""

ASKING_HOW: Mapping[str, str] = MappingProxyType(
    {"long": "when", "soon": "when", "much": "amount", "many": "amount", "often": "often", "far": "far", "come": "why"}
)
"""What how asks for together with the word after it; how long and when are the same question, most of the time."""

NUMBER_WORDS: Mapping[str, str] = MappingProxyType(
    _counted("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen", 0)
    | _counted("sixteen seventeen eighteen nineteen", 16)
    | _counted("twenty thirty forty fifty sixty seventy eighty ninety", 2, step=10)
    | _counted("third fourth fifth sixth seventh eighth ninth tenth", 3)
    | {"hundred": "100", "thousand": "1000", "million": "1000000", "billion": "1000000000", "dozen": "12"}
    | {"twice": "2", "thrice": "3", "half": "0.5"}
)
"""One, first and second are no numbers here: they count nothing, most of the time."""
UNCOUNTED = frozenset({"one", "zero"})

SYMBOLS: Mapping[str, str] = MappingProxyType({"$": "dollar", "£": "pound", "€": "euro", "¥": "yen", "%": "percent"})
SAME_NAME: Mapping[str, str] = MappingProxyType(
    {"usd": "dollar", "dollars": "dollar", "gbp": "pound", "pounds": "pound", "sterling": "pound", "eur": "euro"}
    | {"euros": "euro", "jpy": "yen", "percentage": "percent", "bucks": "dollar"}
)
"""Names of the same thing, by the one they are compared as."""

NAMES = _words(
    """
    monday tuesday wednesday thursday friday saturday sunday
    january february april june july august september october november december
    dollar pound euro yen
    """
)
"""Names that people write without a capital. March and May are left out: they are verbs more often."""

_OPPOSITES = """
above/below accept/decline accept/deny accept/refuse accept/reject accepted/declined activate/deactivate
active/inactive add/delete add/remove admit/deny advance/delay all/none all/some allow/block allow/forbid
allow/prevent allow/prohibit always/never always/sometimes am/pm approve/decline approve/deny approve/reject
arrive/depart arrive/leave asc/desc ascending/descending asleep/awake attach/detach available/unavailable before/after
begin/end begin/finish begin/stop best/worst better/worse big/small block/unblock borrow/lend bottom/top bought/sold
buy/sell buyer/seller buying/selling cancel/activate cancel/confirm cancel/keep cancel/order cancel/renew
ceiling/floor charge/refund cheap/expensive clean/dirty cold/hot cold/warm come/go common/rare compress/extract
connect/disconnect create/delete create/destroy create/remove credit/debit danger/safe day/night debit/prepaid
deep/shallow defend/attack departure/arrival deposit/withdraw deposit/withdrawal difficult/easy dry/wet early/late
earn/spend east/west employer/employee empty/fill empty/full enable/disable encode/decode encrypt/decrypt enter/exit
enter/leave entrance/exit even/odd everyone/nobody everything/nothing everywhere/nowhere export/import export/load
fail/pass fail/succeed fail/work false/true fast/slow faster/slower few/many fewer/more find/lose first/last
first/second forget/remember forward/backward freeze/unfreeze front/back front/rear gain/lose give/take good/bad
grow/shrink guilty/innocent happy/sad hard/easy healthy/sick heavy/light hide/show high/low higher/lower
highest/lowest hire/fire import/download in/out include/exclude income/expense incoming/outgoing increase/decrease
increase/reduce indoor/outdoor input/output inside/outside install/uninstall internal/external international/domestic
international/local join/leave large/small least/most left/right legal/illegal lend/repay less/more like/dislike
load/save load/unload local/remote lock/unlock login/logout long/short longer/shorter loose/tight lost/found
loud/quiet love/hate major/minor male/female man/woman manual/automatic married/single max/min maximise/minimise
maximize/minimize maximum/minimum merge/split morning/evening mother/father multiply/divide narrow/wide near/far
negative/positive new/old next/last next/previous noisy/quiet normal/abnormal north/south offline/online old/young
on/off open/close open/shut optional/mandatory optional/required over/under parent/child past/future pause/resume
pay/receive permanent/temporary physical/virtual possible/impossible present/absent private/public profit/loss
public/secret pull/push purchase/sale purchase/sell push/pop question/answer quick/slow raise/lower read/write
receive/send receiver/sender recipient/sender refund/fee reject/confirm repair/break rich/poor rise/fall rough/smooth
same/different save/delete save/spend sell/rent send/request separate/together sharp/blunt single/double
single/multiple sink/float smart/stupid soft/hard start/end start/finish start/stop strong/weak subscribe/cancel
subscribe/unsubscribe success/failure successful/failed successful/unsuccessful sunrise/sunset teach/learn
teacher/student thick/thin tighten/loosen today/tomorrow today/yesterday tomorrow/yesterday up/down upgrade/downgrade
upload/download upper/lower upstairs/downstairs useful/useless valid/invalid verify/reject vertical/horizontal
victory/defeat visible/hidden win/lose winner/loser winter/summer with/without work/break
"""

_SWAPPED = "to/from for/from before/after for/against with/from by/from my/your his/her me/you"


def _both_ways(pairs: str) -> Mapping[str, frozenset[str]]:
    opposites: dict[str, set[str]] = {}
    for pair in pairs.split():
        one, other = pair.split("/")
        for a, b in ((one, other), (other, one), (stem(one), stem(other)), (stem(other), stem(one))):
            opposites.setdefault(a, set()).add(b)
    return MappingProxyType({word: frozenset(others) for word, others in opposites.items()})


OPPOSITES = _both_ways(_OPPOSITES)
"""Stems of words that turn a question round, each with its opposites."""

SWAPPED = _both_ways(_SWAPPED)
"""Small words that matter only where nothing else differs: elsewhere they come and go with the phrasing."""

UNDOING = ("un", "dis", "non", "de", "in", "im", "ir", "il", "mis", "anti")
"""Prefixes that make a word its opposite, where the rest is a word of the other question."""

_SAME = """
get receive obtain
buy purchase
begin start
use utilize utilise employ
take accept
choose select pick
make create build generate produce
show display present
give provide supply offer
allow permit enable let
need require want
help assist support
find locate
fix solve resolve repair correct
change modify alter edit update
delete remove erase
ask inquire enquire
call phone telephone
check verify
stop end
fast rapid speedy
big large
wrong incorrect
happen occur
keep retain hold
mistake error
return yield
include contain
specify indicate define
execute run
information info detail
"""


def _groups(lines: str) -> Mapping[str, frozenset[int]]:
    groups: dict[str, set[int]] = {}
    for number, line in enumerate(lines.strip().splitlines()):
        for word in line.split():
            groups.setdefault(stem(word), set()).add(number)
    return MappingProxyType({word: frozenset(numbers) for word, numbers in groups.items()})


SAME = _groups(_SAME)
"""Stems that may stand for each other, by the groups they are in."""
