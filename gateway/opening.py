"""Where sealed values are opened for who asks: the last thing that happens to an answer before it leaves.

An answer without any costs one look for six letters. What a caller may not see stays sealed: people see every intent,
an agent those that `gateway/visibility.py` lets it see, wherever a value of theirs stands. What nobody can open any
more shows as erased.
"""

from typing import Any

from gateway.door import Visit
from gateway.visibility import is_agent, seen
from ledger.errors import NotFound
from ledger.sealing import ERASED, VEILED, open_json, tokens


async def opened(visit: Visit, body: bytes) -> bytes:
    """Return an answer in JSON with what the caller may see opened. Raises `Unavailable`."""
    keys = visit.service.subject_keys
    found = tokens(body)
    if keys is None or not found:
        return body
    living = await keys.living({key for key, _ in found})
    visible = {intent for intent in {intent for _, intent in found} if await _may_see(visit, intent)}
    ledger = visit.service.store.ledger

    def opener(key: str, intent: str, blob: str) -> Any:
        if intent not in visible:
            return VEILED
        if key not in living:
            return ERASED
        try:
            return living[key].open(ledger, intent, blob)
        except ValueError:  # it only looks like one
            return VEILED

    return open_json(body, opener)


async def _may_see(visit: Visit, intent: str) -> bool:
    if not is_agent(visit.principal):
        return True
    try:
        await seen(visit, intent)
    except NotFound:
        return False
    return True
