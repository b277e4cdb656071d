"""Who asked for what is not theirs to do: told to the audit, beside the answer.

Told is which act it was and, of an intent or an undo plan, which; other addresses may name a person. What the answer
said is not: it may name what a grant constrains.
"""

import re
from typing import TYPE_CHECKING, Final

from ledger.errors import Forbidden, WiderThanParent

if TYPE_CHECKING:
    from gateway.door import Visit

NOT_THEIRS: Final = (Forbidden, WiderThanParent)
_ABOUT: Final = ("/v1/intents/", "/v1/undo-plans/")
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


def told_of(visit: "Visit", act: str) -> None:
    """Let the audit tell of a refusal, where it is known who called. Never waits."""
    principal = getattr(visit, "principal", None)  # of a form nobody is
    if principal is not None:
        named = visit.request.rel_url.raw_path.startswith(_ABOUT) and _ID(visit.id)
        visit.service.authority.refused(principal, act, visit.id if named else None)
