import sqlite3

import pytest

from tests.store.house import House
from tests.support import SettableClock


@pytest.fixture
def house(conn: sqlite3.Connection, clock: SettableClock) -> House:
    return House(conn, clock)


@pytest.fixture
def day(house: House) -> House:
    """Seven events: one each of no, one and two actions per connector, one that cannot be worded, one history."""
    house.record("agent_stop", notify=False)
    house.task()
    house.record("task_progress", task_id="T-1", data={"progress": 50})
    house.complete()
    house.record("feature_created", data={"feature_id": "F-1"})
    house.record("agent_start")
    house.record("system_alert", data={"connector": "slack", "code": "connector_down"})
    return house
