"""E-mail addresses and telephone numbers: content, not secrets, so that a tenant's policy says whether they go."""

from __future__ import annotations

from apps.core.domain.redaction_shapes import Rule

# What follows a dot and is no top-level domain: names of files such as `icon@2x.png`.
_FILES = frozenset(
    (
        *("png", "jpg", "jpeg", "gif", "svg", "webp", "pdf", "css", "scss", "js", "mjs", "ts", "tsx", "jsx", "json"),
        *("yaml", "yml", "toml", "md", "txt", "csv", "html", "xml", "py", "rb", "go", "rs", "sh", "log", "lock"),
    )
)
_MIN_DIGITS, _MAX_DIGITS = 7, 15


def _address(value: str) -> bool:
    return value.rpartition(".")[2].lower() not in _FILES


def _not_remote(text: str, start: int, end: int) -> bool:
    """False for the remote of a repository (`git@github.com:acme/repo.git`) and the login of an address (`ssh://deploy@host.example.com`)."""
    remote = text[end : end + 1] == ":" and text[end + 1 : end + 2].strip() != ""
    return not remote and text[max(0, start - 3) : start] != "://"


def _number(value: str) -> bool:
    return _MIN_DIGITS <= sum(c.isdigit() for c in value) <= _MAX_DIGITS


def _apart(text: str, start: int, end: int) -> bool:
    """False inside a longer number, identifier, version or path: what stands next to it would belong to it."""
    before, after = text[start - 1 : start] if start else "", text[end : end + 2]
    if before and (before.isalnum() or before in "._-+/#=@$€£%"):
        return False
    return not after or not (after[0].isalnum() or after[0] in "_/%@" or (after[0] in ".-:," and after[1:2].isalnum()))


def _alone(text: str, start: int, end: int) -> bool:
    """False also after a group of digits: it goes on from there, as the numbers of accounts do."""
    return _apart(text, start, end) and not (
        text[start] == "0" and text[max(0, start - 1) : start] == " " and text[max(0, start - 2) : start - 1].isdigit()
    )


# Letters of every language: what is not ASCII, since classes of Unicode make programs a thousand times as large.
_WORD = r"A-Za-z0-9\x{80}-\x{10ffff}"
_SEPARATED = r"[ .\-/\x{a0}\x{2011}]?"
_GROUPS = rf"(?:{_SEPARATED}\(?\d{{1,5}}\)?)"
_CALLED = r"(?i:(?:phone|telephone|tel|mobile|cell|fax|whatsapp|call|sms|telefon|handy)(?: ?(?:no|nr|number))?\.?[ :=]{1,3})"

EMAIL = (
    Rule(
        "email",
        rf"@[{_WORD}-]+\.",
        rf"[{_WORD}_][{_WORD}._%+'-]*@(?:[{_WORD}][{_WORD}-]*\.)+[A-Za-z\x{{80}}-\x{{10ffff}}]{{2,}}",
        _address,
        _not_remote,
    ),
)
# What may stand before a number, also as JSON writes control characters: `\u0001`, of which the digits would hide that it begins here.
_BEFORE = r"^|\\u[0-9a-f]{4}|"

PHONE = (
    # With a country: +49 30 901820, +1 (212) 555-0143, 0044 20 7946 0958.
    Rule("phone", rf"\+[1-9]|(?:{_BEFORE}[^0-9])00[1-9]", rf"(?:\+|00)[1-9]\d{{0,2}}{_GROUPS}{{2,6}}", _number, _alone),
    # North American: (212) 555-0143, 212-555-0143, 212.555.0143.
    Rule("phone", r"\d{3}[).\- ]+\d{3}[.\- ]\d{4}", r"(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{4}", None, _apart),
    # National, with its leading zero in a group of its own: 030 901820, 0171/1234567, (0)20 7946 0958, 01 42 68 53 00.
    Rule(
        "phone",
        rf"(?:{_BEFORE}[^0-9.-])0\d{{1,4}}\)?[ /-]+\d{{2}}",
        r"\(?0\d{1,4}\)?(?: ?[/-] ?| )\d{2,8}(?:[ -]\d{2,5}){0,4}",
        lambda value: 9 <= sum(c.isdigit() for c in value) <= 12,
        _alone,
    ),
    # Any number that is called one.
    Rule(
        "phone",
        rf"{_CALLED}\(?\d{{2}}",
        rf"\b{_CALLED}(\(?\d{{2,5}}\)?(?:[ .\-/]?\d{{2,6}}){{1,4}})",
        _number,
        _apart,
    ),
)
