import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ralf_hub.connectors.base import ConnectorSettings
from ralf_hub.connectors.templates import OUTPUT_LENGTH_MAX, Templates, check
from ralf_hub.connectors.wording import Wording
from ralf_hub.notices import word
from tests.connectors.helpers import FEATURE, TASK, fact


def render(source: Any, escape: Any = str, **more: Any) -> Any:
    about = fact(**more)
    return Templates(source, escape).render(
        about, word(about.event, about.task, about.feature, about.hub_url)
    )


def test_a_template_sees_event_task_feature_notice_and_hub() -> None:
    source = (
        "{{ event.type }}|{{ event.seq }}|{{ event.data.note }}|{{ task.title }}|{{ feature.tasks.total }}"
        "|{{ notice.title }}|{{ notice.fields.Priority }}|{{ hub_url }}"
    )
    made = render(source, data={"note": "n"}, feature=FEATURE)
    assert made.error is None
    assert made.text == (
        "task_completed|41|n|Fix the login|4|Task completed: Fix the login|high|http://127.0.0.1:8080"
    )


def test_a_table_has_one_template_per_event_type_and_one_for_the_rest() -> None:
    table = {"task_failed": "failed", "*": "other"}
    assert render(table, kind="task_failed").text == "failed"
    assert render(table, kind="task_created").text == "other"
    assert render({"task_failed": "failed"}, kind="task_created") is None


def test_values_are_escaped_and_the_templates_own_text_is_not() -> None:
    made = render(
        "<b>{{ event.data.x }}</b>{{ '<' }}{{ task.error }}",
        lambda t: t.replace("<", "&lt;"),
        data={"x": "<i>"},
    )
    assert made.text == "<b>&lt;i></b>&lt;"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("{{ event.data.missing }}", "has no attribute 'missing'"),
        ("{{ 1 // event.data.zero }}", "ZeroDivisionError"),
        ("{{ task.title.__class__.__mro__ }}", "__class__"),
        ("{{ event.data.update({}) }}", "'update' of 'dict' object is unsafe"),
        ("{{ 'x' * event.data.huge }}", "factor"),
        ("{{ [0] * event.data.huge }}", "factor"),
        ("{{ 9 ** event.data.huge }}", "factor"),
        ("{% for i in range(event.data.huge) %}{% endfor %}", "OverflowError"),
        ("{{ '{0.__class__}'.format(task) }}", "__class__"),
    ],
)
def test_what_fails_at_run_time_is_said_and_does_not_raise(source: str, error: str) -> None:
    made = render(source, data={"zero": 0, "huge": 10**9})
    assert made.text == ""
    assert error in made.error
    assert len(made.error) <= 200


def test_errors_do_not_repeat_values() -> None:
    made = render(
        "{{ event.data.x | int(base='s3cret') }}{{ event.data.x.index('q') }}", data={"x": "s3cret"}
    )
    assert made.error == "ValueError"


def test_output_is_bounded() -> None:
    assert len(render("{% for i in range(99999) %}0123456789{% endfor %}").text) == OUTPUT_LENGTH_MAX
    assert len(render("{{ event.data.x }}", data={"x": "y" * 10**6}).text) == OUTPUT_LENGTH_MAX


def test_ordinary_arithmetic_works() -> None:
    assert render("{{ 3 * 40000 }} {{ '-' * 3 }} {{ 2 ** 3 }}").text == "120000 --- 8"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ task.title", "line 1: "),
        ("one\n{% if %}", "line 2: "),
        ("{{ task.title | nofilter }}", "nofilter"),
        ("{{ tsak.title }}", "did you mean 'task'"),
        ("{{ whatever }}", "known are event, task"),
        ("{{ task.titel }}", "titel"),
        ("{{ event.typ }}", "typ"),
        ("{{ notice.subject }}", "subject"),
        ("x" * 20_001, "20000 characters"),
        ({"task_failed": "{{ tsak }}"}, "for task_failed: "),
    ],
)
def test_templates_are_checked_when_settings_load(source: Any, words: str) -> None:
    with pytest.raises(ValueError, match=r"line|unknown|no |has|for") as caught:
        check(source)
    assert words in str(caught.value)
    with pytest.raises(ValidationError) as invalid:
        ConnectorSettings(template=source)
    assert words in invalid.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    "source",
    [
        "",
        "plain",
        "{{ event.data.commits[0].id[:7] }}",
        "{% for c in event.data.commits %}{{ c.message }}{% endfor %}",
        "{% if event.data.count > 3 %}many{% endif %}",
        "{{ task.result.summary | default('') | upper }}",
        "{{ task.metadata.owner }}",
        "{{ notice.fields['Took'] }}",
        "{% set n = 1 %}{{ n }}",
        {"task_*": "x", "*": "{{ event.id }}"},
    ],
)
def test_templates_that_depend_on_what_events_carry_pass_the_check(source: Any) -> None:
    assert ConnectorSettings(template=source).template == source


@given(st.text(alphabet="{}%# abeventk.|()[]'\"0_\n", max_size=40))
def test_no_template_text_breaks_the_check(source: str) -> None:
    try:
        check(source)
    except ValueError:
        return
    made = Templates(source).render(fact(), word(fact().event, TASK))
    assert made is not None
    assert made.text or made.error or not source.strip() or "{" in source


def test_wording_falls_back_to_the_notice_and_says_why() -> None:
    wording = Wording("{{ event.data.missing }}", str)
    worded = wording(fact())
    assert worded.notice.title == "Task completed: Fix the login"
    assert worded.text is None
    assert worded.template_error is not None
    assert "missing" in worded.template_error


def test_without_a_template_jinja2_is_not_loaded() -> None:
    code = (
        "import sys; from tests.connectors.helpers import connector, fact\n"
        "c = connector('slack', webhook_url='https://hooks.slack.com/services/T/B/x')\n"
        "c.plan(fact()); connector('console').plan(fact()); connector('webhook', url='http://a').plan(fact())\n"
        "sys.exit('jinja2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
