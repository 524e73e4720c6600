"""The table of redaction rules: what a secret looks like, and which near misses look like one and are not."""

from __future__ import annotations

from functools import lru_cache

import re2

from apps.core.domain.redaction_shapes import (
    ASSIGN,
    BEGIN,
    QUOTE,
    SPACE,
    Rule,
    bearer_like,
    key_like,
    literal,
    luhn,
    not_a_fraction,
    not_placeholder,
    password_like,
    random_looking,
)
from apps.core.domain.redaction_vendors import VENDORS

# A name that says "what follows is secret", at the end of an identifier: DB_PASSWORD, clientSecret, x-api-key, access_token.
_SECRET_NAME = (
    r"(?:passwords?|passwd|passphrase|pwd|secrets?|(?:secret|api|private|access|account|signing|encryption)[_ -]?keys?|credentials?|"
    r"authorization|cookies?|(?:access|auth|refresh|api|bearer|session|csrf|xsrf|bot|user|app|oauth|security)[_ -]?token|"
    r"[\"'_-]id[_-]?token|[\"']token)"
)
# True, false and null give nothing away, so that a check named `no_secrets` costs no closer look.
SENSITIVE_KEY_TRIGGER = rf"(?i){_SECRET_NAME}\"\s*:\s*[\"\[{{0-9-]"

_DATABASE = r"(?:postgres|postgresql|mysql|mariadb|mongodb|redis|rediss|amqp|amqps|mssql|sqlserver|clickhouse|cockroachdb|ldap|ldaps)"
_CONNECTION_KEY = (
    r"(?:host|hostaddr|server|data source|user|user id|username|uid|dbname|database|initial catalog|port|endpoint|"
    r"accountname|sharedaccesskeyname)"
)
_CONNECTION_SECRET = r"(?:password|passwd|pwd|accountkey|sharedaccesskey)"
_ENV_NAME = r"(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|API_?KEY|(?:ACCESS|SECRET|PRIVATE|ENCRYPTION|SIGNING|ACCOUNT)_KEY|TOKEN)"
_KEY_NAME = (
    r"(?:(?:api|secret|access|signing|encryption|subscription|account)[_ -]?key|client[_ -]?secret|(?:access|auth|api|refresh)[_ -]?token)"
)
_PEM = r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
_PEM_END = r"-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
_URL_PASSWORD_TRIGGER = r"://[^\s:/@\"'<>]*:[^\s\"'<>]*@"
_SPACES = r"(?:\s|\\+[fnrt])*"
_QUOTED_TRIGGER = rf"(?i){_SECRET_NAME}{QUOTE}{_SPACES}:{_SPACES}{QUOTE}"

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
    *VENDORS,
    Rule(
        "aws_secret_key",
        r"A[KS]IA[A-Z0-9]{16}|(?i:secret[_ -]?(?:access[_ -]?)?key|aws[_ -]?secret)",
        rf"(?:\bA[KS]IA[A-Z0-9]{{16}}{QUOTE}?[\s,:;|/]{{1,8}}|(?i:secret[_ -]?(?:access[_ -]?)?key|aws[_ -]?secret){QUOTE}?\s*(?:[:=]>?|is)?\s*)"
        rf"{QUOTE}?([A-Za-z0-9/+]{{40}})(?:[^A-Za-z0-9/+]|$)",
        random_looking,
    ),
    Rule("bearer", rf"(?i)bearer{SPACE}", r"(?i)\bbearer\s+([A-Za-z0-9._~+/=-]{16,})", bearer_like),
    Rule(
        "auth_header",
        rf"(?i)authorization{QUOTE}?{ASSIGN}",
        rf"(?i)\bauthorization{QUOTE}?\s*[:=]\s*{QUOTE}?(?:basic|digest|token|apikey)\s+([^\s\"'\\,;]{{8,}})",
        not_placeholder,
    ),
    Rule(
        "api_key_header",
        rf"(?i)api-key{QUOTE}?{ASSIGN}",
        rf"(?i)\b(?:[a-z]+-)*api-key{QUOTE}?\s*[:=]\s*{QUOTE}?([^\s\"'\\,;]{{12,}})",
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
        rf"(?i){_CONNECTION_SECRET}{SPACE}*=",
        rf"(?i)\b{_CONNECTION_KEY}\s*=\s*[^=\s;]+[;\s]\s*(?:[a-z ]+=\s*[^=\s;]+[;\s]\s*)*?{_CONNECTION_SECRET}\s*=\s*['\"]?([^\s;'\"]{{3,}})",
        literal,
    ),
    Rule(
        "connection_string",
        rf"(?i){_CONNECTION_SECRET}{SPACE}*=",
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
    Rule("private_key_id", r"private_key_id", rf"private_key_id{QUOTE}?\s*:\s*{QUOTE}?([0-9a-f]{{40}})"),
    Rule(
        "password",
        rf"(?i)(?:password|passwd|passphrase)(?:{SPACE}*[:=]|{SPACE}+is{SPACE})",
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
    Rule(
        "assigned_key",
        rf"(?i){_KEY_NAME}{QUOTE}?{_SPACES}(?:[:=]|is{SPACE})",
        rf"(?i){_KEY_NAME}{QUOTE}?\s*(?:[:=]>?|is\s)\s*[\"'`]?([A-Za-z0-9._~+/=-]{{16,}})",
        key_like,
    ),
    # Bounded on both sides: of random hexadecimal ids one in two hundred holds twelve digits in a row.
    Rule("card_number", BEGIN + r"[2-6]\d{3}(?:\d{8,15}\b|[ -]\d{4}[ -]\d{4}|[ -]\d{6}[ -]\d{4})", _CARD, luhn, not_a_fraction),
)

_SENSITIVE_KEY = re2.compile(rf"(?i){_SECRET_NAME}\"$")


@lru_cache(maxsize=4096)
def is_sensitive_key(key: str) -> bool:
    """Whether a JSON key says that its value is a secret: `password`, `DB_PASSWORD`, `x-api-key`, `accessToken`; not `max_tokens`."""
    return _SENSITIVE_KEY.search(f'"{key}"') is not None
