"""Policy: the verdict on an intent, from what was asked and what the adapters reported as facts.

Today there is one fixed policy set, which allows. It answers in the terms that every policy set will answer in, so
that each decision already names its authority.
"""

from collections.abc import Mapping
from typing import Final

from ledger.canonical import digest
from ledger.events import IntentSubmitted, PolicyEvaluated
from ledger.intents import JSON

_TEXT: Final = '@id("allow-all") permit (principal, action, resource);'
POLICY_SET: Final = digest(_TEXT)


def evaluate(_submitted: IntentSubmitted, facts: Mapping[str, JSON]) -> PolicyEvaluated:
    """Give the verdict. Pure: the same intent, facts and policy set always give the same answer."""
    return PolicyEvaluated(effect="allow", policies=("allow-all",), policy_set=POLICY_SET, facts=dict(facts))
