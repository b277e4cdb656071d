"""What is odd about a finding, in one sentence for people. Pure."""

from ledger.money import money
from projections.audit.sentence import agent
from projections.behaviour.habits import Finding


def words(whose: str, name: str, operation: str | None, finding: Finding) -> str:
    """Say a finding in one sentence, without a full stop."""
    who = agent("agent" if whose == "agent" else "person", name, None)
    known = finding.evidence
    match finding.kind:
        case "count":
            return f"{who} asked for {operation} {_often(known)}"
        case "denied":
            return (
                f"attempts of {who} were denied {_often(known)}, the last one because {known['reason'] or 'of policy'}"
            )
        case "amount":
            lately, typical = (money(known[each], known["currency"]) for each in ("lately_minor", "typical_minor"))
            of = f"the last {known['amounts']} amounts of {operation} by {who}"
            return f"{of} were about {lately}, and {typical} is usual"
        case "operation":
            return (
                f"{who} asked for {operation} for the first time, after {known['uses_of_other_operations']:,} uses of "
                f"{known['known_operations']} other operations in {known['days']} days"
            )
        case "target":
            return (
                f"{who} reached {known['target']} with {operation} for the first time, after {known['uses']:,} uses on "
                f"{known['known_targets']} others"
            )
        case "approver" if "fast_answers" in known:
            return (
                f"{who} gave {known['fast_answers']} of the last {known['of_the_last']} answers faster than anybody "
                f"reads, the last one after {known['seconds']} s"
            )
        case "approver":
            before = f"refused {known['refusals_before']:,} of {known['answers_before']:,} questions before"
            usual = before if known["refusals_before"] else "never said no before"
            return f"{who} has approved {known['approvals_in_a_row']:,} times in a row, and {usual}"


def _often(known: dict[str, int]) -> str:
    times, expected = f"{known['count']:,} times", known["expected_thousandths"] / 1000
    if "hours" in known:
        return f"{times} within {known['hours']:,} hours, and {expected:,.1f} are usual in such hours"
    within = "a minute" if known["minutes"] == 1 else f"{known['minutes']} minutes"
    usual = f"{expected:,.1f} are usual" if expected else "nothing is known of what is usual"
    return f"{times} within {within}; {usual} then, and at most {known['limit']:,}"
