"""How values look in the admin: safe HTML made of plain values. Everything that comes from outside is escaped here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from apps.core.domain.figures import format_token_count

EMPTY: Final = mark_safe('<span class="mc-none">–</span>')

# Tone -> icon: a status is told by its word and its sign, the colour only helps.
ICONS: Final = {
    "good": "check_circle",
    "bad": "cancel",
    "warn": "warning",
    "wait": "hourglass_top",
    "info": "info",
    "off": "do_not_disturb_on",
    "plain": "",
}
# The words of every room's states, outcomes and levels.
TONES: Final = {
    **dict.fromkeys(("champion", "active", "promoted", "completed", "pass", "promote", "approved", "yes", "low", "answered", "A0"), "good"),
    **dict.fromkeys(("blocked", "rejected", "failed", "fail", "reject", "refused", "high", "revoked", "invalid", "quarantined"), "bad"),
    **dict.fromkeys(("awaiting_approval", "suspended", "held", "rolled_back", "rollback", "force", "suspend", "medium", "expired"), "warn"),
    **dict.fromkeys(("flagged", "inconclusive", "forced", "voided", "ask", "locked"), "warn"),
    **dict.fromkeys(("collecting", "running", "pending", "leased"), "wait"),
    **dict.fromkeys(("ready", "challenger", "shared", "delivered"), "info"),
    **dict.fromkeys(("live", "finished", "acknowledged", "used"), "good"),
    **dict.fromkeys(("stale", "lagging"), "warn"),
    **dict.fromkeys(("open", "converging"), "wait"),
    **dict.fromkeys(("silent", "superseded"), "off"),
    "denied": "bad",
    **dict.fromkeys(("archived", "aborted", "retired", "deleted", "retire", "no", "deny"), "off"),
}


def badge(text: object, tone: str | None = None, *, icon: str | None = None) -> SafeString:
    """A status as icon and word; its tone is that of the word unless one is given."""
    word = str(text)
    tone = tone or TONES.get(word, "plain")
    sign = ICONS[tone] if icon is None else icon
    drawn = format_html('<span class="material-symbols-outlined" aria-hidden="true">{}</span>', sign) if sign else ""
    return format_html('<span class="mc-badge mc-{}">{}{}</span>', tone, drawn, word.replace("_", " "))


def link(url: str, text: object) -> SafeString:
    return format_html('<a class="mc-link" href="{}">{}</a>', url, text)


def admin_url(obj: Model, act: str = "") -> str:
    """The page of an object, or of one of its acts. Raises NoReverseMatch for a model that has no page."""
    opts = obj._meta
    name = f"admin:{opts.app_label}_{opts.model_name}_{'act' if act else 'change'}"
    return reverse(name, args=[obj.pk, act] if act else [obj.pk])


def list_url(model: type[Model], **query: object) -> str:
    return reverse(
        f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist", query={name: str(value) for name, value in query.items()}
    )


def link_to(obj: Model | None, text: object = None) -> SafeString:
    """The object by its name, leading to its page where it has one."""
    if obj is None:
        return EMPTY
    shown = str(obj) if text is None else text
    try:
        return link(admin_url(obj), shown)
    except NoReverseMatch:
        return format_html("{}", shown)


def moment(value: datetime | None) -> SafeString:
    """A time in UTC to the minute, the exact one in its title."""
    if value is None:
        return EMPTY
    at = value.astimezone(UTC)
    return format_html(
        '<time class="mc-time" datetime="{}" title="{}">{}</time>',
        at.isoformat(),
        at.strftime("%Y-%m-%d %H:%M:%S.%f UTC"),
        at.strftime("%Y-%m-%d %H:%M"),
    )


def money(micros: int | None) -> SafeString:
    """Micro-dollars as US dollars, with as many digits as there are."""
    if micros is None:
        return EMPTY
    whole, rest = divmod(abs(micros), 1_000_000)
    digits = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return format_html('<span class="mc-num">{}${}.{}</span>', "−" if micros < 0 else "", f"{whole:,}", digits)


def number(value: int | None, unit: str = "") -> SafeString:
    return EMPTY if value is None else format_html('<span class="mc-num">{}{}</span>', f"{value:,}", f" {unit}" if unit else "")


def tokens(value: int | None) -> SafeString:
    """A number of tokens in few characters, the exact one in its title and for who listens."""
    if value is None:
        return EMPTY
    exact = f"{value:,} tokens"
    return format_html(
        '<span class="mc-num" title="{}"><span aria-hidden="true">{}</span><span class="mc-sr">{}</span></span>',
        exact,
        format_token_count(value),
        exact,
    )


def points(hundredths: int | None) -> SafeString:
    """Hundredths of a point as points."""
    return EMPTY if hundredths is None else format_html('<span class="mc-num">{}</span>', f"{hundredths / 100:.1f}")


def digest(value: str | bytes | memoryview | None, length: int = 10) -> SafeString:
    """A digest by its first digits, the whole of it in the title."""
    if not value:
        return EMPTY
    text = value if isinstance(value, str) else bytes(value).hex()
    kind, colon, digits = text.rpartition(":")
    rest = "…" if len(digits) > length else ""
    return format_html('<code class="mc-digest" title="{}">{}{}{}{}</code>', text, kind, colon, digits[:length], rest)


def code(value: object) -> SafeString:
    return EMPTY if value in (None, "") else format_html('<code class="mc-code">{}</code>', value)


def block(text: str | None) -> SafeString:
    """A text of several lines as it is. Alpine keeps out of it, whatever it holds."""
    return format_html('<pre class="mc-text" x-ignore hx-disable>{}</pre>', text) if text else EMPTY


def pretty(value: Any) -> SafeString:
    """JSON for reading."""
    return EMPTY if value in (None, {}, [], "") else block(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str))


def yes_no(value: bool | None) -> SafeString:
    return EMPTY if value is None else badge("yes", "good") if value else badge("no", "off")


def words(values: Any) -> SafeString:
    """Several short words, one after the other."""
    found = [str(value) for value in values or ()]
    return format_html_join(" ", '<span class="mc-word">{}</span>', ((word,) for word in found)) if found else EMPTY


def joined(parts: Iterable[object]) -> SafeString:
    """Several cells in one, side by side."""
    return format_html_join(" ", "{}", ((part,) for part in parts))


def bar(done: int, total: int, label: str = "") -> SafeString:
    """Progress as a bar with its figures in words."""
    return format_html(
        '<span class="mc-progress"><progress value="{}" max="{}" aria-label="{}"></progress><span class="mc-num">{} of {}</span></span>',
        done,
        max(total, 1),
        label or "progress",
        f"{done:,}",
        f"{total:,}",
    )


def tree(value: Any, depth: int = 0) -> SafeString:
    """Any JSON as lists of keys and values, for reading."""
    if isinstance(value, dict) and value:
        rows = ((key, tree(item, depth + 1)) for key, item in value.items())
        plain = all(not isinstance(item, (dict, list)) and len(str(item)) < 60 for item in value.values())
        return format_html(
            '<dl class="mc-tree{}">{}</dl>', " mc-flat" if plain else "", format_html_join("", "<div><dt>{}</dt><dd>{}</dd></div>", rows)
        )
    if isinstance(value, (list, tuple)) and value:
        if all(not isinstance(item, (dict, list)) and len(str(item)) < 60 for item in value):
            return words(value)
        return format_html('<ul class="mc-list">{}</ul>', format_html_join("", "<li>{}</li>", ((tree(item, depth + 1),) for item in value)))
    if isinstance(value, bool):
        return format_html("{}", "yes" if value else "no")
    if isinstance(value, str):
        return block(value) if "\n" in value else format_html('<span class="mc-line" x-ignore>{}</span>', value or "(empty)")
    if isinstance(value, int):
        return number(value)
    return mark_safe('<span class="mc-none">none</span>') if value in (None, [], {}) else format_html("{}", value)
