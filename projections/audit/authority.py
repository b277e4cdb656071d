"""The entries of authority itself: who issued and revoked which grant, who set which policy and which task, which
dead tokens were shown, and who asked for what is not theirs to do.

Each event of authority opens one entry, which never changes again. It carries the chain of whoever did it; that of a
new grant ends with the grant itself, and that of a refused token is its grant's, because nobody else is known. What was
granted, revoked or commissioned stands in `detail` as the event said it.
"""

from typing import Any

from ledger import events as e
from ledger.canonical import canonical_text
from ledger.errors import IllegalTransition
from ledger.grants import Permission
from projections.audit.entry import Act, AuditRow, Kind, entry_of, plain, under


def opened(rows: tuple[AuditRow, ...], recorded: e.Recorded) -> AuditRow:
    """Open the entry of an event of authority; `rows` are the earlier ones of its stream.

    Raises `IllegalTransition` for an event that is none.
    """
    match recorded.event:
        case e.GrantIssued() as issued:
            return entry_of(recorded, Act.ISSUED, **_issued(issued))
        case e.GrantRevoked() as revoked:
            return entry_of(recorded, Act.REVOKED, **_stopped(rows, revoked))
        case e.GrantSuspended() as suspended:
            return entry_of(recorded, Act.SUSPENDED, **_stopped(rows, suspended))
        case e.GrantResumed() as resumed:
            return entry_of(recorded, Act.RESUMED, **_stopped(rows, resumed))
        case e.PolicySetAdded(policy_set=digest, policies=policies, by=by, custody=custody):
            named = {"policies": policies, "policy_set": digest}
            return entry_of(recorded, Act.POLICY_ADDED, by=by, **named, **under(custody))
        case e.PolicySetActivated(policy_set=digest, by=by, custody=custody):
            return entry_of(recorded, Act.POLICY_ACTIVATED, by=by, policy_set=digest, **under(custody))
        case e.TaskDefined(contract=contract, by=by, custody=custody):
            scope = {"operations": contract.scope, "detail": canonical_text(contract)}
            whose = {"by": by, "commissioned_by": by, "task": contract.task}
            return entry_of(recorded, Act.TASK_DEFINED, **whose, **scope, **under(custody))
        case e.SubjectErased(key=key, reason=reason, by=by, custody=custody):
            return entry_of(
                recorded, Act.ERASED, by=by, reason=plain(reason), detail=canonical_text({"key": key}), **under(custody)
            )
        case e.TokenRefused() | e.ActRefused() as refused:
            return _refused(recorded, refused)
        case _:
            raise IllegalTransition(f"{recorded.type} cannot stand in stream {recorded.stream}.")


def _refused(recorded: e.Recorded, refused: e.TokenRefused | e.ActRefused) -> AuditRow:
    if isinstance(refused, e.ActRefused):
        by, terms = refused.by, {"act": refused.act, "of": refused.of, "times": refused.times}
        whose = {"agent_kind": by.kind, "agent": by.name, "agent_version": by.version, "by": by.name}
        chain = under(refused.custody or (refused.grant,))
        return entry_of(recorded, Act.REFUSED, **whose, detail=canonical_text(terms), **chain)
    grant = refused.grant
    known = refused.custody or ((grant,) if grant is not None else ())
    detail = canonical_text({"grant": grant, "times": refused.times})
    return entry_of(recorded, Act(f"token_{refused.cause}"), detail=detail, **under(known))


def _issued(issued: e.GrantIssued) -> dict[str, Any]:
    permissions = [Permission(one) if isinstance(one, str) else one for one in issued.operations]
    return {
        "agent_kind": issued.subject.kind,
        "agent": issued.subject.name,
        "agent_version": issued.subject.version,
        "by": issued.issued_by,
        "task": issued.task,
        "commissioned_by": issued.commissioned_by,
        "operations": tuple(permission.operation for permission in permissions),
        "detail": canonical_text(
            {
                "grant": issued.grant,
                "operations": permissions,
                "limits": issued.limits,
                "expires_at": issued.expires_at,
                "may_delegate": issued.may_delegate,
            }
        ),
        **under(issued.custody or (issued.grant,)),
    }


def _stopped(rows: tuple[AuditRow, ...], said: e.GrantRevoked | e.GrantSuspended | e.GrantResumed) -> dict[str, Any]:
    anomaly = getattr(said, "anomaly", None)
    detail = {"grant": said.grant, **({"anomaly": anomaly} if anomaly is not None else {})}
    known = {"by": said.by, "reason": plain(said.reason) or None, "detail": canonical_text(detail)}
    issued = next((row for row in rows if row.kind is Kind.ISSUE), None)
    if issued is None:
        return known | under(said.custody or (said.grant,))
    names = ("agent_kind", "agent", "agent_version", "task", "commissioned_by", "operations")
    whose = {name: getattr(issued, name) for name in names}
    return known | whose | under(said.custody or issued.custody)
