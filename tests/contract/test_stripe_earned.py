"""Payments at Stripe, tried as `adapters verify` tries anybody's adapter; for time's sake by the laws about holds only.

The other laws, and the other operations, are tried in `test_adapter_laws.py`.
"""

from datetime import UTC, datetime
from pathlib import Path

from servers import stripe_books as books
from servers.stripe_simulator import shared

from adapters.configuration import load, read
from adapters.laws.sampling import setups
from adapters.laws.verification import Watched, verify

KEY = "sk_test_earned"
TABLES = """
[adapters.stripe]
type = "stripe"
api_key = {{ env = "STRIPE_API_KEY" }}
operations = ["pay"]
url = "{url}"
allow_private = true
timeout_seconds = 1

[verify.stripe.pay]
params = {{ customer = "cus_{{n}}", payment_method = "pm_{{n}}", amount = 4200, currency = "USD" }}
refused = {{ payment_method = "pm_no{{n}}" }}
shows = {{ read = "stripe.payments", params = {{ customer = "cus_{{n}}" }} }}
counts = {{ read = "stripe.payments", params = {{ customer = "cus_{{n}}" }} }}
holds = {{ read = "stripe.holds", params = {{ customer = "cus_{{n}}" }} }}
at_most = 2
"""
HOLDS = (2, 3, 6)


def customer(now: int, number: int) -> list[books.JSON]:
    owner = f"cus_{number}"
    cards = [books.card(f"pm_{number}", owner, now), books.card(f"pm_no{number}", owner, now, "generic_declined")]
    return [books.customer(owner, now), *cards]


def test_holds_survive_and_end_whatever_is_cut_killed_or_paused(tmp_path: Path) -> None:
    server = shared()
    now = server.tell(KEY)["now"]
    server.tell(KEY, "PUT", [thing for number in range(1, 200) for thing in customer(now, number)])
    path = tmp_path / "intentledger.toml"
    path.write_text(TABLES.format(url=server.url))
    environment = Watched({"STRIPE_API_KEY": KEY})
    (setup,) = setups(str(path), read(path), load(path, environment), "stripe", "run")
    report = verify(setup, now=lambda: datetime.now(UTC), secrets=environment.used, only=HOLDS)
    assert report.kept, [law.findings for law in report.laws]
    assert [law.trials > 0 for law in report.laws if law.number in HOLDS] == [True] * 3
    assert sum(report.faults.values()) > 5
