"""The fence in MariaDB 10.5 or newer, on connections of `asyncmy`: `from intentledger_fence.mariadb import fence`.

Whoever comes second under a key waits for the first. Set `innodb_lock_wait_timeout`, so that nobody waits for long.
After an error roll back: MariaDB keeps a transaction open after some of them.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from intentledger_fence.fence import Fence
from intentledger_fence.protocol import Do, Sql

_STATEMENTS: Final[Mapping[Sql, str]] = {
    Sql.IN_TRANSACTION: "select @@autocommit = 0 or @@in_transaction = 1",
    Sql.CLAIM: """
        insert into intent_fence (intent_key, state, epoch, answer)
        values (%s, 'aborted', %s, %s)
        on duplicate key update calls = calls + 1
        returning calls, state, epoch, receipt, answer
    """,
    Sql.WRITE: """
        update intent_fence
        set state = %s, epoch = %s, receipt = %s, answer = %s
        where intent_key = %s
    """,
    Sql.SAVE: "savepoint intent_fence",
    Sql.BACK: "rollback to savepoint intent_fence",
}


class _MariaDB:
    schema: str = files(__package__).joinpath("mariadb.sql").read_text("utf-8")

    async def run(self, connection: Any, step: Do) -> list[Any]:
        async with connection.cursor() as cursor:
            await cursor.execute(_STATEMENTS[step.sql], step.args or None)
            return list(await cursor.fetchall()) if cursor.description else []

    async def create(self, connection: Any) -> None:
        async with connection.cursor() as cursor:
            await cursor.execute(self.schema)


fence: Final = Fence(_MariaDB())
