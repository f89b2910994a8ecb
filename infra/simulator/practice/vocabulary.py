"""Word lists: which words carry no content, which are too general to decide, and which mean the same.

Written for questions that people ask a support desk; extend the groups rather than the code.
"""

_WITHOUT_CONTENT = """
    a an the this that these those it its it's itself i i'm i've i'd i'll im ive me my mine myself we we're our
    ours us
    you you're your yours he she his her him they them their theirs who whom whose which what what's when where why
    how
    is are was were be been being am do does did doing done don't doesn't didn't has have had having haven't hasn't
    can can't cannot could couldn't will won't would wouldn't shall should shouldn't may might must
    and or but if then than so as at by for from in into of off on onto out over to up with within without about
    after
    before between during through per via not no nor yes ok okay please thanks thank thx pls hi hello hey dear
    there here
    any some all each every both either neither such same other another just only also too very really quite still
    again once even ever already yet now today currently actually basically maybe perhaps because while until
    let let's lets want wants wanted wanna need needs needed like would've tell know knows find wondering wonder
    ask asking asked question questions help understand explain bit lot something anything someone anyone thing
    things
    been upon were got get gets getting gotten gonna going go goes good great kindly quick hoping hope
    happen happens happened possible able sure way ways mean means say says said try trying tried looking look
    seem seems found one ones make makes made give gives given put use using used uses take takes taken instead
    else otherwise rather much many long more most less least
"""

STOPWORDS = frozenset(_WITHOUT_CONTENT.split())

#: Content words so general that missing or matching them says little; they weigh a third.
_TOO_GENERAL = """
    work works working offer offers support supports allow allows allowed provide provides include includes included
    come comes keep keeps see show shows start starts new old set first last next time times day days week weeks
    month months year years hour hours minute minutes people person company product products service services
    item items stuff part parts kind type types different own bought buy problem problems issue issues
    customer customers user users available have option options right best soon often exactly home
    menu town city gesture rhythm frequency share percentage length strength amount name
    number count maximum minimum limit place case page app
"""

GENERAL = frozenset(_TOO_GENERAL.split())

#: Phrases of several words that act as one.
PHRASES: tuple[tuple[str, str], ...] = (
    (r"\b(?:get|got|give|have|want|send|pay|paid)?\s*(?:me |my |the |your )?money back\b", " refund "),
    (r"\bget(?:ting)? rid of\b", " delete "),
    (r"\b(?:log|sign|logged|signed|logging|signing)[ -]?(?:in|on)(?:to)?\b", " login "),
    (r"\b(?:log|sign|logged|signed|logging|signing)[ -]?(?:out|off)\b", " logout "),
    (r"\b(?:sign|signed|signing)[ -]?up\b", " register "),
    (r"\b(?:2fa|mfa|(?:two|2|multi)[ -](?:factor|step)(?: auth\w*| verification)?|authenticator)\b", " twofactor "),
    (r"\bsend(?:ing)? (?:it |them |this |that |something |an? \w+ |my \w+ |the \w+ )?back\b", " return "),
    (r"\bset(?:ting)?[ -]?up\b", " setup "),
    (r"\bwi[ -]?fi\b", " wifi "),
    (r"\be-?mails?\b", " email "),
    (r"\b(?:back(?:ed|ing|s)?[ -]?up|backup)s?\b", " backup "),
    (r"\b(?:turn|switch)(?:ed|ing)?\s+(?:(\w+)\s+)?off\b", r" disable \1 "),
    (r"\b(?:turn|switch)(?:ed|ing)?\s+(?:(\w+)\s+)?on\b", r" enable \1 "),
    (r"\b(?:how much|what) (?:does|do|is|are|will|would) (?:it|this|that) cost\b", " cost "),
    (r"\bhow much (?=is|are|does|do|did|will|would|to|for|extra|should|it)", " cost "),
    (r"\bphone number\b", " phone "),
    (r"\bfree of charge\b|\bno (?:extra )?(?:cost|charge)\b", " free "),
    (r"\bout of stock\b|\bsold out\b", " stock "),
    (r"\bgive (?:it )?up\b", " cancel "),
    (r"\bspeak (?:to|with)\b|\btalk (?:to|with)\b|\bget in touch\b|\bget hold of\b", " contact "),
    (r"\bcredit cards?\b|\bdebit cards?\b", " card "),
)

#: Words in a group mean the same to the practice model; the first names the group.
SYNONYMS: tuple[str, ...] = (
    "day daily",
    "week weekly",
    "month monthly",
    "year yearly annual annually",
    "maximum max",
    "refund reimburse reimbursement repay",
    "return returns returned returning sendback",
    "cancel cancellation terminate quit stop unsubscribe end",
    "cost price fee charge expensive pricing rate costs charges",
    "pay payment pays paid paying",
    "ship shipping shipment deliver delivery dispatch postage courier parcel package",
    "arrive arrival",
    "change edit modify update amend adjust alter",
    "delete remove erase wipe clear",
    "broken damage damaged faulty defective cracked smashed defect",
    "invoice receipt bill billing",
    "discount coupon promo promotion voucher",
    "warranty guarantee guaranteed",
    "contact call",
    "open opening opened",
    "abroad international overseas foreign country countries",
    "plan subscription tier membership subscribe",
    "invite invitation",
    "colleague teammate coworker member team",
    "export download",
    "import upload",
    "notification alert reminder notify",
    "pause hold freeze suspend",
    "password passcode passphrase credential",
    "register create registration",
    "repair fix mend",
    "replace replacement exchange swap",
    "business company organisation organization",
    "secure security safe safety encrypt encrypted encryption",
    "privacy gdpr confidential",
    "trial tryout",
    "upgrade upgrading",
    "downgrade downgrading",
    "address location",
    "phone telephone mobile smartphone",
    "computer laptop desktop pc mac",
    "offline disconnected",
    "battery rechargeable",
    "size dimension measurement large big",
    "accurate accuracy precise precision exact",
    "child kid children kids",
    "student students academic",
    "allergy allergic allergen",
    "colour color",
    "language translate translation",
    "expire expiry expiration expires lapse",
    "lost missing lose misplaced",
    "stolen theft steal",
    "late delay delayed overdue",
    "share sharing shared",
    "connect connection pair pairing link",
    "reset restart reboot",
    "forgot forgotten forget",
    "speed slow fast",
    "store shop outlet branch",
    "gift present",
    "card visa mastercard",
    "photo picture image",
    "film movie video",
    "copy duplicate",
    "restore recover recovery undelete",
    "owner administrator admin",
    "transfer move migrate",
    "tax vat",
    "bin trash rubbish",
    "wash clean cleaning washing",
    "waterproof rain water wet",
    "weigh weight heavy",
    "recycle recycling dispose disposal",
)

NUMBER_WORDS: dict[str, str] = {
    "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "fourteen": "14", "fifteen": "15", "twenty": "20",
    "thirty": "30", "sixty": "60", "ninety": "90", "hundred": "100", "single": "1", "couple": "2",
}  # fmt: skip
