"""The configurations in the documents are read, so that none of them can be wrong for long."""

import re
from pathlib import Path

from adapters.configuration import load

DOCS = Path(__file__).parents[2] / "docs"
ENVIRONMENT = {
    "CRM_DSN": "postgresql://ledger@crm.example.com/crm",
    "SHOP_DSN": "mysql://ledger@shop.example.com/shop",
    "PAYMENTS_AUTHORIZATION": "Bearer of-the-operator",
    "STRIPE_API_KEY": "of-the-operator",
    "SMTP_PASSWORD": "of-the-operator",
    "S3_KEY_ID": "of-the-operator",
    "S3_SECRET": "of-the-operator",
    "NATS_PASSWORD": "of-the-operator",
    "TICKETS_AUTHORIZATION": "Bearer of-the-operator",
}


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / document).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_every_configuration_in_the_documents_is_read(tmp_path: Path) -> None:
    operations: set[str] = set()
    for block in blocks("adapters.md", "toml"):
        path = tmp_path / "intentledger.toml"
        path.write_text(block)
        operations |= load(path, ENVIRONMENT).operations.keys()
    acting = {"crm.update", "payments.refund", "payments.credit", "email.send", "stock.post"}
    reading = {"crm.customer", "payments.charge"}
    acting |= {"stripe.pay", "stripe.refund", "stripe.cancel_subscription"}
    reading |= {f"stripe.{one}" for one in ("customer", "holds", "payments", "payment", "refunds", "subscription")}
    acting |= {"shop.ship"}
    reading |= {"shop.order"}
    acting |= {"memory.remember", "tickets.open"}
    reading |= {"tickets.ticket"}
    acting |= {f"files.{one}" for one in ("put", "create", "replace", "delete")} | {"events.ship"}
    reading |= {"files.look", "files.uploads", "files.history", "events.shipped", "events.recalled"}
    assert operations == acting | reading


def test_the_first_example_that_the_document_names_can_be_used_as_it_stands() -> None:
    document = (DOCS / "adapters.md").read_text("utf-8")
    examples = re.findall(r"\]\((\.\./examples/[^)]+\.toml)\)", document)
    assert load(DOCS / examples[0], {}).operations
