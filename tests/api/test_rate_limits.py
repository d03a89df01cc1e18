"""How often one may call: per key, per address for those without one, and nobody pays for another."""

from dataclasses import replace

import pytest

from tests.api.conftest import Start
from tests.api.helpers import ONLY, OTHER, V1, Api, Reply
from tests.support import SettableClock


class Ticks:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.s = 1_000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def limited(start: Start, clock: SettableClock, ticks: Ticks):
    async def limited(**rate_limit: object) -> Api:
        given = {"requests_per_minute": 5, "failed_auth_per_minute": 3, **rate_limit.pop("rate", {})}  # type: ignore[dict-item]
        api = {"rate_limit": given, **rate_limit.pop("api", {})}  # type: ignore[dict-item]
        return await start(own_clock=replace(clock.clock, monotonic=ticks), api=api, **rate_limit)

    return limited


async def many(api: Api, count: int, **more: object) -> list[int]:
    return [(await api.get("/tasks", **more)).status for _ in range(count)]


async def test_a_key_that_calls_too_often_waits_and_then_goes_on(limited, ticks: Ticks) -> None:
    api = await limited()
    left = []
    for _ in range(5):
        reply = await api.get("/tasks")
        assert reply.status == 200
        assert reply.headers["RateLimit-Policy"] == '"default";q=5;w=60'
        left.append(reply.headers["RateLimit"])
    assert left == [f'"default";r={n};t={12 * (5 - n)}' for n in (4, 3, 2, 1, 0)]
    reply = await api.get("/tasks")
    assert (reply.status, reply.code) == (429, "rate_limited")
    assert (reply.headers["Retry-After"], reply.headers["RateLimit"]) == ("12", '"default";r=0;t=60')
    ticks.s += 11.8
    assert (await api.get("/tasks")).headers["Retry-After"] == "1"
    ticks.s += 0.2
    assert await many(api, 2) == [200, 429]
    ticks.s += 1_000
    assert await many(api, 6) == [200] * 5 + [429]


async def test_every_kind_of_answer_to_a_key_counts_and_says_what_is_left(limited) -> None:
    api = await limited(rate={"requests_per_minute": 6})
    replies = [
        await api.get("/tasks/none"),
        await api.get("/tasks?x=1"),
        await api.post("/tasks", raw=b"{"),
        await api.post("/tasks", raw=b"x" * 2_000_000),
        await api.post("/tasks", {"title": "x"}),
        await api.call("HEAD", V1 + "/tasks"),
    ]
    assert [reply.status for reply in replies] == [404, 400, 400, 413, 201, 200]
    assert [reply.headers["RateLimit"].split(";")[1] for reply in replies] == [
        f"r={n}" for n in (5, 4, 3, 2, 1, 0)
    ]
    refused = await api.post("/tasks", {"title": "no"})
    assert (refused.status, refused.code) == (429, "rate_limited")


async def test_a_key_without_the_scope_uses_up_its_own_calls(limited) -> None:
    api = await limited()
    assert await many(api, 6, key=ONLY["events:read"]) == [403] * 5 + [429]


async def test_nobody_pays_for_another(limited) -> None:
    api = await limited()
    assert await many(api, 6) == [200] * 5 + [429]
    assert await many(api, 5, key=OTHER) == [200] * 5
    assert await many(api, 4, key=None) == [401] * 3 + [429]
    assert await many(api, 1, key=ONLY["tasks:read"]) == [200]
    health = await api.call("GET", "/health")
    assert health.status == 200
    assert "RateLimit" not in health.headers


async def test_an_address_that_keeps_guessing_waits_but_a_good_key_from_there_does_not(
    limited, ticks: Ticks
) -> None:
    api = await limited()
    replies: list[Reply] = [await api.get("/tasks", key=f"rh_guess_{n}") for n in range(2)]
    replies.append(await api.get("/tasks", key=None))
    assert [reply.status for reply in replies] == [401] * 3
    assert not any("RateLimit" in reply.headers for reply in replies)
    waits = await api.get("/tasks", key="rh_guess_9")
    assert (waits.status, waits.code, waits.headers["Retry-After"]) == (429, "rate_limited", "20")
    assert await many(api, 2) == [200, 200]
    ticks.s += 20
    assert await many(api, 2, key="rh_guess") == [401, 429]


async def test_without_limits_no_headers(limited) -> None:
    api = await limited(rate={"enabled": False})
    replies = [await api.get("/tasks") for _ in range(20)]
    assert {reply.status for reply in replies} == {200}
    assert not any("RateLimit" in reply.headers for reply in replies)


async def test_guessing_has_a_limit_even_where_calls_have_none(limited) -> None:
    api = await limited(rate={"enabled": False})
    assert await many(api, 4, key="rh_guess") == [401] * 3 + [429]


async def test_open_access_is_limited_per_address(limited) -> None:
    api = await limited(api={"auth_type": "none", "api_keys": []})
    assert await many(api, 6, key=None) == [200] * 5 + [429]


# --- addresses ------------------------------------------------------------------------------------


def from_(*addresses: str) -> dict[str, str]:
    return {"X-Forwarded-For": ", ".join(addresses)}


async def guesses(api: Api, count: int, *addresses: str) -> list[int]:
    return await many(api, count, key="rh_guess", headers=from_(*addresses))


async def test_a_forwarded_address_counts_for_nothing_from_strangers(limited) -> None:
    api = await limited()
    statuses = [(await guesses(api, 1, f"198.51.100.{n}"))[0] for n in range(4)]
    assert statuses == [401] * 3 + [429]


async def test_a_forwarded_address_counts_from_a_proxy_that_is_trusted(limited) -> None:
    api = await limited(security={"trusted_proxies": ["127.0.0.0/8", "::1", "10.0.0.0/8"]})
    assert await guesses(api, 4, "198.51.100.1") == [401] * 3 + [429]
    assert await guesses(api, 1, "198.51.100.2") == [401]
    for spoofed in (
        ("203.0.113.9", "198.51.100.1"),
        ("203.0.113.9", "198.51.100.1", "10.0.0.7"),
        ("127.0.0.1", "198.51.100.1"),
        ("nonsense", "198.51.100.1"),
    ):
        assert await guesses(api, 1, *spoofed) == [429], spoofed
    assert await guesses(api, 4, "2001:db8::1") == [401] * 3 + [429]


async def test_a_second_line_of_forwarded_addresses_is_not_passed_over(limited) -> None:
    api = await limited(security={"trusted_proxies": ["127.0.0.0/8"]})
    lines = "X-Forwarded-For: {}\r\nX-Forwarded-For: 198.51.100.1\r\n"
    statuses = []
    for number in range(4):
        head = f"GET {V1}/tasks HTTP/1.1\r\nHost: x\r\n{lines.format(f'203.0.113.{number}')}\r\n"
        statuses.append((await api.raw(head.encode())).status)
    assert statuses == [401] * 3 + [429]


async def test_what_is_no_address_falls_back_to_the_proxy(limited) -> None:
    api = await limited(security={"trusted_proxies": ["127.0.0.0/8"]})
    assert await guesses(api, 1, "198.51.100.1", "nonsense") == [401]
    assert await guesses(api, 1, "unknown") == [401]
    assert await guesses(api, 2, "127.0.0.9") == [401, 429]
