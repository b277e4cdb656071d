"""What a grant may not say: it is recorded as it is and kept for ever, so it cannot name a person by a value."""

from adapters.registry import Registry
from authority.grants import GrantOrder
from ledger.errors import InvalidRequest
from ledger.grants import covers


def check_terms(order: GrantOrder, registry: Registry) -> None:
    """Raise `InvalidRequest` for a grant that constrains a personal parameter of an operation it covers."""
    marked = {name: data.parameters for name in registry.operations if (data := registry.personal(name)) is not None}
    errors = [
        {
            "path": f"/operations/{place}/where/{parameter}",
            "message": f"This is personal in {operation}, and a grant is kept for ever. Constrain another parameter.",
        }
        for place, permission in enumerate(order.operations)
        for parameter in permission.where
        for operation, parameters in marked.items()
        if parameter in parameters and covers(permission.operation, operation)
    ]
    if errors:
        raise InvalidRequest("A grant cannot name somebody by personal data. Nothing was issued.", errors=errors)
