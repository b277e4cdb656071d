"""The pace of the keeper of the log: a second or a thousand events behind at most, and not more often."""

import pytest

from ledger import bounds
from ledger.log.keeper import pause

STORED_SECONDS = 0.02  # reading, hashing, signing and storing what a checkpoint covers, on a slow machine


def kept(each_second, seconds=20.0):
    """Keep a log into which events come evenly; return checkpoints a second, and the most events and seconds behind."""
    now, head, covered, since, before = 0.0, 0.0, 0, None, (0.0, 0)
    most_events, most_seconds, checkpoints = 0, 0.0, 0
    while now < seconds:
        head = each_second * now
        uncovered = int(head) - covered
        since = None if not uncovered else now if since is None else since
        rate = (head - before[1]) / (now - before[0]) if now > before[0] else 0.0
        before = (now, head)
        if uncovered >= bounds.LOG_EVENTS or (since is not None and now - since >= bounds.LOG_SECONDS):
            oldest = (covered + 1) / each_second
            now += STORED_SECONDS
            most_events = max(most_events, int(each_second * now) - covered)
            most_seconds = max(most_seconds, now - oldest)
            covered, since, checkpoints = int(head), None, checkpoints + 1
        else:
            now += pause(uncovered, rate)
    return checkpoints / seconds, most_events, most_seconds


@pytest.mark.parametrize("each_second", [0.3, 3, 30, 300, 1_500, 3_000, 6_000, 9_000])
def test_no_event_waits_for_more_than_a_second_or_a_thousand_others(each_second):
    checkpoints, most_events, most_seconds = kept(each_second)
    assert most_events <= 1_000
    assert most_seconds <= 1.0
    assert checkpoints <= max(2.0, each_second / (0.9 * bounds.LOG_EVENTS)), "and no more often than that needs"
