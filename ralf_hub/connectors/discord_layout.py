"""A notice laid out for Discord: one embed within its limits, everything from outside escaped.

Limits: https://docs.discord.com/developers/resources/message#embed-object-embed-limits. `allowed_mentions` is what
keeps anybody from being notified; a mention would still be drawn as one, so its sign is escaped too.
"""

import re
from typing import Final

from ralf_hub.connectors.wording import Worded
from ralf_hub.model import Json
from ralf_hub.notices import Notice, Severity
from ralf_hub.texts import clean, cut, fit, one_line

TITLE_LENGTH_MAX: Final = 250
DESCRIPTION_LENGTH_MAX: Final = 4000
FIELD_NAME_LENGTH_MAX: Final = 250
FIELD_VALUE_LENGTH_MAX: Final = 1000
EMBED_LENGTH_MAX: Final = 5800
"""A little below Discord's 6,000. All limits here are kept in UTF-16 units, the strictest way to count."""
FOOTER_LENGTH_MAX: Final = 200
URL_LENGTH_MAX: Final = 2048

COLOURS: Final[dict[Severity, int]] = {
    "info": 0x3B82F6, "success": 0x22A559, "warning": 0xF0A020, "error": 0xDA373C,
}  # fmt: skip
BUTTONS: Final = (("Retry", "retry"), ("Acknowledge", "ack"))
"""What stands on the buttons of a failure, and the commands they stand for."""
CUSTOM_ID_LENGTH_MAX: Final = 100

ZERO_WIDTH_SPACE: Final = "\u200b"
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s`<>]+")
_MARKUP: Final = re.compile(r"([\\*_~`|<>#\[\]()])")
_LIST: Final = re.compile(r"^(\s*)([-+])", re.MULTILINE)
_TORN: Final = re.compile(r"(?<!\\)(?:\\\\)*(\\)$")


def escape(text: str) -> str:
    """Return *text* as Discord shows it unchanged: no markup, no mention, and URLs as code instead of links."""
    done, end = [], 0
    text = clean(text)
    for url in _URL.finditer(text):
        done += [_words(text[end : url.start()]), f"`{url[0]}`"]
        end = url.end()
    return "".join((*done, _words(text[end:])))


def _words(text: str) -> str:
    escaped = _LIST.sub(r"\1\\\2", _MARKUP.sub(r"\\\1", text))
    return escaped.replace("@", f"@{ZERO_WIDTH_SPACE}")


def message(worded: Worded) -> dict[str, Json]:
    """Return the members of a message that say *worded*: one embed, and nobody who may be mentioned."""
    notice = worded.notice
    embed: dict[str, Json] = {"color": COLOURS[notice.severity], "footer": {"text": footer(notice.event_id)}}
    if notice.occurred_at:
        embed["timestamp"] = notice.occurred_at
    if notice.url is not None and len(notice.url) <= URL_LENGTH_MAX:
        embed["url"] = notice.url
    said = None if worded.text is None else worded.text.strip()
    if said:
        # Without a title a template would have no way to the task: the URL hangs on the title.
        embed["title"] = fitted(notice.title, TITLE_LENGTH_MAX)
        embed["description"] = cut_markup(said, DESCRIPTION_LENGTH_MAX)
        return {"embeds": [embed], "allowed_mentions": {"parse": []}}
    embed["title"] = fitted(notice.title, TITLE_LENGTH_MAX)
    embed["fields"] = _fields(notice, worded.template_error)
    taken = units(embed["title"]) + units(embed["footer"]["text"])
    taken += sum(units(field["name"]) + units(field["value"]) for field in embed["fields"])
    if notice.lines:
        room = min(DESCRIPTION_LENGTH_MAX, EMBED_LENGTH_MAX - taken)
        embed["description"] = fitted(notice.text, room)
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def footer(event_id: str) -> str:
    """Return the small print that finds a message again: the whole id, since part of it may be another's too."""
    return one_line(event_id)[:FOOTER_LENGTH_MAX]


def buttons(task_id: str) -> list[Json]:
    """Return the row of buttons under a failure; Discord hands `custom_id` back."""
    ids = [(label, f"ralf:{command}:{task_id}") for label, command in BUTTONS]
    if any(len(custom_id) > CUSTOM_ID_LENGTH_MAX for _, custom_id in ids):
        return []
    row = [{"type": 2, "style": 2, "label": label, "custom_id": custom_id} for label, custom_id in ids]
    return [{"type": 1, "components": row}]


def units(text: str) -> int:
    """Return the length of *text* as JavaScript counts: what lies beyond the first plane counts twice."""
    return len(text) + sum(char > "\uffff" for char in text)


def fitted(text: str, limit: int) -> str:
    """Return *text* escaped and in at most *limit* units."""
    room = limit
    while (over := units(made := fit(text, room, escape)) - limit) > 0:
        room = len(made) - (over + 1) // 2
    return made


def cut_markup(text: str, limit: int) -> str:
    """Return text that holds escapes in at most *limit* units, no escape torn."""
    if units(text) <= limit:
        return text
    room = limit - 1
    while (over := units(kept := cut(text, room, mark="")) - limit + 1) > 0:
        room = len(kept) - (over + 1) // 2
    torn = _TORN.search(kept)
    return (kept[: torn.start(1)] if torn else kept).rstrip() + "\u2026"


def _fields(notice: Notice, template_error: str | None) -> list[dict[str, Json]]:
    facts = [(name, value, True) for name, value in notice.fields]
    if template_error is not None:
        facts.append(("The template failed, this is the default wording", cut(template_error, 300), False))
    return [
        {
            "name": fitted(one_line(name), FIELD_NAME_LENGTH_MAX),
            "value": fitted(one_line(value), FIELD_VALUE_LENGTH_MAX),
            "inline": inline,
        }
        for name, value, inline in facts
    ]
