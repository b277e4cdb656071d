"""Grants in the words of OAuth: an exchange becomes an order for a grant, a grant becomes what introspection tells.

    subject_token            the token of whoever delegates (RFC 8693 §2.1)
    actor_token              the token of whoever is to act; without it, the subject in the details or `client_id` is
    authorization_details    one object of type "intent_ledger_grant": what is delegated, in full (RFC 9396)
    scope                    the short form: patterns of operations
    sub, client_id, act      the person who commissioned it, who acts, and through whom it came (RFC 8693 §4.1)

Pure. Nothing is left out silently: what cannot be granted as it was asked is refused with the code of OAuth for it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from authority.grants import GrantOrder, permissions
from gateway.gate import parse
from gateway.models import Name, checked
from gateway.models_authority import NewGrant, NewSubject, order_of
from ledger import bounds
from ledger.errors import Invalid, Malformed, OAuthRefused
from ledger.events import GrantIssued
from ledger.intents import Subject

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 the name of a kind of token
DETAILS_TYPE: Final = "intent_ledger_grant"
_INTROSPECTORS: Final = ("Bearer", "client_secret_basic", "client_secret_post", "none")
_NOTHING: Final = "Nothing was issued."


class Form(BaseModel):
    """The fields of a form; what OAuth or an extension of it may add is passed over (RFC 6749 §3.2)."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, hide_input_in_errors=True)


Token = Annotated[str, Field(min_length=1, max_length=512)]


class TokenForm(Form):
    """A token exchange (RFC 8693 §2.1)."""

    grant_type: str = Field(json_schema_extra={"enum": [EXCHANGE]})
    subject_token: Token | None = Field(default=None, description="The token of whoever delegates.")
    subject_token_type: str | None = Field(default=None, json_schema_extra={"enum": [ACCESS_TOKEN]})
    actor_token: Token | None = Field(default=None, description="The token of whoever is to act.")
    actor_token_type: str | None = Field(default=None, json_schema_extra={"enum": [ACCESS_TOKEN]})
    requested_token_type: str | None = Field(default=None, json_schema_extra={"enum": [ACCESS_TOKEN]})
    client_id: Name | None = Field(default=None, description="The name of the agent, where nothing else names it.")
    scope: str | None = Field(default=None, description="Patterns of operations, with spaces between them.")
    authorization_details: str | None = Field(
        default=None, description=f"JSON (RFC 9396): one object of type `{DETAILS_TYPE}`, as POST /v1/grants takes it."
    )
    audience: str | None = Field(default=None, description="The name of this ledger, or nothing.")
    resource: str | None = Field(default=None, description="Not used here: answered `invalid_target`.")


class TokenOnlyForm(Form):
    """A token to look at or to revoke (RFC 7662 §2.1, RFC 7009 §2.1)."""

    token: Token
    token_type_hint: str | None = None
    client_secret: Token | None = Field(default=None, description="The caller's own token, where no header has it.")


class GrantDetails(NewGrant):
    """What is delegated, as RFC 9396 writes it."""

    type: Literal["intent_ledger_grant"]
    subject: NewSubject | None = None  # type: ignore[assignment] # the actor or the client is one


def check_exchange(form: TokenForm, ledger: str) -> str:
    """Return the subject token of an exchange that is put as RFC 8693 §2.1 says. Raises `OAuthRefused`."""
    if form.grant_type != EXCHANGE:
        raise OAuthRefused(f"Only {EXCHANGE} is granted here. {_NOTHING}", "unsupported_grant_type")
    if form.subject_token is None or form.subject_token_type is None:
        raise OAuthRefused(f"An exchange needs subject_token and subject_token_type. {_NOTHING}", "invalid_request")
    if (form.actor_token is None) != (form.actor_token_type is None):
        raise OAuthRefused(f"actor_token and actor_token_type go together. {_NOTHING}", "invalid_request")
    for kind in (form.subject_token_type, form.actor_token_type, form.requested_token_type):
        if kind not in {None, ACCESS_TOKEN}:
            raise OAuthRefused(f"Only tokens of the type {ACCESS_TOKEN} are known here. {_NOTHING}", "invalid_request")
    if form.resource is not None or form.audience not in {None, ledger}:
        raise OAuthRefused(f"Tokens are issued for the ledger {ledger!r} only. {_NOTHING}", "invalid_target")
    return form.subject_token


def order(form: TokenForm, actor: Subject | None, seconds_left: float | None) -> GrantOrder:
    """Return the grant that an exchange asks for. Raises `OAuthRefused`.

    `actor` is whose token was shown as actor_token; `seconds_left` is how long the issuer's grant lives, None for ever.
    Without a lifetime of its own a token lives OAUTH_SECONDS, or as long as the issuer's grant if that is shorter.
    """
    if (form.scope is None) == (form.authorization_details is None):
        raise OAuthRefused(f"Ask for either scope or authorization_details. {_NOTHING}", "invalid_scope")
    if form.authorization_details is None:
        found = _by_scope(form, actor)
    else:
        found = _by_details(form.authorization_details, actor, form.client_id)
    if found.expires_in is None:
        left = bounds.OAUTH_SECONDS if seconds_left is None else min(bounds.OAUTH_SECONDS, int(seconds_left))
        found = found.model_copy(update={"expires_in": max(left, 1)})
    return order_of(found)


def refusal(form: TokenForm, error: Invalid) -> OAuthRefused:
    """Say that the grant asked for cannot be issued, with the code for the field that asked for it."""
    code = "invalid_scope" if form.authorization_details is None else "invalid_authorization_details"
    return _refused(error, code)


def issued(grant: GrantIssued, token: str, now: datetime) -> dict[str, Any]:
    """Return the answer to a successful exchange (RFC 8693 §2.2.1)."""
    left = {} if grant.expires_at is None else {"expires_in": max(int((grant.expires_at - now).total_seconds()), 0)}
    return {
        "access_token": token,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        **left,
        "scope": _scope(grant),
        "authorization_details": [_details(grant)],
    }


def described(chain: Sequence[GrantIssued], issued_at: datetime) -> dict[str, Any]:
    """Return what introspection tells of a living token from its chain of grants, the first one first (RFC 7662 §2.2).

    `sub` is the person who commissioned it, `client_id` who holds it. `act` names who acts, and nested in it those
    through whom the authority came, up to that person.
    """
    leaf = chain[-1]
    expiry = {} if leaf.expires_at is None else {"exp": int(leaf.expires_at.timestamp())}
    person = max((place for place, one in enumerate(chain) if one.subject.kind == "person"), default=0)
    act: dict[str, Any] | None = None
    for one in chain[person + 1 :]:
        act = {"sub": one.subject.name, "grant": one.grant, **({"act": act} if act else {})}
    return {
        "active": True,
        "sub": chain[person].subject.name,
        "client_id": leaf.subject.name,
        "username": leaf.subject.name,
        "token_type": "Bearer",
        "jti": leaf.grant,
        "iat": int(issued_at.timestamp()),
        **expiry,
        "scope": _scope(leaf),
        "authorization_details": [_details(leaf)],
        "custody": [one.grant for one in chain],
        **({"act": act} if act else {}),
    }


def metadata(issuer: str) -> Mapping[str, Any]:
    """Return what RFC 8414 §2 tells about this authorization server; `issuer` is its URL."""
    return {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/oauth/token",
        "token_endpoint_auth_methods_supported": ["none"],
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "introspection_endpoint_auth_methods_supported": _INTROSPECTORS,
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "revocation_endpoint_auth_methods_supported": ["none"],
        "response_types_supported": [],
        "grant_types_supported": [EXCHANGE],
        "authorization_details_types_supported": [DETAILS_TYPE],
        "service_documentation": f"{issuer}/openapi.json",
    }


def _by_scope(form: TokenForm, actor: Subject | None) -> NewGrant:
    patterns = (form.scope or "").split(" ")
    subject = _subject(actor, form.client_id)
    value = {"subject": subject, "operations": [{"operation": one} for one in dict.fromkeys(patterns)]}
    try:
        return checked(NewGrant, value)
    except Invalid as error:
        raise _refused(error, "invalid_scope") from None


def _by_details(text: str, actor: Subject | None, client_id: str | None) -> NewGrant:
    try:
        value = parse(text.encode())
        details = checked(GrantDetails, value[0] if isinstance(value, list) and len(value) == 1 else value)
    except (Invalid, Malformed) as error:
        raise _refused(error, "invalid_authorization_details") from None
    named = details.subject
    if named is not None and actor is not None and (named.kind, named.name) != (actor.kind, actor.name):
        raise OAuthRefused(f"The details and the actor_token name different subjects. {_NOTHING}", "invalid_request")
    if named is not None:
        return details
    return details.model_copy(update={"subject": checked(NewSubject, _subject(actor, client_id))})


def _subject(actor: Subject | None, client_id: str | None) -> dict[str, Any]:
    if actor is not None:
        return {"kind": actor.kind, "name": actor.name, "version": actor.version, "role": actor.role}
    if client_id is None:
        raise OAuthRefused(
            f"Name who is to act: an actor_token, a subject or a client_id. {_NOTHING}", "invalid_request"
        )
    return {"kind": "agent", "name": client_id}


def _refused(error: Invalid | Malformed, code: str) -> OAuthRefused:
    places = error.extras.get("errors", ())
    said = "; ".join(f"{place['path']}: {place['message']}" for place in places)
    return OAuthRefused(f"{error.message} {said}".strip(), code)


def _scope(grant: GrantIssued) -> str:
    return " ".join(dict.fromkeys(one.operation for one in permissions(grant)))


def _details(grant: GrantIssued) -> dict[str, Any]:
    return {
        "type": DETAILS_TYPE,
        "subject": grant.subject,
        "task": grant.task,
        "operations": permissions(grant),
        "limits": grant.limits,
        "may_delegate": grant.may_delegate,
    }
