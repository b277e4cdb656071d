"""Judges from outside what was done in whose name: I5, I6, I7 and I11. `checker.py` judges everything else.

Independent like that: grants, limits and who may answer are written again here from the design's words. What the policy
sets of a run say is known because the run wrote them: `Evidence.books` has the amounts at which each begins to refuse.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from traces import Action, Event, Run

UNKNOWN = {0, *range(500, 600)}  # an answer that leaves open whether anything was recorded
DECIDES = {"CommitDecided", "AbortDecided", "IntentSimulated"}
RESTS_ON_THE_GRANT = {"IntentSubmitted", "PolicyEvaluated", "ApprovalRequested", "CommitDecided", "IntentSimulated"}
RESTS_ON_THE_ACTOR = {"GrantRevoked", "PolicySetAdded", "PolicySetActivated", "TaskDefined"}
BEYOND_ANY_BOOK = 1_000_000  # what the outside refuses, policy lets through


# ── I5: nothing under a dead grant ───────────────────────────────────────────────────────────────────────────────


def nothing_under_a_dead_grant(run: Run) -> Iterator[str]:
    """I5: after a revoke nothing is decided, said or delegated below it, and what was undecided ends aborted."""
    for event in run.evidence.events:
        grant = _acts_under(run, event)
        died = None if grant is None else run.died(grant)
        if died is not None and event["position"] > died:
            yield f"{event['type']} at {event['position']} rests on {grant}, dead since {died}."
    for intent in run.streams:
        died = run.died(grant_of(run, intent))
        if died is not None and run.streams[intent][0]["position"] < died and not _ended_before(run, intent, died):
            yield from _aborted_for_good(run, intent, died)
    yield from _revokes_as_told(run)
    yield from _tokens_as_told(run)


def _acts_under(run: Run, event: Event) -> str | None:
    kind, body = event["type"], event["body"]
    if kind in RESTS_ON_THE_GRANT:
        return grant_of(run, event["stream"].removeprefix("intent/"))
    if kind in RESTS_ON_THE_ACTOR:
        return body["custody"][-1]
    return {"ApprovalGiven": body.get("grant"), "GrantIssued": body.get("parent")}.get(kind)


def _ended_before(run: Run, intent: str, position: int) -> bool:
    denied = [e for e in run.streams[intent] if e["type"] == "PolicyEvaluated" and e["body"]["effect"] == "deny"]
    decided = [e for e in run.streams[intent] if e["type"] in DECIDES]
    return any(event["position"] < position for event in [*denied, *decided])


def _aborted_for_good(run: Run, intent: str, died: int) -> Iterator[str]:
    if run.phase(intent) != "aborted":
        yield f"{intent} was undecided when its grant died at {died}, and is {run.phase(intent)}."
    keys = {action.key for action in run.actions_of[intent]}
    if keys & {key for _, key in run.evidence.held} or any(run.count[key, "apply"] for key in keys):
        yield f"{intent} was undecided when its grant died at {died}, and stands outside."


def _revokes_as_told(run: Run) -> Iterator[str]:
    for told in run.evidence.revocations:
        died = run.died(told.grant)
        if told.status == 200 and died is None:
            yield f"{told.grant} was revoked, says the answer, and the log does not."
        for intent in told.aborting:
            if run.first(intent, "CommitDecided") is not None:
                yield f"{intent} was to be aborted, says the revoke of {told.grant}, and was committed."
        for intent in told.already_decided:
            decided = run.first(intent, "CommitDecided")
            if decided is None or died is None or decided["position"] > died:
                yield f"{intent} was decided already, says the revoke of {told.grant}, and was not."


def _tokens_as_told(run: Run) -> Iterator[str]:
    for attempt in run.evidence.attempts:
        over = [told for told in run.evidence.revocations if run.below(attempt.grant, told.grant)]
        if attempt.outcome == "accepted" and any(t.status == 200 and t.ended < attempt.started for t in over):
            yield f"Key {attempt.key} was accepted from {attempt.grant} after its revocation had returned."
        if attempt.status == 401 and not any(told.started < attempt.ended for told in over):
            yield f"Key {attempt.key} was answered 401 under {attempt.grant}, which nobody had revoked."


# ── I6: every decision names its authority ───────────────────────────────────────────────────────────────────────


def decisions_name_their_authority(run: Run) -> Iterator[str]:
    """I6: each verdict is of the set in force and says what that set says; each decision names it and its grant."""
    active = None
    for event in run.evidence.events:
        body = event["body"]
        if event["type"] == "PolicySetActivated":
            active = body["policy_set"]
        elif event["type"] in {"PolicyEvaluated", "CommitDecided"}:
            active = active or body["policy_set"]  # the built-in one, until another is activated
            if body["policy_set"] != active:
                yield f"{event['type']} at {event['position']} is of {body['policy_set']} while {active} was in force."
            intent = event["stream"].removeprefix("intent/")
            yield from (_verdict if event["type"] == "PolicyEvaluated" else _named)(run, intent, event)
    if run.evidence.repeated.get("wrong") is not None or not run.evidence.repeated.get("decisions"):
        yield f"Giving every verdict again came to {dict(run.evidence.repeated)}."


def _verdict(run: Run, intent: str, event: Event) -> Iterator[str]:
    body = event["body"]
    book = run.evidence.books.get(body["policy_set"])
    if book is None or (body["effect"] == "deny" and not body["policies"]):  # denied by grants, before policy was asked
        return
    effect, quorum = by_the_book(book, run.actions_of[intent])
    if body["effect"] != effect or (effect == "escalate" and body["quorum"] != quorum):
        yield f"{intent} was judged {body['effect']} ({body['quorum']}) by a set that says {effect} ({quorum})."


def by_the_book(book: Mapping[str, int], actions: list[Action]) -> tuple[str, int]:
    """Return what a policy set of the run says of these actions: its effect, and how many people it asks for."""
    credits_ = [a.params["amount"] for a in actions if a.operation == "payments.credit"]
    refunds = [a.params["amount"] for a in actions if a.operation == "payments.refund"]
    if any(amount > book["credit"] for amount in credits_):
        return "deny", 1
    asked = [amount for amount in refunds if book["alone"] <= amount <= BEYOND_ANY_BOOK]
    return ("escalate", 2 if max(asked) >= book["two"] else 1) if asked else ("allow", 1)


def _named(run: Run, intent: str, event: Event) -> Iterator[str]:
    body, grant = event["body"], grant_of(run, intent)
    verdict = last(run, intent, "PolicyEvaluated", event["position"])
    if body["grant"] != grant or not run.chain(grant):
        yield f"{intent} was committed under {body['grant']} and submitted under {grant}."
    if verdict is None or verdict["body"]["effect"] == "deny":
        yield f"{intent} was committed without a verdict that lets it."
    elif not body["policies"] or any(body[name] != verdict["body"][name] for name in ("policies", "policy_set")):
        yield f"{intent} was committed under {body['policies']} of {body['policy_set']}, which is not its verdict."
    for action in run.actions_of[intent]:
        if not all(permits(one, action) for one in run.chain(grant)):
            yield f"{intent} was committed, and its grants do not permit {action.id}."


def permits(grant: Mapping[str, Any], action: Action) -> bool:
    """Tell whether a grant, as GrantIssued has it, permits an action."""
    offered = [one if isinstance(one, dict) else {"operation": one} for one in grant["operations"]]
    return any(
        covers(one["operation"], action.operation)
        and all(_within(values, action.params.get(name)) for name, values in one.get("where", {}).items())
        for one in offered
    )


def _within(values: Any, value: Any) -> bool:
    if isinstance(values, list):
        return value in values
    low, high = values.get("min"), values.get("max")
    return isinstance(value, int) and (low is None or low <= value) and (high is None or value <= high)


def covers(pattern: str, operation: str) -> bool:
    """Tell whether an operation is that of a pattern: itself, all of its adapter, or all."""
    return pattern in {"*", operation, operation.partition(".")[0] + ".*"}


# ── I7: who has approved what ────────────────────────────────────────────────────────────────────────────────────


def approved_by_others(run: Run) -> Iterator[str]:
    """I7: what policy gave to people was released by enough of them, for exactly what is done, in time."""
    for intent in run.streams:
        decided = run.first(intent, "CommitDecided")
        verdict = decided and last(run, intent, "PolicyEvaluated", decided["position"])
        if decided and verdict and verdict["body"]["effect"] == "escalate":
            yield from _released(run, intent, verdict, decided)
        given = Counter((e["body"]["by"], e["body"]["digest"]) for e in _approvals(run, intent))
        for (by, _), times in given.items():
            if times > 1:
                yield f"{by} approved {intent} {times} times."
    yield from _answers_as_told(run)


def _released(run: Run, intent: str, verdict: Event, decided: Event) -> Iterator[str]:
    event = last(run, intent, "ApprovalRequested", decided["position"])
    if event is None:
        yield f"{intent} was committed, and nobody was asked."
        return
    asked = event["body"]
    if any(asked[name] != verdict["body"][name] for name in ("quorum", "approvers")):
        yield f"{intent} asked {asked['quorum']} of {asked['approvers']}, and its verdict wanted others."
    if asked["digest"] != content(run, intent, decided["position"]):
        yield f"{intent} was committed, and is not what people were asked to approve."
    expires = datetime.fromisoformat(asked["expires_at"])
    given = [
        one
        for one in _approvals(run, intent)
        if event["position"] < one["position"] < decided["position"]
        and one["body"]["digest"] == asked["digest"]
        and datetime.fromisoformat(one["at"]) < expires
    ]
    people = {one["body"]["by"].casefold() for one in given}
    if len(people) < asked["quorum"] or people != {by.casefold() for by in decided["body"]["approved_by"]}:
        yield f"{intent} wanted {asked['quorum']}, has {people} and names {decided['body']['approved_by']}."
    for one in given:
        why = _unfit(run, intent, asked, one["body"])
        if why is not None:
            yield f"{one['body']['by']} released {intent} and {why}."


def _approvals(run: Run, intent: str) -> list[Event]:
    return [event for event in run.streams[intent] if event["type"] == "ApprovalGiven"]


def _unfit(run: Run, intent: str, asked: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    chain = run.chain(given["grant"])
    subject = chain[-1]["subject"] if chain else {}
    involved = {one["subject"]["name"].casefold() for one in run.chain(grant_of(run, intent))}
    if subject.get("kind") != "person" or subject["name"] != given["by"]:
        return "holds no grant of a person of that name"
    if any(one["subject"]["name"].casefold() in involved for one in (chain[1:] or chain)):
        return "stands in its chain of custody, or below somebody who does"
    if asked["approvers"] and not {subject["name"], subject.get("role")} & set(asked["approvers"]):
        return "is none of those whom policy asks"
    if not all(permits(one, action) for one in chain for action in run.actions_of[intent]):
        return "may not do it themselves"
    return None


def content(run: Run, intent: str, position: int) -> str:
    """Digest what an intent would do, by what stood in the log before a position: actions, previews, policy set."""
    shown = {e["body"]["action"]: e["body"] for e in _before(run, intent, "ActionPrepared", position)}
    verdict = last(run, intent, "PolicyEvaluated", position)
    value = {
        "actions": [
            {"id": a.id, "operation": a.operation, "params": a.params, "preview": shown.get(a.id, {}).get("preview")}
            for a in run.actions_of[intent]
        ],
        "policy_set": verdict and verdict["body"]["policy_set"],
    }
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _answers_as_told(run: Run) -> Iterator[str]:
    said = defaultdict(list)
    for answer in run.evidence.answers:
        said[answer.word, answer.intent, answer.by].append(answer)
        if answer.status == 200 and not answer.fit:
            yield f"{answer.by} may not {answer.word} {answer.intent}, and did."
    heard = {("approve", i, e["body"]["by"]) for i in run.streams for e in _approvals(run, i)} | {
        ("reject", i, e["body"]["by"])
        for i, stream in run.streams.items()
        for e in stream
        if e["type"] == "AbortDecided" and e["body"].get("cause") == "rejected"
    }
    for (word, intent, by), answers in said.items():
        if any(answer.status == 200 for answer in answers) and (word, intent, by) not in heard:
            yield f"{by} was told that they {word} {intent}, and it is not in the log."
    for word, intent, by in heard:
        if not any(answer.fit and answer.status in {200, *UNKNOWN} for answer in said[word, intent, by]):
            yield f"In the log {by} says {word} of {intent}, and never said it."


# ── I11: limits ──────────────────────────────────────────────────────────────────────────────────────────────────


def limits_hold(run: Run) -> Iterator[str]:
    """I11: what decisions took from a limit never exceeds it, and is what moved outside."""
    used: Counter[tuple[str, str]] = Counter()
    most: dict[tuple[str, str], int] = {}
    taken: dict[str, dict[tuple[str, str], int]] = {}  # by intent; what is restored is gone from here
    for event in run.evidence.events:
        intent = event["stream"].removeprefix("intent/")
        if event["type"] == "CommitDecided":
            wanted = charges(run, intent)
            told = {one["limit"]: (one["per"], one["amount"], one["max"]) for one in event["body"]["charges"]}
            if told != wanted:
                yield f"{intent} was charged {told}, and its grants say {wanted}."
            windows = {(limit, _window(event, per)): (amount, top) for limit, (per, amount, top) in wanted.items()}
            taken[intent] = {window: amount for window, (amount, _) in windows.items()}
            used.update(taken[intent])
            most.update({window: top for window, (_, top) in windows.items()})
            for window in taken[intent]:
                if used[window] > most[window]:
                    yield f"Limit {window} was at {used[window]} of {most[window]} after {intent}."
        elif event["type"] == "IntentCompensated" and _failed(run, intent):
            used.subtract(taken.pop(intent, {}))
    yield from _moved_outside(run, taken, most)


def charges(run: Run, intent: str) -> dict[str, tuple[str, int, int]]:
    """Return what an intent takes from the limits of its chain: by counter, the window, how much, of how much."""
    found = {}
    chain = run.chain(grant_of(run, intent))
    for depth, grant in enumerate(chain):
        for place, limit in enumerate(grant.get("limits", ())):
            agents = [one["subject"]["name"] for one in chain[depth:] if one["subject"]["kind"] == "agent"]
            name = f"{grant['grant']}/{place}" + (f"/{agents[0]}" if limit["each"] == "agent" else "")
            counted = [action for action in run.actions_of[intent] if covers(limit["operation"], action.operation)]
            amount = len(counted)
            if limit["measure"] == "amount":
                amount = sum(action.money[0] for action in counted if action.money is not None)
            if amount:
                found[name] = (limit["per"], amount, limit["max"])
    return found


def _window(event: Event, per: str) -> str:
    return {"total": "", "day": event["at"][:10], "hour": event["at"][:13]}[per]


def _failed(run: Run, intent: str) -> bool:
    compensate = run.first(intent, "CompensateDecided")
    return compensate is not None and compensate["body"]["cause"] == "failed"


def _moved_outside(
    run: Run, taken: Mapping[str, Mapping[tuple[str, str], int]], most: Mapping[tuple[str, str], int]
) -> Iterator[str]:
    """Compare with what the outside systems recorded: each amount, and the sum of all under each limit on amounts."""
    moved: Counter[tuple[str, str]] = Counter()
    for trace in run.evidence.traces:
        action = run.owner.get(trace.key)
        if trace.what != "apply" or action is None:
            continue
        if trace.money != action.money:
            yield f"{trace.system} moved {trace.money} for {action.id} of {action.intent}, which says {action.money}."
        for counter, window in taken.get(action.intent, {}):
            grant, place = counter.split("/")[:2]
            limit = run.grants[grant]["limits"][int(place)]
            if limit["measure"] == "amount" and covers(limit["operation"], action.operation) and trace.money:
                moved[counter, window] += trace.money[0]
    for window, amount in moved.items():
        if amount > most[window]:
            yield f"Outside, {amount} moved under limit {window}, which is {most[window]}."


# ── what they share ──────────────────────────────────────────────────────────────────────────────────────────────


def grant_of(run: Run, intent: str) -> str:
    return str(run.streams[intent][0]["body"]["grant"])


def _before(run: Run, intent: str, kind: str, position: int) -> list[Event]:
    return [event for event in run.streams[intent] if event["type"] == kind and event["position"] < position]


def last(run: Run, intent: str, kind: str, position: int) -> Event | None:
    """Return the last event of a kind in an intent's stream before a position."""
    return next(reversed(_before(run, intent, kind, position)), None)


def rare_paths(run: Run) -> Counter[str]:
    """Count what a run must have gone through for its silence to mean anything."""
    found: Counter[str] = Counter()
    activations = [e["position"] for e in run.evidence.events if e["type"] == "PolicySetActivated"]
    for intent, stream in run.streams.items():
        died = run.died(grant_of(run, intent))
        decided, abort = run.first(intent, "CommitDecided"), run.first(intent, "AbortDecided")
        cause, reason = (abort["body"]["cause"], abort["body"]["reason"]) if abort else (None, "")
        approvals = len(_approvals(run, intent))
        end = next((e["position"] for e in stream if e["type"] in DECIDES), stream[-1]["position"])
        found["authority revokes that won"] += died is not None and cause == "revoked"
        found["authority decisions that won"] += (
            decided is not None and died is not None and decided["position"] < died < stream[-1]["position"]
        )
        found["authority approvals given"] += approvals
        found["authority escalated and committed"] += bool(decided and decided["body"]["approved_by"])
        found["authority refused by a limit"] += cause == "guard" and reason.startswith("The limit")
        found["authority verdicts overtaken"] += cause == "guard" and not reason.startswith("The limit")
        found["authority policy changes under way"] += any(stream[0]["position"] < p < end for p in activations)
        found["authority denied"] += run.phase(intent) == "denied"
    found["authority answers refused"] = sum(400 <= one.status < 500 for one in run.evidence.answers)
    found["authority tokens refused"] = sum(one.status == 401 for one in run.evidence.attempts)
    return found


AUTHORITY_CHECKS: Mapping[str, Callable[[Run], Iterator[str]]] = {
    "I5": nothing_under_a_dead_grant,
    "I6": decisions_name_their_authority,
    "I7": approved_by_others,
    "I11": limits_hold,
}
