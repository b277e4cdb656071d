"""Commands of people about authority: issue and revoke grants, approve and reject intents. Rules as in `cli.py`.

They speak to a running service (`client.py`), as the person whose token they are given.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from gateway.command import FOUND_WRONG, NO_REACH, OK, Json, Reach, Yes, answer, ask, confirmed
from ledger.errors import Misconfigured, NotWaiting

if TYPE_CHECKING:
    from collections.abc import Generator

    from gateway.approval_sheet import Asked


@Parameter(name="*")
@dataclass(frozen=True)
class Order:
    """A grant in flags."""

    name: Annotated[str | None, Parameter(help="Of the agent or person who may act.")] = None
    kind: Annotated[
        Literal["agent", "person"], Parameter(help="Only a person approves, rejects, resolves and changes policies.")
    ] = "agent"
    version: Annotated[str | None, Parameter(help="Of the agent.")] = None
    role: Annotated[str | None, Parameter(help="Of the agent or person, as policies name it.")] = None
    task: Annotated[str | None, Parameter(help="The only task that may be named under it.")] = None
    operation: Annotated[
        Sequence[str],
        Parameter(
            negative="",
            help='What may be done; repeatable: "payments.refund where currency=USD,EUR amount<=5000". Minor units.',
        ),
    ] = ()
    limit: Annotated[
        Sequence[str],
        Parameter(
            negative="",
            help='How much may be done; repeatable: "payments.* amount 100000 USD per day", "* count 9 in total".',
        ),
    ] = ()
    expires_in: Annotated[str | None, Parameter(help="30m, 12h, 30d; never later than your own.")] = None
    may_delegate: Annotated[Yes, Parameter(help="Its holder may issue narrower grants.")] = False

    def given(self) -> list[str]:
        """Name the flags that say something."""
        return [f"--{one.name.replace('_', '-')}" for one in fields(self) if getattr(self, one.name) != one.default]


_NO_ORDER: Final = Order()
_INSTEAD: Final = "use --yes"  # of being asked


def grant(
    *,
    order: Order = _NO_ORDER,
    reach: Reach = NO_REACH,
    file: Path | None = None,
    token_out: Path | None = None,
    json: Json = False,
) -> int:
    """Issue a grant below your own and hand over its token, which is shown or written once and never again.

    Parameters
    ----------
    file
        The grant as the body of POST /v1/grants, in JSON; instead of the flags above.
    token_out
        A new file for the token, readable by you alone; by default it is shown.
    """
    if file is None:
        body = _body(order)
    elif order.given():
        raise Misconfigured(f"--file says everything, and {', '.join(order.given())} as well. Nothing was issued.")
    else:
        body = _read_body(file)
    with _kept(token_out) as keep:
        issued = ask(reach, lambda client: client.post("/v1/grants", body))
        keep(issued["token"])
    _say_issued(issued, token_out, json)
    return OK


def grants(*, reach: Reach = NO_REACH, json: Json = False) -> int:
    """Show the tree of grants at and below your own, never a token."""
    found = ask(reach, lambda client: client.pages("/v1/grants"))
    if json:
        answer(found, "", as_json=True)
    else:
        from gateway.grant_words import tree  # noqa: PLC0415

        answer(None, "\n".join(tree(found)), as_json=False)
    return OK


def revoke(grant: str, *, reach: Reach = NO_REACH, reason: str, json: Json = False) -> int:
    """Revoke a grant and everything below it; once this returns, nothing more is decided under them.

    Parameters
    ----------
    grant
        Its id.
    reason
        For whoever reads the audit; kept for ever as it is written.
    """
    from gateway.client import part  # noqa: PLC0415

    done = ask(reach, lambda client: client.post(f"/v1/grants/{part(grant)}/revoke", {"reason": reason}))
    words = [f"Revoked {_listed(done['revoked'])}. Nothing more is decided under {_them(done['revoked'])}."]
    if done["aborting"]:
        words.append(f"Undecided, and aborting now: {_listed(done['aborting'])}.")
    if done["already_decided"]:
        words.append(f"Decided before, and carried out: {_listed(done['already_decided'])}.")
    answer(done, "\n".join(words), json)
    return OK


def suspend(grant: str, *, reach: Reach = NO_REACH, reason: str, json: Json = False) -> int:
    """Suspend a grant and everything below it, until somebody resumes it; it must be below your own.

    Parameters
    ----------
    grant
        Its id.
    reason
        For whoever reads the audit; kept for ever as it is written.
    """
    from gateway.client import part  # noqa: PLC0415

    done = ask(reach, lambda client: client.post(f"/v1/grants/{part(grant)}/suspend", {"reason": reason}))
    words = [f"Suspended {_listed(done['suspended'])}. Nothing is decided under {_them(done['suspended'])} for now."]
    if done["aborting"]:
        words.append(f"Undecided, and aborting now: {_listed(done['aborting'])}.")
    answer(done, "\n".join(words), json)
    return OK


def resume(grant: str, *, reach: Reach = NO_REACH, reason: str, json: Json = False) -> int:
    """Lift the suspension of a grant below your own.

    Parameters
    ----------
    grant
        Its id.
    reason
        For whoever reads the audit; kept for ever as it is written.
    """
    from gateway.client import part  # noqa: PLC0415
    from gateway.grant_words import described  # noqa: PLC0415

    done = ask(reach, lambda client: client.post(f"/v1/grants/{part(grant)}/resume", {"reason": reason}))
    answer(done, f"Resumed {described(done)}", json)
    return OK


def approve(
    intent: str,
    *,
    reach: Reach = NO_REACH,
    yes: Yes = False,
    note: str | None = None,
    full: Yes = False,
    json: Json = False,
) -> int:
    """See exactly what an intent would do, computed here from its events, and approve that.

    Parameters
    ----------
    intent
        Its id.
    yes
        Approve without being asked; needed where there is no terminal.
    note
        For whoever reads the audit.
    full
        Show long values in full.
    """
    question = _look(intent, reach, full=full, to_stderr=json)
    if not yes and not confirmed(f"Approve exactly this, {question.short}? [y/N] ", _INSTEAD):
        sys.stderr.write("Nothing was approved.\n")
        return FOUND_WRONG
    said = {"digest": question.digest, **({"note": note} if note is not None else {})}
    shown = ask(reach, lambda client: client.post(f"/v1/intents/{question.state.id}/approve", said))
    approval = shown.get("approval") or {"given": (), "quorum": 1}
    have, quorum = len(approval["given"]), approval["quorum"]
    left = f"{have} of {quorum} have; it waits for more." if have < quorum else f"{have} of {quorum} have; it goes on."
    answer(shown, f"Approved {question.short}. {left}", json)
    return OK


def reject(
    intent: str, *, reach: Reach = NO_REACH, reason: str, yes: Yes = False, full: Yes = False, json: Json = False
) -> int:
    """See exactly what an intent would do, and reject it; it is aborted and nothing happens.

    Parameters
    ----------
    intent
        Its id.
    reason
        For whoever reads the audit, the agent's people among them.
    yes
        Reject without being asked; needed where there is no terminal.
    full
        Show long values in full.
    """
    question = _look(intent, reach, full=full, to_stderr=json)
    if not yes and not confirmed(f"Reject this, {question.short}? [y/N] ", _INSTEAD):
        sys.stderr.write("Nothing was rejected.\n")
        return FOUND_WRONG
    said = {"digest": question.digest, "reason": reason}
    shown = ask(reach, lambda client: client.post(f"/v1/intents/{question.state.id}/reject", said))
    answer(shown, f"Rejected {question.short}. The intent is {shown['phase']}.", json)
    return OK


# ── what they share ──────────────────────────────────────────────────────────────────────────────────────────────


def _body(order: Order) -> dict[str, Any]:
    """Write the body of POST /v1/grants from flags; what was not given is left out. Raises `Misconfigured`."""
    from gateway import grant_words  # noqa: PLC0415

    if not order.name or not order.operation:
        raise Misconfigured("A grant needs --name and at least one --operation, or --file. Nothing was issued.")
    subject = {"kind": order.kind, "name": order.name, "version": order.version, "role": order.role}
    body = {
        "subject": {field: value for field, value in subject.items() if value is not None},
        "operations": [grant_words.permission(words) for words in order.operation],
        "limits": [grant_words.limit(words) for words in order.limit],
        "may_delegate": order.may_delegate,
        "task": order.task,
        "expires_in": None if order.expires_in is None else grant_words.seconds(order.expires_in),
    }
    return {field: value for field, value in body.items() if value is not None}


def _read_body(file: Path) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415

    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"The grant in {file} cannot be read: {error}. Nothing was issued.") from None


@contextmanager
def _kept(file: Path | None) -> "Generator[Any]":
    """Make the token's file before there is a token, so that none is lost; it goes again if none came."""
    if file is None:
        yield lambda token: None  # noqa: ARG005 it is shown instead
        return
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Misconfigured(f"{file} cannot be made: {error.strerror}. Nothing was issued.") from None
    with os.fdopen(handle, "w") as opened:
        try:
            yield lambda token: _write(opened, token)
        except BaseException:
            file.unlink()
            raise


def _write(opened: IO[str], token: str) -> None:
    opened.write(token + "\n")
    opened.flush()
    os.fsync(opened.fileno())


def _say_issued(issued: Mapping[str, Any], file: Path | None, as_json: bool) -> None:
    from gateway.grant_words import described  # noqa: PLC0415

    shown = {field: value for field, value in issued.items() if field != "token"} | {"token_file": str(file)}
    where = f"Its token is in {file}" if file else f"Its token, shown this once: {issued['token']}"
    answer(shown if file else issued, f"Issued {described(issued)}\n{where}", as_json)


def _look(intent: str, reach: Reach, *, full: bool, to_stderr: bool) -> "Asked":
    """Read an intent, check it, and show the sheet. Raises `NotWaiting`, `Corrupt`."""
    from datetime import UTC, datetime  # noqa: PLC0415

    from gateway.approval_sheet import asked, opened, sheet  # noqa: PLC0415
    from gateway.client import Client, decoded, part  # noqa: PLC0415

    async def read(client: Client) -> tuple[bytes, bytes]:
        return await client.get(f"/v1/intents/{part(intent)}"), await client.get(f"/v1/intents/{part(intent)}/events")

    shown, events = ask(reach, read)
    said = decoded(shown)
    approval = said.get("approval")
    if approval is None:
        raise NotWaiting(f"The intent is {said.get('phase')} and waits for nobody's approval. Nothing was changed.")
    question = asked(str(said.get("ledger")), intent, events, approval.get("digest"))
    stream = sys.stderr if to_stderr else sys.stdout
    stream.write(sheet(opened(question, said), datetime.now(UTC), whole=full) + "\n")
    stream.flush()
    return question


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids)


def _them(ids: Sequence[str]) -> str:
    return "it" if len(ids) == 1 else "them"
