"""What Slack's answers mean. The Web API answers 200 with `ok: false`, incoming webhooks answer with words.

Errors of chat.postMessage: https://docs.slack.dev/reference/methods/chat.postMessage
and of incoming webhooks: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

import re
from collections.abc import Mapping
from typing import Final

from ralf_hub.connectors.base import (
    Ambiguous,
    CredentialsBroken,
    Delivered,
    HttpResponse,
    Outcome,
    Rejected,
    Retry,
)
from ralf_hub.connectors.judging import excerpt, judge_status, retry_after_s
from ralf_hub.model import Json

_CREDENTIALS: Final = frozenset({
    "access_denied", "accesslimited", "account_inactive", "ekm_access_denied", "enterprise_is_restricted",
    "invalid_auth", "invalid_token", "missing_scope", "no_active_hooks", "no_permission", "no_service",
    "no_team", "not_allowed_token_type", "not_authed", "org_login_required", "team_access_not_granted",
    "team_disabled", "token_expired", "token_revoked", "two_factor_setup_required",
})  # fmt: skip
_PERMANENT: Final = frozenset({
    "action_prohibited", "as_user_not_supported", "attachment_payload_limit_exceeded", "channel_is_archived",
    "channel_not_found", "duplicate_channel_not_found", "duplicate_message_not_found", "invalid_arg_name",
    "invalid_arguments", "invalid_array_arg", "invalid_blocks", "invalid_blocks_format", "invalid_charset",
    "invalid_form_data", "invalid_json", "invalid_metadata_format", "invalid_metadata_schema",
    "invalid_payload", "invalid_post_type", "is_archived", "json_not_object", "messages_tab_disabled",
    "metadata_must_be_sent_from_app", "metadata_too_large", "missing_post_type", "missing_text_or_fallback_or_attachments",
    "msg_blocks_too_long", "msg_too_long", "no_text", "not_in_channel", "posting_to_general_channel_denied",
    "restricted_action", "restricted_action_read_only_channel", "restricted_action_thread_only_channel",
    "slack_connect_blocked_file_type", "too_many_attachments", "user_not_found",
})  # fmt: skip
THREAD_GONE: Final = frozenset({
    "cannot_reply_to_message", "message_not_found", "restricted_action_non_threadable_channel",
    "restricted_action_thread_locked", "thread_not_found",
})  # fmt: skip
"""The message to answer under is gone or locked: the notice goes into the channel instead."""
CHANNEL_GONE: Final = frozenset({"channel_not_found", "is_archived", "not_in_channel"})
"""A thread's channel may be one that was set before; the one that is set now is tried as well."""
LOOK_UP_IMPOSSIBLE: Final = frozenset({
    "channel_not_found", "method_not_supported_for_channel_type", "missing_scope", "no_permission",
    "not_allowed_token_type", "not_in_channel", "thread_not_found",
})  # fmt: skip
"""Reading is not allowed or finds no such place: nothing can be learnt, so the message is posted again."""
_LIMITED: Final = frozenset({"message_limit_exceeded", "rate_limited", "ratelimited"})
_LATER: Final = frozenset({"request_timeout", "rollup_error", "service_unavailable", "team_added_to_org"})
_UNKNOWN: Final = frozenset({"fatal_error", "internal_error"})
"""Slack says of these that some of the work may have been done."""

_ADVICE: Final = {
    "account_inactive": "the app or its user was removed: install it again",
    "channel_is_archived": "the channel is archived",
    "channel_not_found": "there is no such channel, or the bot cannot see it: check `channel`, invite the bot",
    "duplicate_message_not_found": "Slack had this very message before and it has been deleted since",
    "invalid_auth": "the bot token is not valid: copy it again",
    "invalid_token": "the webhook URL is not valid: copy it again",
    "is_archived": "the channel is archived",
    "missing_scope": "the bot token lacks a scope: add it and install the app again",
    "no_active_hooks": "the webhook was removed: make a new one",
    "no_service": "the webhook was removed or switched off: make a new one",
    "no_team": "the webhook's workspace is gone",
    "not_in_channel": "the bot is not in the channel: invite it there",
    "token_expired": "the bot token has expired: make a new one",
    "token_revoked": "the bot token was revoked: make a new one",
}

_ERROR = re.compile(r"[a-z][a-z0-9_]{1,63}")
_PAGE = re.compile(rb"\s*<")


def judge_webhook(response: HttpResponse, now_ms: int) -> Outcome:
    """Judge the answer of an incoming webhook: `ok`, or an error in plain text."""
    word = response.text.strip()
    if response.status != 429 and word != "ok" and _ERROR.fullmatch(word):  # noqa: PLR2004 - HTTP's word on limits
        return judge_error(word, response, now_ms)
    if response.status < 300 and _PAGE.match(response.body):  # noqa: PLR2004 - 2xx
        return Ambiguous("a web page came back instead of Slack's ok", response.status, excerpt(response))
    return judge_status(response, now_ms, creates=True)


def judge_api(response: HttpResponse, now_ms: int) -> Outcome:
    """Judge the answer of a Web API method; Delivered carries no link yet."""
    answer = api_answer(response)
    if response.status == 429 or (answer is None and response.status >= 300):  # noqa: PLR2004 - not 2xx
        return judge_status(response, now_ms, creates=True)
    if answer is None:
        return Ambiguous("the answer is not Slack's JSON", response.status, excerpt(response))
    if answer.get("ok") is True:
        return Delivered(response.status, excerpt(response))
    needed = answer.get("needed")
    detail = f" (needed: {needed[:100]})" if isinstance(needed, str) else ""
    return judge_error(api_error(answer), response, now_ms, detail)


def api_answer(response: HttpResponse) -> dict[str, Json] | None:
    """Return the answer of a Web API method; None when it is not one."""
    answer = response.json()
    return answer if isinstance(answer, dict) and isinstance(answer.get("ok"), bool) else None


def api_error(answer: dict[str, Json]) -> str:
    """Return the error an answer names, in a form that is safe to show; empty when it names none."""
    error = answer.get("error")
    return error if isinstance(error, str) and _ERROR.fullmatch(error) else ""


def judge_error(error: str, response: HttpResponse, now_ms: int, detail: str = "") -> Outcome:
    """Judge one of Slack's error words. Words it has never told us of are tried again: they promise nothing."""
    status, seen = response.status, excerpt(response)
    advice = _ADVICE.get(error)
    reason = f"Slack says {error or 'no'}{f': {advice}' if advice else ''}{detail}"
    wait = retry_after_s(response.headers, now_ms)
    if error in _LIMITED:
        return Retry(reason, status, seen, wait, counts=False, holds_connector=True)
    if error in _CREDENTIALS:
        return CredentialsBroken(reason, status, seen)
    if error in _PERMANENT or error in THREAD_GONE:
        return Rejected(reason, status, seen)
    if error in _UNKNOWN:
        return Ambiguous(reason, status, seen, wait)
    return Retry(reason, status, seen, wait)


def error_of(response: HttpResponse) -> str:
    """Return the Web API error of *response*, empty when there is none."""
    answer = api_answer(response)
    return "" if answer is None or answer["ok"] else api_error(answer)


def next_cursor(answer: Mapping[str, Json]) -> str:
    """Return where the next page begins; empty where this was the last."""
    metadata = answer.get("response_metadata")
    cursor = metadata.get("next_cursor") if isinstance(metadata, dict) else None
    return cursor if isinstance(cursor, str) else ""


def posted_at(answer: Mapping[str, Json], event_id: str) -> str | None:
    """Return the timestamp of the message that carries *event_id*, if it is among those answered."""
    messages = answer.get("messages")
    for found in messages if isinstance(messages, list) else []:
        metadata = found.get("metadata") if isinstance(found, dict) else None
        payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
        if isinstance(payload, dict) and payload.get("event_id") == event_id:
            return str(found.get("ts"))
    return None
