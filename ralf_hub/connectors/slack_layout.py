"""A notice laid out for Slack: blocks within its limits, everything from outside escaped.

Limits: https://docs.slack.dev/reference/block-kit/blocks. One section per message stays far below the sum at
which `msg_blocks_too_long` comes. Escaping: https://docs.slack.dev/messaging/formatting-message-text - only
`& < >` act, and with them gone no mention, channel or link can be made by a task's title.
"""

import re
from typing import Final

from ralf_hub.connectors.wording import Worded
from ralf_hub.model import Json
from ralf_hub.notices import Severity, short_id
from ralf_hub.texts import clean, cut, fit

HEADER_LENGTH_MAX: Final = 150
SECTION_LENGTH_MAX: Final = 2900
"""Below Slack's 3,000: where it counts UTF-16 units or bytes of an emoji more than we do, there is room."""
CONTEXT_LENGTH_MAX: Final = 1500
FALLBACK_LENGTH_MAX: Final = 1000

SIGNS: Final[dict[Severity, str]] = {
    "info": "\N{INFORMATION SOURCE}\ufe0f",
    "success": "\N{WHITE HEAVY CHECK MARK}",
    "warning": "\N{WARNING SIGN}\ufe0f",
    "error": "\N{CROSS MARK}",
}

BUTTON_ACTIONS: Final[dict[str, str]] = {"ralf_retry": "retry", "ralf_acknowledge": "ack"}
"""What a button is called when Slack tells of it, and the command it stands for."""
BLOCK_ID_LENGTH_MAX: Final = 255

_TORN = re.compile(r"(?:&[a-z]{0,4}|<[^<>]*)$")


def escape(text: str) -> str:
    """Return *text* as Slack wants plain text: clean, `&`, `<` and `>` as entities and nothing else touched."""
    return clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def link(url: str, text: str) -> str:
    """Return a link. A `|` or `>` would end its parts early: they are encoded in the URL, left out of the text."""
    target = escape(url.replace("|", "%7C").replace(">", "%3E").replace("<", "%3C").replace(" ", "%20"))
    return f"<{target}|{escape(re.sub('[|>]', '', text))}>"


def message(worded: Worded) -> dict[str, Json]:
    """Return the members of a message that say *worded*: `text` for notifications, `blocks` for the channel."""
    notice = worded.notice
    title = f"{SIGNS[notice.severity]} {notice.title}"
    if worded.text is not None and worded.text.strip():
        said = cut_mrkdwn(worded.text.strip(), SECTION_LENGTH_MAX)
        blocks, fallback = [_section(said)], cut_mrkdwn(said, FALLBACK_LENGTH_MAX)
    else:
        header = {"type": "plain_text", "text": fit(title, HEADER_LENGTH_MAX, escape), "emoji": False}
        blocks = [{"type": "header", "text": header}]
        if notice.lines:
            blocks.append(_section(fit(notice.text, SECTION_LENGTH_MAX, escape)))
        fallback = fit(f"{title}\n{notice.text}".strip(), FALLBACK_LENGTH_MAX, escape)
    blocks.append({"type": "context", "elements": [_mrkdwn(text) for text in _small_print(worded)]})
    return {"text": fallback, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def buttons(connector: str, task_id: str) -> dict[str, Json]:
    """Return the buttons of a failure. Slack hands the block's id back, so it says who wrote the message."""
    return {
        "type": "actions",
        "block_id": f"ralf {connector}"[:BLOCK_ID_LENGTH_MAX],
        "elements": [
            {
                "type": "button",
                "action_id": action,
                "value": task_id,
                "text": {"type": "plain_text", "text": text},
            }
            for action, text in zip(BUTTON_ACTIONS, ("Retry", "Acknowledge"), strict=True)
        ],
    }


def answered(message: dict[str, Json], text: str) -> dict[str, Json]:
    """Return what replaces a message whose button was pressed: itself without the buttons, and what came of it."""
    said = {"type": "context", "elements": [_mrkdwn(fit(text, CONTEXT_LENGTH_MAX, escape))]}
    return {
        "channel": message["channel"],
        "ts": message["ts"],
        "text": str(message.get("text", ""))[:FALLBACK_LENGTH_MAX],
        "blocks": [*message["blocks"], said],
    }


def cut_mrkdwn(text: str, limit: int) -> str:
    """Return text that holds entities and links in at most *limit* code points, none of them torn."""
    if len(text) <= limit:
        return text
    return _TORN.sub("", cut(text, limit - 1, mark="")).rstrip() + "\u2026"


def _small_print(worded: Worded) -> list[str]:
    """Return the lines under a message: the facts, the way to the task, the event's id."""
    notice = worded.notice
    lines = []
    if notice.fields:
        facts = " \u00b7 ".join(f"{name}: {value}" for name, value in notice.fields)
        lines.append(fit(facts, CONTEXT_LENGTH_MAX, escape))
    if worded.template_error is not None:
        failed = f"The template failed ({worded.template_error}); this is the default wording."
        lines.append(fit(failed, CONTEXT_LENGTH_MAX, escape))
    if notice.url is not None:
        lines.append(link(notice.url, "Open in ralf-hub"))
    lines.append(escape(short_id(notice.event_id)))
    return lines


def _section(text: str) -> dict[str, Json]:
    return {"type": "section", "text": _mrkdwn(text)}


def _mrkdwn(text: str) -> dict[str, Json]:
    # verbatim: Slack must not make links and mentions of its own out of plain words
    return {"type": "mrkdwn", "text": text, "verbatim": True}
