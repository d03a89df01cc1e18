"""Trello: what is planned, what is sent, how cards are found again, and which lists there are."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from ralf_hub.connectors.base import (
    Ambiguous,
    CredentialsBroken,
    Delivered,
    Http,
    HttpResponse,
    Rejected,
    Retry,
    SendContext,
)
from ralf_hub.connectors.trello import TrelloSettings
from ralf_hub.connectors.trello_answers import judge
from ralf_hub.connectors.trello_board import PAGE_SIZE
from ralf_hub.model import Feature, Link
from tests.connectors.helpers import CLOCK, NOW_MS, TASK, connector, fact, nowhere
from tests.connectors.lane import Lane
from tests.doubles.server import Fault
from tests.doubles.trello import BOARD, KEY, SHORT_LINK, TOKEN, Card, Trello
from tests.support import SettableClock

CARD = "5abbe4b7ddc1b351ef961414"
LINKED = Link("trello", CARD, "c1414", state="linked", entity_id=TASK.id)
FEATURE = Feature("F-1", "Login", description="All of it")


@pytest.fixture
async def trello(clock: SettableClock) -> AsyncIterator[Trello]:
    async with Trello(now=lambda: clock.ms) as double:
        yield double


def made(base_url: str = "https://api.trello.com", **more: Any) -> Any:
    given = {"base_url": f"{base_url}/1", "api_key": KEY, "token": TOKEN, "board_id": BOARD}
    return connector("trello", **{**given, **more})


@pytest.fixture
def lane(trello: Trello, http: Http, clock: SettableClock) -> Lane:
    return Lane(made(trello.url, clock=clock.clock), http)


async def linked(lane: Lane) -> Lane:
    """Give the lane's task its card."""
    await lane.tell("task_created")
    return lane


def only(trello: Trello) -> Card:
    (card,) = trello.cards.values()
    return card


# --- what is planned ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "without", "with_one"),
    [
        ("task_created", ["create"], []),
        ("task_started", ["create", "move"], ["move"]),
        ("task_completed", ["create", "comment", "move"], ["comment", "move"]),
        ("task_failed", ["create", "comment"], ["comment"]),
        ("task_cancelled", [], ["comment"]),
        ("task_blocked", [], ["comment"]),
        ("agent_note", [], ["comment"]),
        ("webhook_received", [], []),
    ],
)
def test_what_an_event_asks_for(kind: str, without: list[str], with_one: list[str]) -> None:
    assert [action.name for action in made().plan(fact(kind))] == without
    assert [action.name for action in made().plan(fact(kind, link=LINKED))] == with_one
    assert made().plan(fact(kind, link=replace(LINKED, state="broken"))) == []


def test_a_list_in_the_settings_moves_where_nothing_did_and_an_empty_one_stops_a_move() -> None:
    chosen = made(lists={"task_failed": "Blocked", "task_completed": " "})
    assert [a.name for a in chosen.plan(fact("task_failed", link=LINKED))] == ["comment", "move"]
    assert [a.name for a in chosen.plan(fact("task_completed", link=LINKED))] == ["comment"]


def test_what_has_a_card_of_its_own_can_be_chosen() -> None:
    task, feature = fact("task_created"), fact("feature_delivered", task=None, feature=FEATURE)
    for cards, counts in ((("task",), (1, 0)), (("feature",), (0, 3)), ((), (0, 0))):
        chosen = made(cards=cards)
        assert (len(chosen.plan(task)), len(chosen.plan(feature))) == counts
    assert made().plan(fact("system_alert", {"code": "x"}, task=None)) == []


def test_the_marker_ends_the_description_and_goes_with_the_creation_alone() -> None:
    about = fact("task_completed")
    create, comment, move = made().plan(about)
    assert create.marker == f"ralf:{about.event.id}"
    assert create.payload["desc"].endswith(f"\n\n{create.marker}")
    assert (comment.marker, move.marker) == (None, None)


# --- what is sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize("auth", ["header", "query"])
async def test_a_card_as_it_is_made(trello: Trello, http: Http, clock: SettableClock, auth: str) -> None:
    lane = Lane(made(trello.url, auth=auth, clock=clock.clock), http)
    task = replace(TASK, title="Fix\nthe   login", description="It *fails*")
    (row,) = lane.plan(lane.about("task_created", task=task))
    outcome = await lane.once(row)
    card = only(trello)
    assert isinstance(outcome, Delivered)
    assert outcome.link == Link(
        "trello",
        card.id,
        card.short_link,
        f"https://trello.com/c/{card.short_link}",
        "linked",
        "To Do",
        f"ralf:{row.event_id}",
    )
    assert card.name == "Fix the login"
    assert card.desc == (
        "It \\*fails\\*\n\nTask: TASK-7 · Priority: high\n\n"
        f"[Open in ralf-hub](http://127.0.0.1:8080/#/tasks/TASK-7)\n\nralf:{row.event_id}"
    )
    assert trello.list_of(card) == "To Do"


async def test_a_card_goes_where_its_task_goes(trello: Trello, lane: Lane) -> None:
    await linked(lane)
    await lane.tell("task_started")
    assert trello.list_of(only(trello)) == "Doing"
    await lane.tell("task_failed", {"error": "exit 1"})
    assert trello.list_of(only(trello)) == "Doing"
    await lane.tell("task_completed")
    assert trello.list_of(only(trello)) == "Done"
    assert lane.link is not None
    assert lane.link.last_state == "Done"
    said = [comment["data"]["text"].split("\n")[0] for comment in only(trello).comments]
    assert said == ["**Task failed: Fix the login**", "**Task completed: Fix the login**"]


async def test_long_texts_go_in_the_body_and_short_ones_in_the_address(trello: Trello, lane: Lane) -> None:
    long = replace(TASK, description="ж" * 5000)
    (row,) = lane.plan(lane.about("task_created", task=long))
    assert isinstance(await lane.once(row), Delivered)
    assert "ж" * 5000 in only(trello).desc
    (sent,) = trello.calls("/1/cards")
    assert (sent.query, sent.headers["content-type"]) == ({}, "application/json")
    await lane.tell("task_failed")
    (sent,) = trello.calls("/comments")
    assert sent.body == b""


async def test_secrets_stand_in_the_address_only_where_that_is_asked_for(
    trello: Trello, http: Http, clock: SettableClock
) -> None:
    for auth, shown in (("header", False), ("query", True)):
        trello.seen.clear()
        lane = Lane(made(trello.url, auth=auth, clock=clock.clock), http)
        await lane.tell("task_completed")
        assert all(("token" in seen.query) == shown for seen in trello.seen)
        assert all(("authorization" in seen.headers) != shown for seen in trello.seen)


def test_a_dry_run_shows_what_would_be_sent_and_no_secret() -> None:
    chosen = made()
    lane = Lane(chosen, nowhere)
    rows = lane.plan(lane.about("task_completed"))
    context = SendContext(nowhere, CLOCK, LINKED)
    create, comment, move = [chosen.prepare(row, context) for row in rows]
    assert (create.method, comment.method, move.method) == ("POST", "POST", "PUT")
    assert "idList=%28id+of+the+list+%27To+Do%27%29&name=Fix+the+login" in create.url
    assert comment.url.startswith(f"https://api.trello.com/1/cards/{CARD}/actions/comments?text=")
    assert move.url.endswith("idList=%28id+of+the+list+%27Done%27%29")
    for secret in (KEY, TOKEN):
        assert secret not in f"{create!r}{chosen!r}{chosen.settings!r}{rows!r}"
        assert secret in chosen.settings.secret_values()
    assert chosen.prepare(rows[1], SendContext(nowhere, CLOCK)) is None


# --- what may have been made before ---------------------------------------------------------------


async def test_the_answer_with_a_long_description_in_it_is_read_whole(trello: Trello, lane: Lane) -> None:
    about = lane.about("task_created", task=replace(TASK, description="\N{BRICK}" * 12_000))
    (row,) = lane.plan(about)
    outcome = await lane.once(row)
    assert isinstance(outcome, Delivered), outcome
    assert outcome.link is not None
    assert list(trello.cards) == [outcome.link.external_id]


async def test_after_a_lost_answer_the_card_is_found(trello: Trello, lane: Lane) -> None:
    (row,) = lane.plan(lane.about("task_created"))
    trello.faults.append(Fault("/1/cards", drop="after", method="POST"))
    lost = await lane.once(row)
    assert isinstance(lost, Ambiguous)
    assert lost.retry_after_s == 5.0
    found = await lane.once(row, again=True)
    assert isinstance(found, Delivered)
    assert found.link is not None
    assert (found.link.external_id, found.link.external_key) == (only(trello).id, only(trello).short_link)
    assert found.response == "found: an earlier try had made it"


async def test_a_card_someone_archived_or_moved_meanwhile_is_found(trello: Trello, lane: Lane) -> None:
    (row,) = lane.plan(lane.about("task_created"))
    trello.faults.append(Fault("/1/cards", drop="after", method="POST"))
    await lane.once(row)
    only(trello).closed = True
    only(trello).desc += "\n\nI looked at it."
    assert isinstance(await lane.once(row, again=True), Delivered)
    assert len(trello.cards) == 1


async def test_a_card_is_found_behind_pages_of_newer_ones(
    trello: Trello, lane: Lane, clock: SettableClock
) -> None:
    (row,) = lane.plan(lane.about("task_created"))
    row = replace(row, created_at=clock.iso())
    trello.faults.append(Fault("/1/cards", drop="after", method="POST"))
    await lane.once(row)
    (wanted,) = trello.cards
    clock.advance(60)
    (to_do, *_) = trello.lists
    for _ in range(2 * PAGE_SIZE + 10):
        other = trello.new_id()
        trello.cards[other] = Card(other, "Other", "of somebody else", to_do)
    found = await lane.once(row, again=True)
    assert isinstance(found, Delivered)
    assert found.link is not None
    assert found.link.external_id == wanted
    assert len(trello.calls(f"{BOARD}/cards")) == 3


async def test_older_cards_are_not_looked_through(trello: Trello, lane: Lane, clock: SettableClock) -> None:
    (to_do, *_) = trello.lists
    for _ in range(3 * PAGE_SIZE):
        other = trello.new_id()
        trello.cards[other] = Card(other, "Old", "", to_do)
    clock.advance(7200)
    (row,) = lane.plan(lane.about("task_created"))
    row = replace(row, created_at=clock.iso())
    assert isinstance(await lane.once(row, again=True), Delivered)
    assert len(trello.calls(f"{BOARD}/cards")) == 1
    assert len(trello.cards) == 3 * PAGE_SIZE + 1


async def test_a_board_too_full_to_be_looked_through_makes_nothing(
    trello: Trello, lane: Lane, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ralf_hub.connectors.trello_board.PAGES_MAX", 1)
    (to_do, *_) = trello.lists
    for _ in range(PAGE_SIZE):
        other = trello.new_id()
        trello.cards[other] = Card(other, "Other", "", to_do)
    (row,) = lane.plan(lane.about("task_created"))
    outcome = await lane.once(replace(row, created_at=clock.iso()), again=True)
    assert isinstance(outcome, Retry)
    assert len(trello.cards) == PAGE_SIZE


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"status": 401, "body": "invalid token"}, CredentialsBroken),
        ({"status": 429}, Retry),
        ({"status": 500}, Retry),
        ({"status": 200, "body": "<html>"}, Retry),
    ],
)
async def test_nothing_is_made_while_the_board_cannot_be_read(
    trello: Trello, lane: Lane, fault: Any, kind: type
) -> None:
    (row,) = lane.plan(lane.about("task_created"))
    trello.faults.append(Fault(f"{BOARD}/cards", **fault))
    assert isinstance(await lane.once(row, again=True), kind)
    assert trello.cards == {}


async def test_a_comment_is_written_once(trello: Trello, lane: Lane) -> None:
    row, _ = (await linked(lane)).plan(lane.about("task_completed"))
    trello.faults.append(Fault("/comments", drop="after"))
    assert isinstance(await lane.once(row), Ambiguous)
    found = await lane.once(row, again=True)
    assert isinstance(found, Delivered)
    assert found.response == "found: an earlier try had written it"
    assert len(only(trello).comments) == 1


async def test_a_try_that_a_crash_left_at_work_is_given_time(lane: Lane, clock: SettableClock) -> None:
    for row in lane.plan(lane.about("task_completed"))[:2]:
        young = replace(row, first_attempt_at=clock.iso(-2))
        context = SendContext(nowhere, clock.clock, LINKED, may_have_been_sent=True)
        if row.action == "create":
            context = replace(context, link=None)
        outcome = await lane.made.send(young, context)
        assert outcome == Retry("an earlier try may still be at work", retry_after_s=3.0, counts=False)


@pytest.mark.parametrize("answer", ["<html>", "[]", '{"id": 5}'])
async def test_a_creation_that_is_answered_strangely_is_looked_for(
    trello: Trello, lane: Lane, answer: str
) -> None:
    (row,) = lane.plan(lane.about("task_created"))
    trello.faults.append(Fault("/1/cards", status=200, body=answer))
    assert isinstance(await lane.once(row), Ambiguous)


# --- lists ----------------------------------------------------------------------------------------


async def test_a_list_that_is_not_there_is_answered_with_those_that_are(
    trello: Trello, http: Http, clock: SettableClock
) -> None:
    chosen = made(trello.url, lists={"task_completed": "Finished"}, clock=clock.clock)
    lane = Lane(chosen, http)
    create, _, move = lane.plan(lane.about("task_completed"))
    await lane.once(create)
    outcome = await lane.once(move)
    assert isinstance(outcome, Rejected)
    told = "the board has no list 'Finished'; its lists are 'To Do', 'Doing', 'Done', 'Blocked'"
    assert outcome.reason == told
    check = await chosen.validate(http)
    assert (check.ok, check.message) == (False, told)


async def test_a_board_that_is_not_there_is_answered_with_those_that_are(
    trello: Trello, http: Http, clock: SettableClock
) -> None:
    chosen = made(trello.url, board_id="5abbe4b7ddc1b351ef969999", clock=clock.clock)
    lane = Lane(chosen, http)
    (row,) = lane.plan(lane.about("task_created"))
    outcome = await lane.once(row)
    assert isinstance(outcome, Rejected)
    told = (
        "the board 5abbe4b7ddc1b351ef969999 cannot be read: board not found (404); "
        "the token sees the boards 'RALF (Xy12AbCd)'"
    )
    assert outcome.reason == told
    check = await chosen.validate(http)
    assert (check.ok, check.message) == (False, told)
    await lane.once(row)
    assert len(trello.calls("/members/me")) == 2  # one for the check: what is told is remembered


async def test_a_refusal_stands_without_the_names(trello: Trello, http: Http, clock: SettableClock) -> None:
    chosen = made(trello.url, board_id="5abbe4b7ddc1b351ef969999", clock=clock.clock)
    lane = Lane(chosen, http)
    trello.faults.append(Fault("/members/me", drop="before", times=3))
    (row,) = lane.plan(lane.about("task_created"))
    outcome = await lane.once(row)
    assert isinstance(outcome, Rejected)
    assert outcome.reason.endswith("the token sees the boards none")


async def test_a_board_may_be_named_by_the_eight_characters_of_its_address(
    trello: Trello, http: Http, clock: SettableClock
) -> None:
    lane = Lane(made(trello.url, board_id=SHORT_LINK, clock=clock.clock), http)
    (row,) = lane.plan(lane.about("task_created"))
    assert isinstance(await lane.once(row), Delivered)


async def test_lists_are_read_once_in_a_while_and_anew_when_one_is_gone(
    trello: Trello, lane: Lane, clock: SettableClock
) -> None:
    await linked(lane)
    await lane.tell("task_started")
    assert len(trello.calls("/lists")) == 1
    done = next(number for number, name in trello.lists.items() if name == "Done")
    del trello.lists[done]
    trello.lists[trello.new_id()] = "DONE "
    await lane.tell("task_completed")
    assert len(trello.calls("/lists")) == 2
    assert trello.list_of(only(trello)) == "DONE "
    clock.advance(301)
    await lane.tell("task_started")
    assert len(trello.calls("/lists")) == 3


async def test_of_two_lists_with_one_name_it_is_the_first(trello: Trello, lane: Lane) -> None:
    trello.lists[trello.new_id()] = "To Do"
    await linked(lane)
    assert only(trello).list_id == next(iter(trello.lists))


async def test_a_move_the_settings_no_longer_ask_for_is_done(
    trello: Trello, lane: Lane, http: Http, clock: SettableClock
) -> None:
    create, row = lane.plan(lane.about("task_started"))
    await lane.once(create)
    changed = Lane(made(trello.url, lists={"task_started": ""}, clock=clock.clock), http)
    changed.link = lane.link
    assert isinstance(await changed.once(row), Delivered)
    assert trello.list_of(only(trello)) == "To Do"


# --- a card that is gone --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1])
async def test_a_card_that_is_gone_breaks_the_link(trello: Trello, lane: Lane, number: int) -> None:
    row = (await linked(lane)).plan(lane.about("task_completed"))[number]
    kept = dict(trello.cards)
    trello.cards.clear()
    outcome = await lane.once(row)
    assert isinstance(outcome, Rejected)
    assert outcome.reason.startswith("the card c")
    assert outcome.link is not None
    assert outcome.link.state == "broken"
    trello.cards.update(kept)
    healed = await lane.once(replace(row, replayed_at="2026-02-01T17:00:00.000Z"))
    assert isinstance(healed, Delivered)
    assert healed.link is not None
    assert healed.link.state == "linked"


async def test_a_comment_on_a_card_that_went_meanwhile(trello: Trello, lane: Lane) -> None:
    row, _ = (await linked(lane)).plan(lane.about("task_completed"))
    trello.cards.clear()
    outcome = await lane.once(row, again=True)
    assert isinstance(outcome, Rejected)
    assert outcome.link is not None


# --- checking and answers -------------------------------------------------------------------------


async def test_the_check_says_whose_token_it_is_and_posts_nothing(trello: Trello, http: Http) -> None:
    check = await made(trello.url).validate(http)
    assert (check.ok, check.message) == (True, "the token works: ralf")
    assert {seen.method for seen in trello.seen} == {"GET"}
    wrong = await made(trello.url, token="another").validate(http)
    assert wrong.message == "Trello refuses the key or the token: invalid token (401)"
    trello.faults.append(Fault("/members/me", status=200, body="<html>welcome</html>"))
    assert (await made(trello.url).validate(http)).message == "no Trello answers there: check base_url"


@pytest.mark.parametrize(
    ("status", "body", "creates", "name"),
    [
        (200, "{}", True, "delivered"),
        (400, "invalid value for name", True, "rejected"),
        (401, "invalid key", True, "credentials_broken"),
        (403, "", True, "credentials_broken"),
        (404, "The requested resource was not found.", False, "rejected"),
        (409, "", False, "retry"),
        (410, "", False, "rejected"),
        (413, "", True, "rejected"),
        (429, '{"error":"API_TOKEN_LIMIT_EXCEEDED","message":"Rate limit exceeded"}', True, "retry"),
        (500, "", True, "ambiguous"),
        (500, "", False, "retry"),
        (502, "", False, "ambiguous"),
        (503, "", True, "ambiguous"),
        (504, "", False, "ambiguous"),
    ],
)
def test_a_status(status: int, body: str, creates: Any, name: str) -> None:
    outcome = judge(HttpResponse(status, {}, body.encode()), NOW_MS, creates=creates)
    assert (outcome.name, outcome.status_code) == (name, status)


def test_a_limit_holds_the_connector_for_its_window() -> None:
    body = orjson.dumps({"error": "API_KEY_LIMIT_EXCEEDED", "message": "Rate limit exceeded"})
    outcome = judge(HttpResponse(429, {}, body), NOW_MS)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "too many requests (API_KEY_LIMIT_EXCEEDED: Rate limit exceeded)"
    assert (outcome.retry_after_s, outcome.counts, outcome.holds_connector) == (11.0, False, True)
    asked = judge(HttpResponse(429, {"retry-after": "30"}, b""), NOW_MS)
    assert isinstance(asked, Retry)
    assert asked.retry_after_s == 30.0


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"api_key": ""}, "letters and digits"),
        ({"token": "ATTA 123"}, "letters and digits"),
        ({"token": "tökén"}, "letters and digits"),
        ({"board_id": "https://trello.com/b/Xy12AbCd"}, "the eight characters behind /b/"),
        ({"default_list": "  "}, "names no list"),
        ({"lists": {"task_done": "Done"}}, "is no event that moves anything"),
        ({"cards": ["story"]}, "Input should be"),
        ({"auth": "cookie"}, "Input should be"),
        ({"base_url": "api.trello.com"}, "must start with https://"),
    ],
)
def test_what_cannot_be_is_refused(wrong: Any, words: str) -> None:
    good = {"api_key": KEY, "token": TOKEN, "board_id": BOARD}
    with pytest.raises(ValidationError) as caught:
        TrelloSettings.model_validate({**good, **wrong})
    assert words in str(caught.value)
    assert "ATTA 123" not in str(caught.value)
