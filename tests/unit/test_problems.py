"""Problems: the table covers the tree of errors, and tells nothing that it should not."""

import pytest

from gateway.problems import PROBLEMS, extra_headers, problem
from ledger import errors as e


def tree(cls=e.LedgerError):
    yield cls
    for child in cls.__subclasses__():
        yield from tree(child)


def test_every_error_of_the_tree_has_its_own_row_and_no_row_is_left_over():
    assert set(PROBLEMS) == {cls for cls in tree() if cls.__module__ == "ledger.errors"}


def test_no_two_errors_have_the_same_slug():
    slugs = [row.slug for row in PROBLEMS.values()]
    assert len(slugs) == len(set(slugs))


@pytest.mark.parametrize("cls", list(PROBLEMS), ids=lambda cls: cls.__name__)
def test_a_status_promises_what_the_class_means(cls):
    status = PROBLEMS[cls].status
    if issubclass(cls, e.Rejected):
        assert 400 <= status < 500
    else:
        assert status >= 500


@pytest.mark.parametrize(
    ("cls", "slug", "status"),
    [
        (e.Malformed, "malformed", 400),
        (e.KeyMissing, "idempotency-key-missing", 400),
        (e.Unauthenticated, "unauthenticated", 401),
        (e.TooLarge, "too-large", 413),
        (e.UnsupportedMedia, "unsupported-media-type", 415),
        (e.Invalid, "invalid-intent", 422),
        (e.KeyReused, "idempotency-key-reused", 422),
        (e.AlreadyDecided, "already-decided", 409),
        (e.NotUndoable, "not-undoable", 409),
        (e.NotWaiting, "not-waiting", 409),
        (e.Overloaded, "overloaded", 503),
    ],
)
def test_the_outside_contract_names_them_so(cls, slug, status):
    assert (PROBLEMS[cls].slug, PROBLEMS[cls].status) == (slug, status)


def test_a_problem_carries_its_type_its_sentence_the_request_and_its_extras():
    row, body = problem(e.KeyReused(intent="0199"), "r-1")
    assert row.status == 422
    assert body == {
        "type": "urn:intent-ledger:problem:idempotency-key-reused",
        "title": row.title,
        "status": 422,
        "detail": e.KeyReused().message,
        "request_id": "r-1",
        "intent": "0199",
    }


def test_extras_never_overwrite_what_every_problem_has():
    _, body = problem(e.Conflict("It is so.", status=200, detail="no"), "r-1")
    assert (body["status"], body["detail"]) == (409, "It is so.")


def test_an_unexpected_exception_tells_nothing_but_that_the_outcome_is_unknown():
    row, body = problem(RuntimeError("password=hunter2 at /srv/secret.py"), "r-1")
    assert row.status == 500
    assert "unknown" in body["detail"]
    assert "hunter2" not in str(body)
    assert "secret" not in str(body)


@pytest.mark.parametrize("cls", [e.Unavailable, e.Corrupt, e.InDoubt, e.LedgerError])
def test_what_went_wrong_inside_is_not_told_outside(cls):
    _, body = problem(cls("Connect call failed ('10.1.2.3', 5432)", secret="hunter2"), "r-1")
    assert body["detail"] == cls().message
    assert "10.1.2.3" not in str(body)
    assert "hunter2" not in str(body)


def test_what_was_refused_before_acceptance_says_that_nothing_was_recorded():
    for cls in (e.Overloaded, e.NotReady):
        _, body = problem(cls(), "r-1")
        assert "Nothing was recorded" in body["detail"]


def test_an_unexpected_subclass_of_a_known_error_keeps_its_meaning():
    class Stranger(e.KeyReused):
        """A class that somebody forgot to put into the table."""

    row, _ = problem(Stranger(), "r-1")
    assert row == PROBLEMS[e.KeyReused]


def test_what_can_be_repeated_says_when_and_what_needs_a_token_says_which():
    assert int(extra_headers(e.Overloaded())["Retry-After"]) >= 1
    assert int(extra_headers(e.Unavailable())["Retry-After"]) >= 1
    assert extra_headers(e.Unauthenticated())["WWW-Authenticate"].startswith("Bearer")
    assert extra_headers(e.NoSuchMethod(allow=["GET", "HEAD"])) == {"Allow": "GET, HEAD"}
    assert extra_headers(e.Conflict()) == {}
