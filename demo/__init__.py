"""The demonstration: outside systems that keep their own records, and a story told over them.

`payments.py` and `mailbox.py` are processes of their own and know nothing of Intent Ledger; the crash loop in
`tests/faults` runs over them too. The story speaks to the service as any client would, over HTTP.
"""
