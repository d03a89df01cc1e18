"""What can go wrong with one action's request, as the doubles are told to do it."""

from dataclasses import dataclass
from typing import Any

from tests.doubles.mailbox import DROP, Mailbox
from tests.doubles.server import Fault, Seen

LOOKED_UP = "looked up, made once"
SAME_END = "repeated, same end"
TWICE = "may show twice"

FAILURES = ("429", "500", "502", "503", "no answer", "too late")
"""What an action is tried again after."""


@dataclass(frozen=True, slots=True)
class Act:
    """An action's own request: its method, its path's end and, where others are like it, what its body holds."""

    method: str
    path: str
    holding: str = ""
    lost: str = LOOKED_UP
    """What comes of a repeat after an answer that was lost, in the words of the table."""

    def is_of(self, seen: Seen) -> bool:
        """Return whether *seen* is a request of this action."""
        meant = self.path == "*" or seen.path.endswith(self.path)
        return meant and self.method == seen.method and self.holding.encode() in seen.body


def http_trouble(double: Any, act: Act, trouble: str, times: int = 1) -> None:
    """Let the next requests of *act* fail."""
    faults: dict[str, dict[str, Any]] = {
        "400": {"status": 400, "body": '{"message":"never","errors":["never"],"errorMessages":["never"]}'},
        "401": {"status": 401, "body": "invalid token"},
        "429": {"status": 429, "headers": {"Retry-After": "7"}},
        "500": {"status": 500},
        "502": {"status": 502, "body": "<html>bad gateway</html>"},
        "503": {"status": 503, "headers": {"Retry-After": "3"}},
        "no answer": {"drop": "before"},
        "too late": {"delay_s": 60.0, "drop": "before"},
        "lost": {"drop": "after"},
    }
    fault = Fault(act.path, times, method=act.method, holding=act.holding, **faults[trouble])
    double.faults.append(fault)


def mail_trouble(double: Mailbox, _: Act, trouble: str, times: int = 1) -> None:
    """Let the next conversations fail as a mail server would put it."""
    step, reply = {
        "400": ("RCPT", "550 5.1.1 (400) no such mailbox"),
        "401": ("MAIL", "530 5.7.0 authentication required"),
        "429": ("MAIL", "421 4.7.0 too many connections"),
        "500": ("RCPT", "451 4.3.0 try again later"),
        "502": ("DATA", "452 4.3.1 no room"),
        "503": ("DATA", "421 4.3.2 shutting down"),
        "no answer": ("RCPT", DROP),
        "too late": ("MAIL", "421 4.4.2 timed out"),
        "lost": ("DATA", DROP),
    }[trouble]
    double.replies.setdefault(step, []).extend([reply] * times)
