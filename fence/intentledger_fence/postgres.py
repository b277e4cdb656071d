"""The fence in PostgreSQL, on connections of `asyncpg`: `from intentledger_fence.postgres import fence`.

Under `read committed`, PostgreSQL's default, whoever comes second under a key waits for the first; under a stricter
level its transaction fails and the call is repeated. Set `lock_timeout`, so that nobody waits for long.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from intentledger_fence.fence import Fence
from intentledger_fence.protocol import Do, Sql

_STATEMENTS: Final[Mapping[Sql, str]] = {
    Sql.CLAIM: """
        insert into intent_fence as fence (intent_key, state, epoch, answer)
        values ($1, 'aborted', $2, $3)
        on conflict (intent_key) do update set calls = fence.calls + 1
        returning calls, state, epoch, receipt, answer
    """,
    Sql.WRITE: """
        update intent_fence
        set state = $1, epoch = $2, receipt = $3, answer = $4
        where intent_key = $5
    """,
    Sql.SAVE: "savepoint intent_fence",
    Sql.BACK: "rollback to savepoint intent_fence",
}


class _Postgres:
    schema: str = files(__package__).joinpath("postgres.sql").read_text("utf-8")

    async def run(self, connection: Any, step: Do) -> list[Any]:
        if step.sql is Sql.IN_TRANSACTION:
            return [(connection.is_in_transaction(),)]
        return list(await connection.fetch(_STATEMENTS[step.sql], *step.args))

    async def create(self, connection: Any) -> None:
        await connection.execute(self.schema)


fence: Final = Fence(_Postgres())
