"""A fence for your own service: each call under a key has its effect once, or never.

    from intentledger_fence import Call, Refused
    from intentledger_fence.postgres import fence      # or: intentledger_fence.mariadb

    async with connection.transaction():
        outcome = await fence.once(connection, Call.of(request.headers), effect)

The connection and the transaction are yours: what the fence writes is committed with what you do, or not at all.
"""

from intentledger_fence.call import Call, NotNamed
from intentledger_fence.fence import Fence
from intentledger_fence.protocol import BrokenPromise, Found, NoTransaction, Outcome, Refused, State

__all__ = ["BrokenPromise", "Call", "Fence", "Found", "NoTransaction", "NotNamed", "Outcome", "Refused", "State"]
