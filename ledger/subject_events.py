"""The events of data subjects, part of the union in `ledger/events.py`, whose rules hold here."""

from ledger.event import Event


class SubjectErased(Event, frozen=True):
    """The key of a data subject was destroyed, and with it everything that was sealed under it, for ever.

    Whom it was about is not said: `key` is a pseudonym, and what knew whose it is cannot tell any more.
    """

    key: str
    reason: str
    by: str
    grant: str
    custody: tuple[str, ...]
