"""What people may send about undo plans, as strict models. The shape is checked here, its meaning elsewhere."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from gateway.models import Body, Digest, KeptReason, Moment, Name, Reason
from ledger.undo_plans import Selection


def _whole(name: str) -> str:
    """Refuse a pattern: an operation is named in full here."""
    if "*" in name:
        raise ValueError("Input should be one operation, not a pattern")
    return name


class NewUndoPlan(Body):
    """Whose deeds to undo: intents to which everything that is named applies."""

    agent: Name | None = Field(default=None, description="Submitted by an agent of this name.")
    grant: Name | None = Field(default=None, description="Submitted under this grant or one below it.")
    task: Name | None = Field(default=None, description="Under this task.")
    operation: Annotated[Name, AfterValidator(_whole)] | None = Field(
        default=None, description="With an action of this operation; the whole intent is undone."
    )
    since: Moment | None = Field(default=None, description="Decided at or after this time.")
    until: Moment | None = Field(default=None, description="Decided before this time.")
    reason: Reason
    partial: bool = Field(
        default=False, description="Undo what can be undone, also of intents of which not all can be."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.selection() == Selection():
            raise ValueError("At least one of agent, grant, task, operation, since and until is needed")
        return self

    def selection(self) -> Selection:
        """Write it in the words of the ledger."""
        named: dict[str, Any] = {name: getattr(self, name) for name in Selection.__struct_fields__}
        return Selection(**named)


class HaltUndoPlan(Body):
    """Let nothing more of a plan be begun."""

    reason: KeptReason


class ApproveUndoPlan(Body):
    """Approve exactly what a digest names."""

    digest: Digest
