"""What goes into the fold of a chain and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from apps.core.errors import FieldError
from apps.packs.domain.scopes import Scope

Kind = Literal["domain", "policy"]


@dataclass(frozen=True, slots=True)
class VersionRef:
    """One version on a chain: what a pack says at a scope. `content` is what `parse_content` accepted and `digest` is its digest.

    Two are equal when all but the content is, since the digest stands for it; so a tuple of them is a key to memoise a fold by.
    """

    scope: Scope
    pack: str
    kind: Kind
    number: int
    version_id: str
    digest: str
    content: Mapping[str, Any] = field(compare=False, repr=False)

    @property
    def origin(self) -> dict[str, Any]:
        """`{scope, pack, version}`, as origins in the API name it."""
        return {"scope": str(self.scope), "pack": self.pack, "version": self.number}

    @property
    def lineage(self) -> dict[str, Any]:
        """One entry of `lineage` in the answer of resolve."""
        return {"scope": str(self.scope), "pack": self.pack, "kind": self.kind, "version": self.number, "digest": self.digest}

    def __str__(self) -> str:
        return f"{self.pack} version {self.number} at {self.scope}"


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` (inclusive) to `end` (exclusive) of a section's UTF-8 text, all written by one version."""

    start: int
    end: int
    scope: str
    pack: str
    version: int

    def as_json(self) -> dict[str, Any]:
        """The span as origins carry it."""
        return {"scope": self.scope, "pack": self.pack, "version": self.version, "start": self.start, "end": self.end}


@dataclass(frozen=True, slots=True)
class Violation:
    """A leaf that breaks an ancestor's rule.

    `scope`, `pack`, `version` name the version whose rule is broken (its own, when a version contradicts itself); `pointer` is the leaf in
    the content of `layer`, the version that breaks it (None: the content under check). `neutral` means that the fold already takes the
    stricter of both, so that it is refused when written but is no reason to skip a layer that is live.
    """

    scope: str
    pack: str
    version: int
    pointer: str
    code: Literal["constraint_violation", "locked_section"]
    detail: str
    layer: VersionRef | None = None
    neutral: bool = False

    def as_json(self) -> dict[str, Any]:
        """The violation as resolve and the API answer it."""
        found: dict[str, Any] = {"scope": self.scope, "pack": self.pack, "version": self.version}
        found |= {"pointer": self.pointer, "code": self.code, "detail": self.detail}
        if self.layer is not None:
            found["layer"] = self.layer.origin
        return found

    def as_error(self) -> FieldError:
        """The violation as one error of a Problem."""
        return FieldError(self.pointer, self.code, self.detail)


@dataclass(frozen=True, slots=True)
class Effective:
    """The effective pack of a chain. Shared by everyone who memoises it: nobody changes what it holds.

    - `content`: every block, empty where nobody wrote one. A block's null and absent keys are left out: they mean no limit. Sections are
      `{text, order, file, locked?}`; what constraints say on tools, autonomy, prompt tokens and models is also part of those blocks.
    - `origins`: pointer of each leaf (a scalar, or an empty list or object that somebody wrote) -> `{scope, pack, version}`; of a
      restricted leaf the weakest version that already imposes the value. The text of a section that several versions wrote has a list of
      `{scope, pack, version, start, end}` instead, in byte offsets.
    - `spans`: section -> who wrote each byte of its text, without gaps or overlaps; a blank line at a join is of the part that was added.
    - `digest`: of `content` only. `lineage`: the versions, in fold order. `violations`: of the layers that `resolve_chain` left out.
    """

    content: Mapping[str, Any]
    origins: Mapping[str, Any]
    spans: Mapping[str, tuple[Span, ...]]
    digest: str
    lineage: tuple[Mapping[str, Any], ...]
    violations: tuple[Violation, ...] = ()
