"""The table of redaction rules: what a secret looks like, and which near misses look like one and are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import re2

# Where a word may begin: at a word boundary, or after an escape when the text stands inside JSON (`…\nsk-…` has no boundary before "s").
_BEGIN = r"(?:\b|\\[bfnrt]|\\u[0-9a-f]{4})"
# White space, also as JSON writes it.
_SPACE = r"(?:\s|\\[fnrt])"
# A quotation mark, plain or escaped once or more.
_QUOTE = r"(?:\\*[\"'])"

type_of_check = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret.

    `trigger` is a cheap pattern that fires wherever `pattern` does. Of a match the group `s` is replaced, or the whole when there is
    none; `check` sees that span and refuses near misses. `clear_of` are characters that must not stand right before or after the match.
    """

    name: str
    trigger: str
    pattern: str
    check: type_of_check | None = None
    clear_of: str = ""

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where this rule's secrets are in the text, as (start, end) of characters."""
        compiled = _compiled(self.pattern)
        group: int | str = "s" if "(?P<s>" in self.pattern else 0
        for match in compiled.finditer(text):
            start, end = match.span(group)
            if self.clear_of and (text[start - 1 : start] or " ") in self.clear_of:
                continue
            if self.clear_of and text[end : end + 1] in ("-", ".") and text[end + 1 : end + 2].isalnum():
                continue
            if self.check is None or self.check(text[start:end]):
                yield start, end


def _compiled(pattern: str) -> re2._Regexp:
    found = _PATTERNS.get(pattern)
    if found is None:
        found = _PATTERNS[pattern] = re2.compile(pattern)
    return found


_PATTERNS: dict[str, re2._Regexp] = {}


def random_looking(value: str) -> bool:
    """Tells generated characters from words: both cases with a digit (or long), or one unbroken piece with letters and digits."""
    digit = any(c.isdigit() for c in value)
    upper = any(c.isupper() for c in value)
    lower = any(c.islower() for c in value)
    if upper and lower and (digit or len(value) >= 40):
        return True
    return digit and (upper or lower) and "-" not in value and "_" not in value


def has_digit(value: str) -> bool:
    return any(c.isdigit() for c in value)


def not_placeholder(value: str) -> bool:
    """False for `${DB_PASSWORD}`, `<password>`, `%s`, `****`, `xxxx`, `None`, a call, and what is redacted already."""
    bare = value.strip("\"'\\")
    if not bare or bare[0] in "$<{%[" or set(bare) <= set("*xX.…-_"):
        return False
    return "(" not in bare and bare.lower() not in _PLACEHOLDERS and not bare.startswith(("os.environ", "process.env", "settings."))


_PLACEHOLDERS = frozenset({"none", "null", "nil", "true", "false", "undefined", "changeme", "required", "optional", "string", "redacted"})


def luhn(value: str) -> bool:
    """ISO/IEC 7812-1 annex B: from the right every second digit doubled, the sum of all digits divisible by ten."""
    total = 0
    for index, digit in enumerate(int(c) for c in reversed(value) if c.isdigit()):
        total += digit if index % 2 == 0 else digit * 2 - 9 * (digit > 4)
    return total % 10 == 0


# A name that says "what follows is secret", at the end of an identifier: DB_PASSWORD, clientSecret, x-api-key, access_token.
_SECRET_NAME = (
    r"(?:passwords?|passwd|passphrase|pwd|secrets?|secret[_ -]?key|api[_ -]?keys?|private[_ -]?key|access[_ -]?key|account[_ -]?key|"
    r"signing[_ -]?key|encryption[_ -]?key|credentials?|authorization|set-cookie|cookies?|"
    r"(?:access|auth|refresh|id|api|bearer|session|csrf|xsrf|bot|user|app|oauth|security|personal[_ -]?access)[_ -]?token)"
)
_ASSIGN = rf"{_SPACE}*[:=]"
_KEYED = rf"(?:{_SECRET_NAME}|\btoken|[\"']token|_token)"
SENSITIVE_KEY_TRIGGER = rf"(?i)(?:{_SECRET_NAME}|[\"']token)\"\s*:"

_NETWORK_SCHEMES = r"(?:postgres|postgresql|mysql|mariadb|mongodb|redis|rediss|amqp|amqps|mssql|sqlserver|clickhouse|cockroachdb|ldap|ldaps)"
_PEM = r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
_PEM_END = r"-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"

# International prefixes and lengths of the large card schemes, in one piece or in the groups they are printed in.
_CARD = (
    r"\b(?:4\d{15}|4\d{12}|4\d{18}|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}|(?:6011|65\d\d|64[4-9]\d)\d{12}|"
    r"3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}|"
    r"(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6\d{3}|35\d\d) \d{4} \d{4} \d{4}|(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6\d{3}|35\d\d)-\d{4}-\d{4}-\d{4}|"
    r"3[47]\d\d \d{6} \d{5}|3[47]\d\d-\d{6}-\d{5}|3[068]\d\d \d{6} \d{4})\b"
)

# The first rule of two that overlap gives the name: specific before general.
RULES: tuple[Rule, ...] = (
    Rule("private_key", r"PRIVATE KEY", rf"(?s){_PEM}(?:.*?{_PEM_END}|(?:(?:\s|\\[nr])*[A-Za-z0-9+/=]{{20,}})+)"),
    Rule("jwt", r"eyJ[A-Za-z0-9_-]{8}", r"\beyJ[A-Za-z0-9_-]{8,}\.(?:eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?|(?:[A-Za-z0-9_-]*\.){3}[A-Za-z0-9_-]{8,})"),
    Rule("mission_control_token", _BEGIN + r"mc_[A-Za-z0-9]{4}", r"\bmc_[A-Za-z0-9]{4,24}_(?P<s>[A-Za-z0-9_-]{20,})", random_looking),
    Rule("anthropic_key", _BEGIN + r"sk-ant-", r"\bsk-ant-[A-Za-z0-9_-]{20,}", has_digit),
    Rule(
        "openai_key",
        _BEGIN + r"sk-[A-Za-z0-9]",
        r"\bsk-(?:(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,}|or-v1-[a-f0-9]{32,}|[A-Za-z0-9]{20,})",
        lambda value: random_looking(value[3:].removeprefix("or-v1-")),
    ),
    Rule("github_token", _BEGIN + r"g(?:h[pousr]|ithub_pat)_[A-Za-z0-9]", r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{36,})", has_digit),
    Rule("gitlab_token", _BEGIN + r"gl[a-z]{1,5}-[A-Za-z0-9_-]{8}", r"\bgl(?:pat|rt|dt|cbt|ptt|soat|ft|agent)-[A-Za-z0-9_-]{20,}", random_looking),
    Rule("aws_access_key_id", _BEGIN + r"A[KSBC][IC]A[A-Z0-9]{8}", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b", has_digit),
    Rule(
        "aws_secret_key",
        r"[A-Za-z0-9/+]{40}",
        rf"(?:\b(?:AKIA|ASIA)[A-Z0-9]{{16}}{_QUOTE}?[\s,:;|/]{{1,8}}|(?i:secret[_ -]?(?:access[_ -]?)?key|aws[_ -]?secret){_QUOTE}?\s*(?:[:=]>?|is)?\s*)"
        rf"{_QUOTE}?(?P<s>[A-Za-z0-9/+]{{40}})\b",
        random_looking,
    ),
    Rule("google_api_key", r"AIza[0-9A-Za-z_-]{8}", r"\bAIza[0-9A-Za-z_-]{35}"),
    Rule("google_oauth", _BEGIN + r"(?:GOCSPX-|ya29\.)", r"\b(?:GOCSPX-[A-Za-z0-9_-]{20,}|ya29\.[A-Za-z0-9_-]{20,})"),
    Rule(
        "slack_token",
        _BEGIN + r"(?:xox[a-z]|xapp)-|hooks\.slack\.com",
        r"\b(?:xox[abeoprs](?:\.xox[abp])?-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,})|hooks\.slack\.com/services/(?P<s>T[A-Za-z0-9]+/B[A-Za-z0-9]+/[A-Za-z0-9]{16,})",
        has_digit,
    ),
    Rule("stripe_key", _BEGIN + r"(?:[rs]k_(?:live|test)_|whsec_)", r"\b(?:[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/]{24,})"),
    Rule("sendgrid_key", _BEGIN + r"SG\.[A-Za-z0-9_-]{8}", r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{32,}"),
    Rule("npm_token", _BEGIN + r"npm_[A-Za-z0-9]{8}", r"\bnpm_[A-Za-z0-9]{36}\b"),
    Rule("pypi_token", r"pypi-A", r"\bpypi-A[A-Za-z0-9_-]{40,}"),
    Rule("huggingface_token", _BEGIN + r"hf_[A-Za-z0-9]{8}", r"\bhf_[A-Za-z0-9]{30,}\b"),
    Rule("digitalocean_token", r"do[opr]_v1_", r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
    Rule("bearer", r"(?i)bearer\s", r"(?i)\bbearer\s+(?P<s>[A-Za-z0-9._~+/=-]{16,})", random_looking),
    Rule(
        "auth_header",
        rf"(?i)(?:authorization|api-key|cookie){_QUOTE}?{_ASSIGN}",
        rf"(?i)\b(?:(?:proxy-)?authorization{_QUOTE}?\s*[:=]\s*{_QUOTE}?(?:basic|digest|token|apikey)\s+(?P<s>[^\s\"'\\,;]{{8,}}))",
        not_placeholder,
    ),
    Rule(
        "api_key_header",
        rf"(?i)api-key{_QUOTE}?{_ASSIGN}",
        rf"(?i)\b(?:x-)?(?:[a-z]+-)?api-key{_QUOTE}?\s*[:=]\s*{_QUOTE}?(?P<s>[^\s\"'\\,;]{{12,}})",
        random_looking,
    ),
    Rule("cookie", r"(?i)cookie:", r"(?i)\b(?:set-)?cookie:\s*(?P<s>[^\s=;]+=[^\s;]{8,}(?:;\s*[^\s=;]+=[^\s;]+)*)", has_digit),
    Rule(
        "connection_string",
        r"://[^\s/]*:[^\s]*@",
        rf"(?i)\b(?:{_NETWORK_SCHEMES}(?:\+[a-z0-9]+)?://[^\s:/@\"'<>]*:(?P<s>[^\s\"'<>]+)@[A-Za-z0-9\[])",
        not_placeholder,
    ),
    Rule("url_password", r"://[^\s/]*:[^\s]*@", r"(?i)\b[a-z][a-z0-9+.-]{1,30}://[^\s:/@\"'<>]*:(?P<s>[^\s/@\"'<>]+)@[A-Za-z0-9\[]", not_placeholder),
    Rule(
        "connection_password",
        r"(?i)(?:password|passwd|pwd|accountkey|sharedaccesskey)\s*=",
        r"(?i)(?:\b(?:host|hostaddr|server|data source|user|user id|uid|dbname|database|port|accountname|sharedaccesskeyname|initial catalog)\s*=\s*[^=\s;]+[;\s]\s*"
        r"(?:[a-z ]+=\s*[^=\s;]+[;\s]\s*)*)(?:password|passwd|pwd|accountkey|sharedaccesskey)\s*=\s*['\"]?(?P<s>[^\s;'\"]{3,})",
        not_placeholder,
    ),
    Rule(
        "env_assignment",
        r"[A-Z0-9](?:PASSWORD|PASSWD|SECRET|API_KEY|APIKEY|ACCESS_KEY|SECRET_KEY|PRIVATE_KEY|TOKEN)=|(?:PASSWORD|SECRET|API_KEY|TOKEN|_KEY)=",
        r"\b(?:[A-Z0-9]+_)*(?:PASSWORD|PASSWD|SECRET|API_KEY|APIKEY|ACCESS_KEY|SECRET_KEY|PRIVATE_KEY|TOKEN)=\\*['\"]?(?P<s>[^\s'\"\\;,]{6,})",
        not_placeholder,
    ),
    Rule(
        "quoted_secret",
        rf"(?i){_KEYED}{_QUOTE}{_SPACE}*:",
        rf"(?i){_KEYED}{_QUOTE}\s*:\s*{_QUOTE}(?P<s>[^\"'\\\s][^\"'\\]*)",
        not_placeholder,
    ),
    Rule("card_number", r"[2-6]\d{3}(?:\d{4}|[ -]\d{4}|[ -]\d{6})", _CARD, luhn, clear_of="-._"),
)

_TOKEN_PREFIXES = "access auth refresh id api bearer session csrf xsrf bot user app oauth security personalaccess"
_SENSITIVE_ENDINGS = (
    *"password passwords passwd passphrase pwd secret secrets secretkey apikey apikeys privatekey accesskey accountkey signingkey".split(),
    *"encryptionkey credential credentials authorization cookie cookies".split(),
    *(f"{prefix}token" for prefix in _TOKEN_PREFIXES.split()),
)
_SEPARATORS = str.maketrans("", "", "_- .")


def is_sensitive_key(key: str) -> bool:
    """Whether a JSON key says that its value is a secret: `password`, `DB_PASSWORD`, `x-api-key`, `accessToken`; not `max_tokens` or `next_page_token`."""
    bare = key.translate(_SEPARATORS).lower()
    return bare == "token" or bare.endswith(_SENSITIVE_ENDINGS)
