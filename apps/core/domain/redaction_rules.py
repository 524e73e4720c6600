"""The table of redaction rules: what a secret looks like, and which near misses look like one and are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import re2

# Where a word may begin: at a word boundary, or after an escape when the text stands inside JSON (`\nsk-…` has no boundary before "s").
_BEGIN = r"(?:\b|\\[bfnrt]|\\u[0-9a-f]{4})"
# White space and an assignment sign, also as JSON writes them.
_SPACE = r"(?:\s|\\[fnrt])"
_ASSIGN = rf"{_SPACE}*[:=]"
# A quotation mark, plain or escaped once or more.
_QUOTE = r"(?:\\*[\"'])"


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret; several rules may share a name.

    `trigger` is a cheap pattern that fires wherever `pattern` does. Of a match the one capturing group is replaced, or the whole when there is none.
    `check` sees that span and refuses near misses; `context` sees (text, start, end) and refuses what its surroundings explain.
    """

    name: str
    trigger: str
    pattern: str
    check: Callable[[str], bool] | None = None
    context: Callable[[str, int, int], bool] | None = None
    compiled: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compiled", re2.compile(self.pattern))

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where this rule's secrets are in the text, as (start, end) of characters."""
        group = self.compiled.groups
        for match in self.compiled.finditer(text):
            start, end = match.span(group)
            if (self.check is None or self.check(text[start:end])) and (self.context is None or self.context(text, start, end)):
                yield start, end


def random_looking(value: str) -> bool:
    """Tells generated characters from words: both cases with a digit (or long), or one unbroken piece with letters and digits."""
    digit = has_digit(value)
    upper = any(c.isupper() for c in value)
    lower = any(c.islower() for c in value)
    if upper and lower and (digit or len(value) >= 40):
        return True
    return digit and (upper or lower) and "-" not in value and "_" not in value


def has_digit(value: str) -> bool:
    return any(c.isdigit() for c in value)


def bearer_like(value: str) -> bool:
    """A token of any issuer, UUIDs included; not the words after "bearer" in a sentence."""
    return (has_digit(value) or (len(value) >= 32 and random_looking(value))) and not _redacted(value)


def not_placeholder(value: str) -> bool:
    """False for `${DB_PASSWORD}`, `<password>`, `%s`, `****`, `xxxx`, `null` and what is redacted already."""
    bare = value.strip("\"'\\")
    return bool(bare) and bare.lower() not in _PLACEHOLDER_WORDS and not _PLACEHOLDER.fullmatch(bare)


def literal(value: str) -> bool:
    """Not a placeholder, and not code that fetches the secret from elsewhere: a call, an index, an attribute."""
    return not_placeholder(value) and not _CODE.match(value)


def password_like(value: str) -> bool:
    """A literal of letters and digits: what follows "password:" in prose is mostly a word."""
    return has_digit(value) and any(c.isalpha() for c in value) and literal(value)


def luhn(value: str) -> bool:
    """ISO/IEC 7812-1 annex B: from the right every second digit doubled, the sum of all digits divisible by ten."""
    total = 0
    for index, digit in enumerate(int(c) for c in reversed(value) if c.isdigit()):
        total += digit if index % 2 == 0 else digit * 2 - 9 * (digit > 4)
    return total % 10 == 0


def not_a_fraction(text: str, start: int, end: int) -> bool:
    """False for the digits after a decimal point: 0.4111111111111111."""
    return not (text[start - 1 : start] == "." and text[start - 2 : start - 1].isdigit()) if start > 1 else True


def _redacted(value: str) -> bool:
    return "[redacted:" in value


_PLACEHOLDER_WORDS = frozenset({"none", "null", "nil", "true", "false", "undefined", "required", "optional", "string", "redacted"})
_PLACEHOLDER = re2.compile(
    r"\$\{?[A-Za-z_][A-Za-z0-9_.:-]*\}?|\$\(.*|\{+[A-Za-z0-9_. ]*\}+|<[^>]*>|%s|%\([A-Za-z_]+\)s|%[A-Z_]+%|[*xX.…_-]+|\[redacted:[a-z_]+\]"
)
_CODE = re2.compile(r"[A-Za-z_][A-Za-z0-9_.]*[(\[]|(?:os|process|self|settings|config|env)\.")

# A name that says "what follows is secret", at the end of an identifier: DB_PASSWORD, clientSecret, x-api-key, access_token.
_SECRET_NAME = (
    r"(?:passwords?|passwd|passphrase|pwd|secrets?|(?:secret|api|private|access|account|signing|encryption)[_ -]?keys?|credentials?|"
    r"authorization|cookies?|(?:access|auth|refresh|api|bearer|session|csrf|xsrf|bot|user|app|oauth|security)[_ -]?token|"
    r"[\"'_-]id[_-]?token|[\"']token)"
)
SENSITIVE_KEY_TRIGGER = rf"(?i){_SECRET_NAME}\"\s*:"

_DATABASE = r"(?:postgres|postgresql|mysql|mariadb|mongodb|redis|rediss|amqp|amqps|mssql|sqlserver|clickhouse|cockroachdb|ldap|ldaps)"
_CONNECTION_KEY = (
    r"(?:host|hostaddr|server|data source|user|user id|username|uid|dbname|database|initial catalog|port|endpoint|"
    r"accountname|sharedaccesskeyname)"
)
_CONNECTION_SECRET = r"(?:password|passwd|pwd|accountkey|sharedaccesskey)"
_ENV_NAME = r"(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|API_?KEY|(?:ACCESS|SECRET|PRIVATE|ENCRYPTION|SIGNING|ACCOUNT)_KEY|TOKEN)"
_PEM = r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
_PEM_END = r"-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
_URL_PASSWORD_TRIGGER = r"://[^\s:/@\"'<>]*:[^\s\"'<>]*@"
_QUOTED_TRIGGER = rf"(?i){_SECRET_NAME}{_QUOTE}{_SPACE}*:"

# Prefixes and lengths of the large card schemes, in one piece or in the groups they are printed in.
_FOUR = r"(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6\d{3}|35\d\d)"
_CARD = (
    r"\b(?:4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}|"
    r"(?:6011|65\d\d|64[4-9]\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}|"
    rf"{_FOUR}(?: \d{{4}}){{3}}|{_FOUR}(?:-\d{{4}}){{3}}|3[47]\d\d(?: \d{{6}} \d{{5}}|-\d{{6}}-\d{{5}})|3[068]\d\d \d{{6}} \d{{4}})\b"
)

# Of rules that overlap the first gives the name: specific before general.
RULES: tuple[Rule, ...] = (
    Rule("private_key", r"PRIVATE KEY", rf"{_PEM}(?:(?:-{{0,4}}[^-])*{_PEM_END}|(?:(?:\s|\\[nr])*[A-Za-z0-9+/=]{{20,}})+)"),
    Rule(
        "jwt",
        r"eyJ[A-Za-z0-9_-]{8}",
        r"\beyJ[A-Za-z0-9_-]{8,}\.(?:eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?|(?:[A-Za-z0-9_-]*\.){3}[A-Za-z0-9_-]{8,})",
    ),
    Rule("mission_control_token", _BEGIN + r"mc_[A-Za-z0-9]{4}", r"\bmc_[A-Za-z0-9]{4,24}_([A-Za-z0-9_-]{20,})", random_looking),
    Rule("anthropic_key", _BEGIN + r"sk-ant-", r"\bsk-ant-[a-z]{2,8}\d\d-[A-Za-z0-9_-]{20,}"),
    Rule(
        "openai_key",
        _BEGIN + r"sk-[A-Za-z0-9]",
        r"\bsk-(?:(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,}|or-v1-[a-f0-9]{32,}|[A-Za-z0-9]{20,})",
        lambda value: random_looking(value[3:].removeprefix("or-v1-")),
    ),
    Rule(
        "github_token", _BEGIN + r"g(?:h[pousr]|ithub_pat)_[A-Za-z0-9]{8}", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{36,})"
    ),
    Rule("gitlab_token", _BEGIN + r"gl[a-z]{2,5}-[A-Za-z0-9_-]{8}", r"\bgl(?:pat|rt|dt|cbt|ptt|soat|ft|agent)-[A-Za-z0-9_-]{20,}"),
    Rule("aws_access_key_id", _BEGIN + r"A[KSBC][IC]A[A-Z0-9]{8}", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    Rule(
        "aws_secret_key",
        r"A[KS]IA[A-Z0-9]{16}|(?i:secret[_ -]?(?:access[_ -]?)?key|aws[_ -]?secret)",
        rf"(?:\bA[KS]IA[A-Z0-9]{{16}}{_QUOTE}?[\s,:;|/]{{1,8}}|(?i:secret[_ -]?(?:access[_ -]?)?key|aws[_ -]?secret){_QUOTE}?\s*(?:[:=]>?|is)?\s*)"
        rf"{_QUOTE}?([A-Za-z0-9/+]{{40}})(?:[^A-Za-z0-9/+]|$)",
        random_looking,
    ),
    Rule("google_api_key", _BEGIN + r"AIza[0-9A-Za-z_-]{8}", r"\bAIza[0-9A-Za-z_-]{35}"),
    Rule("google_oauth", _BEGIN + r"(?:GOCSPX-|ya29\.)", r"\b(?:GOCSPX-[A-Za-z0-9_-]{20,}|ya29\.[A-Za-z0-9_-]{20,})"),
    Rule(
        "slack_token",
        _BEGIN + r"(?:xox[a-z]|xapp)[-.]",
        r"\b(?:xox[abeoprs](?:\.xox[abp])?-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,})",
        has_digit,
    ),
    Rule(
        "slack_webhook", r"hooks\.slack\.com", r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Z0-9]+/[A-Z0-9]+/[A-Za-z0-9]{16,})"
    ),
    Rule("stripe_key", _BEGIN + r"(?:[rs]k_(?:live|test)_|whsec_)", r"\b(?:[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/]{24,})"),
    Rule("sendgrid_key", _BEGIN + r"SG\.[A-Za-z0-9_-]{8}", r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{32,}"),
    Rule("npm_token", _BEGIN + r"npm_[A-Za-z0-9]{8}", r"\bnpm_[A-Za-z0-9]{36}\b"),
    Rule("pypi_token", _BEGIN + r"pypi-A", r"\bpypi-A[A-Za-z0-9_-]{40,}"),
    Rule(
        "vendor_key",
        _BEGIN + r"(?:hf_|do[opr]_v1_|dapi|shp[a-z]{2}_|gsk_|xai-|SK[0-9a-f]|AGE-SECRET|lin_api_|ATATT3)",
        r"\b(?:hf_[A-Za-z0-9]{30,}|do[opr]_v1_[a-f0-9]{64}|dapi[a-f0-9]{32}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|gsk_[A-Za-z0-9]{40,}|"
        r"xai-[A-Za-z0-9]{40,}|SK[0-9a-f]{32}|AGE-SECRET-KEY-1[A-Z0-9]{50,}|lin_api_[A-Za-z0-9]{32,}|ATATT3[A-Za-z0-9_=-]{40,})",
    ),
    Rule("telegram_token", r":AA[A-Za-z0-9_-]{8}", r"\b\d{8,10}:AA[A-Za-z0-9_-]{33}"),
    Rule("bearer", rf"(?i)bearer{_SPACE}", r"(?i)\bbearer\s+([A-Za-z0-9._~+/=-]{16,})", bearer_like),
    Rule(
        "auth_header",
        rf"(?i)authorization{_QUOTE}?{_ASSIGN}",
        rf"(?i)\bauthorization{_QUOTE}?\s*[:=]\s*{_QUOTE}?(?:basic|digest|token|apikey)\s+([^\s\"'\\,;]{{8,}})",
        not_placeholder,
    ),
    Rule(
        "api_key_header",
        rf"(?i)api-key{_QUOTE}?{_ASSIGN}",
        rf"(?i)\b(?:[a-z]+-)*api-key{_QUOTE}?\s*[:=]\s*{_QUOTE}?([^\s\"'\\,;]{{12,}})",
        bearer_like,
    ),
    Rule("cookie", r"(?i)cookie:", r"(?i)\b(?:set-)?cookie:\s*([^\s=;]+=[^\s;]{8,}(?:;\s*[^\s=;]+=[^\s;]+)*)", bearer_like),
    Rule(
        "connection_string",
        _URL_PASSWORD_TRIGGER,
        rf"(?i)\b{_DATABASE}(?:\+[a-z0-9]+)?://[^\s:/@\"'<>]*:([^\s\"'<>]+)@[A-Za-z0-9\[]",
        not_placeholder,
    ),
    Rule(
        "connection_string",
        _URL_PASSWORD_TRIGGER,
        r"(?i)\b[a-z][a-z0-9+.-]{1,30}://[^\s:/@\"'<>]*:([^\s/@\"'<>]+)@[A-Za-z0-9\[]",
        not_placeholder,
    ),
    Rule(
        "connection_string",
        rf"(?i){_CONNECTION_SECRET}{_SPACE}*=",
        rf"(?i)\b{_CONNECTION_KEY}\s*=\s*[^=\s;]+[;\s]\s*(?:[a-z ]+=\s*[^=\s;]+[;\s]\s*)*?{_CONNECTION_SECRET}\s*=\s*['\"]?([^\s;'\"]{{3,}})",
        literal,
    ),
    Rule(
        "connection_string",
        rf"(?i){_CONNECTION_SECRET}{_SPACE}*=",
        rf"(?i)\b{_CONNECTION_SECRET}\s*=\s*['\"]?([^\s;'\"]{{3,}})['\"]?[;\s]\s*{_CONNECTION_KEY}\s*=",
        literal,
    ),
    Rule(
        "url_secret",
        rf"(?i)[?&][a-z0-9_-]*(?:{_SECRET_NAME}|token|sig|signature)=",
        rf"(?i)[?&][a-z0-9_-]*(?:{_SECRET_NAME}|token|sig|signature)=([^\s&#\"'<>\\]{{8,}})",
        password_like,
    ),
    Rule(
        "env_assignment",
        rf"{_ENV_NAME}=",
        rf"\b(?:[A-Z0-9]+_)*{_ENV_NAME}=\\*['\"]?([^\s'\"\\;,]{{6,}})",
        lambda value: literal(value) and (len(value) >= 8 or not value.isdigit()),
    ),
    Rule(
        "password",
        rf"(?i)(?:password|passwd|passphrase)(?:{_SPACE}*[:=]|{_SPACE}+is{_SPACE})",
        r"(?i)(?:password|passwd|passphrase)(?:\s*[:=]\s*|\s+is\s+)[\"'`]?([^\s\"'`\\;,]{6,})",
        password_like,
    ),
    Rule("quoted_secret", _QUOTED_TRIGGER, rf'(?i){_SECRET_NAME}["\']\s*:\s*"((?:[^"\\]|\\.)+)', not_placeholder),
    Rule("quoted_secret", _QUOTED_TRIGGER, rf"(?i){_SECRET_NAME}[\"']\s*:\s*'((?:[^'\\]|\\.)+)", not_placeholder),
    Rule(
        "quoted_secret",
        _QUOTED_TRIGGER,
        rf'(?i){_SECRET_NAME}\\+"(?:\s|\\+[nrt])*:(?:\s|\\+[nrt])*\\+"((?:[^"\\]|\\{{3,}}"|\\+[^"\\])+)',
        not_placeholder,
    ),
    Rule("card_number", r"[2-6]\d{3}(?:\d{8}|[ -]\d{4}[ -]\d{4}|[ -]\d{6}[ -]\d{4})", _CARD, luhn, not_a_fraction),
)

_SENSITIVE_KEY = re2.compile(rf"(?i){_SECRET_NAME}\"$")


@lru_cache(maxsize=4096)
def is_sensitive_key(key: str) -> bool:
    """Whether a JSON key says that its value is a secret: `password`, `DB_PASSWORD`, `x-api-key`, `accessToken`; not `max_tokens`."""
    return _SENSITIVE_KEY.search(f'"{key}"') is not None
