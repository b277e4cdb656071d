"""`intentledger.toml`: what it may say, and the one sentence about what is wrong with it."""

from pathlib import Path

import pytest

from adapters.configuration import load
from adapters.reference import KEYS_REMEMBERED, Entry, Fate, World
from ledger.errors import Misconfigured
from ledger.intents import Guarantee

REFERENCE = '[adapters.stock]\ntype = "reference"\nguarantee = "blind"\n'
PARAMS = """
[adapters.crm.operations.update.params]
type = "object"
additionalProperties = false
required = ["customer"]
properties.customer = { type = "string" }
"""
CRM = (
    """
[adapters.crm]
type = "postgres"
dsn = { env = "CRM_DSN" }
[adapters.crm.operations.update]
statements = [{ sql = "delete from customers where id = :customer", expect_rows = 1 }]
"""
    + PARAMS
)
PAYMENTS = """
[adapters.payments]
type = "http"
url = "https://payments.example.com"
credentials = { Authorization = { env = "PAYMENTS" } }
[adapters.payments.operations.credit]
guarantee = "idempotent"
commit = { path = "/credits", body = "{params}" }
params = { type = "object", additionalProperties = false }
"""
TRANSFER = PAYMENTS.replace("idempotent", "verifiable").replace(
    "commit =", 'inquire = { path = "/credits/{key}", applied = [200], absent = [404] }\ncommit ='
)
EMAIL = """
[adapters.email]
type = "email"
host = "mail.example.com"
sender = "support@example.com"
username = "ledger"
password = { env = "SMTP_PASSWORD" }
"""
ENVIRONMENT = {"CRM_DSN": "postgresql://u:pw-s3cret@h/d", "PAYMENTS": "Bearer s3cret-token", "SMTP_PASSWORD": "s3cret"}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "intentledger.toml"
    path.write_text(text)
    return path


def refusal(tmp_path: Path, text: str, environment: dict[str, str] = ENVIRONMENT) -> str:
    with pytest.raises(Misconfigured) as raised:
        load(write(tmp_path, text), environment)
    assert str(tmp_path / "intentledger.toml") in raised.value.message
    assert "s3cret" not in str(raised.value) + repr(raised.value.extras)
    return raised.value.message.removeprefix(f"{tmp_path}/intentledger.toml")


def test_every_kind_of_adapter_is_read(tmp_path: Path) -> None:
    registry = load(write(tmp_path, REFERENCE + CRM + PAYMENTS + EMAIL), ENVIRONMENT)
    assert set(registry.operations) == {"stock.post", "crm.update", "payments.credit", "email.send"}
    assert registry.operations["stock.post"].guarantee is Guarantee.BLIND
    assert registry.operations["crm.update"].guarantee is Guarantee.ATOMIC


@pytest.mark.parametrize(("text", "seconds"), [("", 60), ("settle_seconds = 5\n", 5), ("settle_seconds = 0\n", 0)])
def test_a_verifiable_system_over_http_is_given_a_minute_to_settle_unless_it_is_known_better(
    tmp_path: Path, text: str, seconds: int
) -> None:
    path = write(tmp_path, TRANSFER.replace("guarantee", f"{text}guarantee"))
    assert load(path, ENVIRONMENT).operations["payments.credit"].settle_seconds == seconds


def test_nothing_but_a_verifiable_operation_settles(tmp_path: Path) -> None:
    operations = load(write(tmp_path, REFERENCE + CRM + PAYMENTS + EMAIL), ENVIRONMENT).operations
    assert {operation.settle_seconds for operation in operations.values()} == {0}


def test_what_moves_money_and_what_its_facts_are_can_be_said_in_the_file(tmp_path: Path) -> None:
    said = 'preview = { path = "/a", facts = { age = "/age" } }\nfact_types = { age = "integer" }\nmoney = "cents"\n'
    params = (
        '{ type = "object", additionalProperties = false, required = ["cents", "currency"], properties = '
        '{ cents = { type = "integer", minimum = 1 }, currency = { type = "string" } } }'
    )
    text = PAYMENTS.replace("guarantee", f"{said}guarantee").replace(
        '{ type = "object", additionalProperties = false }', params
    )
    registry = load(write(tmp_path, text), ENVIRONMENT)
    assert registry.operations["payments.credit"].fact_types == {"age": "integer"}
    assert registry.money("payments.credit", {"cents": 5, "currency": "EUR"}) == (5, "EUR")
    registry = load(write(tmp_path, text.replace('"cents"\n', "false\n")), ENVIRONMENT)
    assert registry.money("payments.credit", {"cents": 5, "currency": "EUR"}) is None


def test_what_only_reads_is_offered_beside_what_acts(tmp_path: Path) -> None:
    account = '[adapters.payments.reads.account]\npath = "/a/{id}"\n' + PARAMS.partition("\n\n")[0].replace(
        "crm.operations.update", "payments.reads.account"
    ).replace("customer", "id")
    customer = "[adapters.crm.reads.customer]\nquery = \"select 1 as a where :customer = '1'\"\n" + PARAMS.replace(
        "operations.update", "reads.customer"
    )
    operations = load(write(tmp_path, PAYMENTS + account + CRM + customer), ENVIRONMENT).operations
    assert {name for name, one in operations.items() if one.reads} == {"payments.account", "crm.customer"}
    only = PAYMENTS.partition("[adapters.payments.operations")[0] + account
    assert set(load(write(tmp_path, only), ENVIRONMENT).operations) == {"payments.account"}


def test_an_empty_file_offers_nothing(tmp_path: Path) -> None:
    assert dict(load(write(tmp_path, ""), {}).operations) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[adapters", " is not TOML"),
        ("[server]\n", "[server] is not known here"),
        ("adapters = 1", "adapters must be tables"),
        ("[adapters.Crm]\n", "[adapters.Crm]: an adapter's name"),
        ("[adapters.crm]\n", "[adapters.crm]: type is missing or unknown"),
        ('[adapters.crm]\ntype = "oracle"\n', "[adapters.crm]: type is missing or unknown"),
        ("adapters.crm = 7", "[adapters.crm]: type is missing or unknown"),
        (REFERENCE + "colour = 1", "[adapters.stock]: colour is not a known key."),
        (REFERENCE.replace("blind", "sure"), "[adapters.stock]: guarantee: must be 'atomic', "),
        (CRM.replace("dsn = ", "x = "), "[adapters.crm]: dsn is missing."),
        (CRM.replace("dsn = ", "connections = true\ndsn = "), "[adapters.crm]: connections: must be a valid integer"),
        (CRM.replace("dsn = ", "connections = 1979-05-27\ndsn = "), "[adapters.crm]: dates and times have no meaning"),
        (CRM.replace('{ env = "CRM_DSN" }', '"postgresql://u:s3cret@h/d"'), "[adapters.crm]: dsn: a secret"),
        (CRM.replace('{ env = "CRM_DSN" }', "{ }"), "[adapters.crm.dsn]: a secret lies in one place"),
        (CRM.replace("CRM_DSN", "NOT_SET"), "[adapters.crm]: dsn needs the environment variable NOT_SET"),
        (CRM.replace('env = "CRM_DSN"', 'file = "/no/such/file"'), "[adapters.crm]: dsn needs the file /no/such/file"),
        (CRM.replace(":customer", ":custmer"), "operations.update] statements[0]: there is no parameter :custmer"),
        (CRM.replace("sql = ", "query = "), "[adapters.crm.operations.update.statements.0]: "),
        (CRM.replace("statements", 'undo = "exact"\nstatements'), "[adapters.crm.operations.update]: "),
        (CRM.replace("additionalProperties = false", ""), "Operation crm.update: params must be"),
        (CRM.replace("customer = {", "captured = {").replace(":customer", ":captured"), "cannot be called captured"),
        (PAYMENTS.replace("https", "http"), "[adapters.payments]: url is https"),
        (PAYMENTS.replace("payments.example.com", "10.0.0.1"), "[adapters.payments]: 10.0.0.1 is not a public address"),
        (PAYMENTS.replace("//pay", "//u:s3cret@pay"), "[adapters.payments]: url carries no credentials"),
        (PAYMENTS.replace("idempotent", "atomic"), "an atomic operation has prepare and abort"),
        (PAYMENTS.replace("idempotent", "verifiable"), "a verifiable operation has inquire"),
        (PAYMENTS.replace("guarantee", "settle_seconds = 5\nguarantee"), "it cannot have settle_seconds"),
        (TRANSFER.replace("guarantee", "settle_seconds = -1\nguarantee"), "settle_seconds: must be greater than"),
        (PAYMENTS.replace("guarantee", 'money = "cents"\nguarantee'), "'cents' is not declared as an integer"),
        (PAYMENTS.replace("guarantee", "money = true\nguarantee"), "operations.credit.money"),
        (PAYMENTS.replace("guarantee", "fact_types = { age = 'int' }\nguarantee"), "fact_types]: age: must be"),
        (PAYMENTS.replace("guarantee", "fact_types = { age = 'integer' }\nguarantee"), "has no fact 'age'"),
        (PAYMENTS.partition("[adapters.payments.op")[0], "[adapters.payments]: there is no operation; "),
        (PAYMENTS + '[adapters.payments.reads.credit]\npath = "/a"\nparams = {}', "credit stands under operations and"),
        (PAYMENTS + '[adapters.payments.reads.a]\npath = "/{b}"\nparams = {}', "reads.a]: there is no {b} here"),
        (PAYMENTS + '[adapters.payments.reads.a]\npath = "/b"\nparams = {}\nundo = "none"', "undo is not a known key"),
        (PAYMENTS.replace("{params}", "{parms}"), "operations.credit] commit: there is no {parms} here"),
        (PAYMENTS.replace("credentials = {", "headers = { X-Key = 's3cret' }\ncredentials = {"), "sounds like a"),
        (PAYMENTS.replace("Authorization", "Host"), "'Host' is not a header that can be set here"),
        (EMAIL + 'security = "none"\n', "[adapters.email]: a password is never sent in the clear"),
        (EMAIL.replace("support@example.com", "support"), "[adapters.email]: sender is an address"),
        (EMAIL.replace("username", "# username"), "[adapters.email]: username and password go together"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, text)


def test_a_credential_with_a_line_break_is_refused(tmp_path: Path) -> None:
    environment = ENVIRONMENT | {"PAYMENTS": "Bearer s3cret\r\nX-Evil: 1"}
    assert "cannot stand in a header" in refusal(tmp_path, PAYMENTS, environment)


def test_a_dsn_that_is_none_is_refused_without_being_shown(tmp_path: Path) -> None:
    assert "dsn is not an address" in refusal(tmp_path, CRM, {"CRM_DSN": "mysql://u:s3cret@h/d"})


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "dsn"
    secret.write_text("postgresql://u@h/d\n")
    text = CRM.replace('env = "CRM_DSN"', f'file = "{secret}"')
    assert "crm.update" in load(write(tmp_path, text), {}).operations
    secret.write_text("")
    assert "dsn needs a secret" in refusal(tmp_path, text, {})


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="does not exist"):
        load(tmp_path / "intentledger.toml", {})


def test_every_place_is_named_beside_the_first(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as raised:
        load(write(tmp_path, REFERENCE + "a = 1\nb = 2\n"), {})
    assert len(raised.value.extras["errors"]) == 2


def test_a_reference_participant_shows_policy_its_balance_unless_told_not_to(tmp_path: Path) -> None:
    file = tmp_path / "intentledger.toml"
    for said, facts in (("", ("balance",)), ("facts = false\n", ())):
        file.write_text(REFERENCE + said)
        assert load(file, {}).operations["stock.post"].facts == facts


def test_a_reference_participant_that_moves_money_can_be_counted(tmp_path: Path) -> None:
    file = tmp_path / "intentledger.toml"
    for said, params, money in (
        ("", {"account": "a", "amount": -4200}, None),
        ("money = true\n", {"account": "a", "amount": 4200, "currency": "USD"}, (4200, "USD")),
    ):
        file.write_text(REFERENCE + said)
        registry = load(file, {})
        assert list(registry.validate("stock.post", params)) == []
        assert registry.money("stock.post", params) == money
    assert list(registry.validate("stock.post", {"account": "a", "amount": -1, "currency": "USD"})) != []


def test_the_reference_world_forgets_the_oldest_settled_keys_and_never_a_hold() -> None:
    world = World()
    world.held["hold"] = Entry(Fate.HELD, 1, "a", 1)
    for number in range(KEYS_REMEMBERED + 10):
        world.apply(str(number), Entry(Fate.HELD, 1, "a", 1))
    assert (len(world.settled), "0" in world.settled, world.entry("hold") is not None) == (KEYS_REMEMBERED, False, True)
    assert world.balances["a"] == KEYS_REMEMBERED + 10
