"""Examples: outside systems that keep their own records, and a demo told over them.

`payments.py`, `billing.py` and `mailbox.py` are processes of their own and know nothing of Intent Ledger; the fault
tests run over them too. `support/` is a department that works with them, `clusters/` deletes old server
clusters, and `demo/` is the story that `intentledger demo` tells.
"""
