"""What the lexical embedder knows of English: words that say little, and words that mean nearly the same.

Written as plain words; compared as stems. The groups are those of customer questions in general (money, parcels,
accounts, devices), not of any one help centre. A change here changes vectors: raise ``VERSION`` in lexical.py.
"""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.embedding.words import stem

_EMPTY = """
a about after again all also am an and any are as at back be because been before being both but by can cannot cant
could couldnt did didnt do does doesnt doing done dont down each else etc even ever few for from further get had has
hasnt have havent having he her here hers hey hi hello him his how i if im in into is isnt it its itself ive just let
like made make many may me might more most much must my myself neither no nor not now of off on once one only or other
otherwise our ours out over own per please quite rather really same she should shouldnt so some still such sure than
thank thanks that the their theirs them then there these they thing things this those though through to too under
until up upon us very was wasnt way we well were werent what whats when whenever where whether which while who whom
whose why will with without wont would wouldnt yes yet you your yours yourself
"""
_WEAK = """
able actually anyone anything anyway ask basically bit business company customer day explain fine find first give go
going good great guy happen help idea info information issue kind know long look lot matter mean mind moment need new
next nice number okay people point possible problem question quick quickly regard right say see seem soon something
sort start take tell time today tomorrow topic totally try turn understand use user want week wonder work wrong year
"""
_ALIKE = """
refund reimburse reimbursement repay moneyback
return sendback
cancel terminate unsubscribe quit
subscription plan membership tier
subscribe join enrol enroll signup
price cost fee rate charge expensive cheap afford
invoice receipt bill
pay payment card checkout debit credit
deliver delivery ship shipping shipment parcel package courier post dispatch arrive
delay late overdue
track trace whereabouts
abroad international overseas foreign country
customs duty import tariff
tax vat
damage broken break crack shatter smash faulty defective defect
warranty guarantee cover
repair fix mend
replace replacement swap exchange substitute
password passcode passphrase
login signin logon
reset recover restore regain
account profile
delete remove erase wipe close
email mail inbox
phone telephone call ring
contact reach talk speak
human agent representative staff
discount coupon voucher promo promotion code deal
student school university college
gift present
privacy private personal confidential
data
share family household
upgrade switch downgrade
pause freeze suspend hold
free trial complimentary
battery charge power
clean wash rinse
connect pair link sync
wifi wireless network internet
update upgrade firmware
noise loud sound noisy
app application software
notification alert reminder
language translate translation
address location
store shop retailer outlet
size dimension measure big large small
weight heavy light
colour color shade
allergy allergic allergen
child kid baby toddler
pet dog cat animal
plant seed herb flower
water moisture
lamp light bulb
temperature heat cold hot warm
recycle recycling dispose disposal
assemble assembly install installation setup
safe safety dangerous hazard
export download
stolen steal theft thief
lose lost missing misplace
change modify edit amend alter
buy purchase order
hour open opening
"""
_PHRASES: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("money", "back"): "refund",
        ("send", "back"): "return",
        ("give", "back"): "return",
        ("bring", "back"): "return",
        ("sign", "up"): "subscribe",
        ("sign", "in"): "login",
        ("log", "in"): "login",
        ("log", "on"): "login",
        ("set", "up"): "setup",
        ("wi", "fi"): "wifi",
        ("e", "mail"): "email",
        ("turn", "up"): "arrive",
        ("show", "up"): "arrive",
        ("get", "rid"): "remove",
    }
)

EMPTY_STEMS = frozenset(stem(word) for word in _EMPTY.split())
"""Function words: they tell what kind of question it is, hardly what it is about."""

WEAK_STEMS = frozenset(stem(word) for word in _WEAK.split()) - EMPTY_STEMS
"""Words that every customer uses."""


def _concepts() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for line in _ALIKE.split("\n"):
        group = line.split()
        for word in group:
            names = found.setdefault(stem(word), [])
            if group[0] not in names:
                names.append(group[0])
    return {word: tuple(names) for word, names in found.items()}


CONCEPTS: Mapping[str, tuple[str, ...]] = MappingProxyType(_concepts())
"""Stem → names of the groups it belongs to."""

PHRASES: Mapping[tuple[str, str], str] = MappingProxyType(
    {(stem(first), stem(second)): stem(meaning) for (first, second), meaning in _PHRASES.items()}
)
"""Two stems in a row → the stem they mean together."""
