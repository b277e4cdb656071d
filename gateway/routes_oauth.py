"""The OAuth face of grants: exchange a token for a narrower one, look at one, revoke one, and say where all this is.

Whoever shows a token acts with it: the subject_token of an exchange and the token to revoke need nothing beside them.
Tokens come in the body or in the Authorization header, never in an address.
"""

import base64
import binascii
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from authority.grants import Principal, grant_stream, principal_of
from gateway import oauth
from gateway.door import Caller, Route, Visit, bearer
from gateway.forbidden import NOT_THEIRS
from gateway.personal_terms import check_terms
from gateway.render import Shown
from gateway.visibility import is_agent
from ledger.errors import Invalid, Malformed, OAuthRefused, Unauthenticated
from ledger.store import StandingGrant


class TokenAnswer(Shown, frozen=True):
    """An issued token (RFC 8693 §2.2.1)."""

    access_token: str
    issued_token_type: str
    token_type: str
    scope: str
    authorization_details: list[dict[str, Any]]


class Introspection(Shown, frozen=True):
    """Whether a token is alive; if it is, whose and for what (RFC 7662 §2.2)."""

    active: bool


async def token(visit: Visit) -> web.Response:
    """Issue a grant below that of the subject token, as an exchange."""
    form: oauth.TokenForm = await visit.form(oauth.TokenForm)
    authority, store = visit.service.authority, visit.service.store
    subject_token = oauth.check_exchange(form, store.ledger)
    issuer = await _living(visit, subject_token, "subject_token")
    actor = None if form.actor_token is None else (await _living(visit, form.actor_token, "actor_token")).subject
    order = oauth.order(form, actor, _seconds_left(issuer, store.now()))
    try:
        check_terms(order, visit.service.registry)
        issued, shown = await authority.issue(issuer, order, secrets.token_bytes)
    except Invalid as error:
        if isinstance(error, NOT_THEIRS):
            authority.refused(issuer, "exchange_token", None)
        raise oauth.refusal(form, error) from None
    return visit.answer(oauth.issued(issued, shown, store.now()))


async def introspect(visit: Visit) -> web.Response:
    """Tell whose a token is and what for. Agents are told only of their own and of those below."""
    form: oauth.TokenOnlyForm = await visit.form(oauth.TokenOnlyForm)
    authority, store = visit.service.authority, visit.service.store
    own = _caller_token(visit, form)
    caller = None if own is None else await authority.authenticate(own)
    standing = await authority.standing(form.token)
    hidden = caller is not None and is_agent(caller) and caller.grant not in {one.issued.grant for one in standing}
    if hidden or not _alive(standing, store.now()):
        return visit.answer({"active": False})
    chain = [one.issued for one in standing]
    recorded = await store.read(grant_stream(chain[-1]))
    return visit.answer(oauth.described(chain, recorded[0].at))


async def revoke(visit: Visit) -> web.Response:
    """Revoke the grant of a token, and all below it. A token that is not alive needs nothing (RFC 7009 §2.2)."""
    form: oauth.TokenOnlyForm = await visit.form(oauth.TokenOnlyForm)
    authority = visit.service.authority
    standing = await authority.standing(form.token)
    if _alive(standing, visit.service.store.now()):
        holder = principal_of([one.issued for one in standing])
        with suppress(Unauthenticated):  # it died while we looked
            await authority.revoke(holder, holder.grant, "The holder of its token revoked it.")
    return visit.answer({})


async def metadata(visit: Visit) -> web.Response:
    """Say where the parts of the OAuth face are."""
    try:
        issuer = str(visit.request.url.origin())
    except ValueError:
        raise Malformed("The Host header names no host.") from None
    return visit.answer(oauth.metadata(issuer))


async def _living(visit: Visit, shown: str, field: str) -> Principal:
    """Return who holds a token of the form. What is wrong with it is `invalid_request` (RFC 8693 §2.2.2)."""
    try:
        return await visit.service.authority.authenticate(shown)
    except Unauthenticated:
        raise OAuthRefused(f"The {field} is not alive. Nothing was issued.", "invalid_request") from None


def _caller_token(visit: Visit, form: oauth.TokenOnlyForm) -> str | None:
    """Return the caller's own token: from the header (bearer, or as a client's secret), from the form, or none."""
    shown = visit.request.headers.getall("Authorization", ())
    if not shown:
        return form.client_secret
    scheme, _, credentials = shown[0].strip().partition(" ")
    if len(shown) == 1 and scheme.lower() == "basic":
        try:
            text = base64.b64decode(credentials.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Unauthenticated("The Authorization header is not readable. Nothing was told.") from None
        return text.partition(":")[2]
    return bearer(visit.request)


def _alive(standing: Sequence[StandingGrant], now: datetime) -> bool:
    return bool(standing) and not any(
        one.revoked or one.suspended or (one.issued.expires_at is not None and one.issued.expires_at <= now)
        for one in standing
    )


def _seconds_left(principal: Principal, now: datetime) -> float | None:
    expiries = [grant.expires_at for grant in principal.chain if grant.expires_at is not None]
    return (min(expiries) - now).total_seconds() if expiries else None


OAUTH_ROUTES: Final = (
    Route(
        method="POST",
        path="/oauth/token",
        name="exchange_token",
        summary="Exchange a token for a narrower one (RFC 8693)",
        notes="The token is shown once. If the answer is lost, nobody has it; ask again.",
        handler=token,
        body=oauth.TokenForm,
        answers={200: TokenAnswer},
        errors=(OAuthRefused,),
        caller=Caller.CLIENT,
        form=True,
    ),
    Route(
        method="POST",
        path="/oauth/introspect",
        name="introspect_token",
        summary="Tell whose a token is and what for (RFC 7662)",
        notes="The caller shows its own token as a bearer token, as a client's secret, or not at all: then the token "
        "tells of itself.",
        handler=introspect,
        body=oauth.TokenOnlyForm,
        answers={200: Introspection},
        errors=(Unauthenticated,),
        caller=Caller.CLIENT,
        form=True,
    ),
    Route(
        method="POST",
        path="/oauth/revoke",
        name="revoke_token",
        summary="Revoke a token and every grant below its own (RFC 7009)",
        handler=revoke,
        body=oauth.TokenOnlyForm,
        answers={200: None},
        caller=Caller.CLIENT,
        form=True,
    ),
    Route(
        method="GET",
        path="/.well-known/oauth-authorization-server",
        name="get_oauth_metadata",
        summary="Where the parts of the OAuth face are (RFC 8414)",
        handler=metadata,
        answers={200: None},
        caller=Caller.EVERYBODY,
    ),
)
