"""The fault matrix: the same faults, struck at the same moments, to our service and to four published packages.

Every package does the same work against the same two outside systems (`examples/payments.py`, processes with records
of their own) through a gate that can stop a request at an exact moment. Afterwards somebody who knows neither the
package nor the gate reads those records and compares them with what the package says. `docs/faults.md` has the result.

    cells.py      what is done and what is done to it: rows, columns, the work
    record.py     the independent reader: what the outside systems recorded
    verdicts.py   the judge: what was recorded against what is said
    gate.py       the moments
    scenes.py     one function for each row
    lane.py       what one cell needs around it, and how it comes to rest
    ours.py, peers.py, workers/   who is judged
    page.py       docs/faults.md
"""
