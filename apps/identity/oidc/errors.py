"""Why a sign-in at a provider came to nothing: a sentence for the person, a code for the log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(eq=False)
class SignInRefused(Exception):  # noqa: N818 -- a refusal, shown as a page
    """`status` is 403 for a refusal and 502 where the provider itself is at fault."""

    code: str
    detail: str
    status: int = 403

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


def provider_away(what: str) -> SignInRefused:
    return SignInRefused("provider_away", f"Your organisation's sign-in is not available just now ({what}). Try again in a minute.", 502)


def bad_token(why: str) -> SignInRefused:
    """The person learns no more than that; the log says which check it was."""
    return SignInRefused(f"token_{why}", "The provider's answer could not be verified, so nobody was signed in. Start again.")
