"""What a hub logs: lines for people, or one JSON object per line for programs (`[logging] format`)."""

import json
import logging
from typing import Final

from ralf_hub.clock import MS_PER_S, iso
from ralf_hub.config.models import LoggingSettings

_FOR_PEOPLE: Final = "%(asctime)s %(levelname)s %(message)s"


class JsonLines(logging.Formatter):
    """One object per line: `at`, `level`, `logger`, `message`, and `error` with the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as one line."""
        line = {
            "at": iso(round(record.created * MS_PER_S)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(settings: LoggingSettings) -> None:
    """Log to standard error as *settings* say."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.format == "json" else logging.Formatter(_FOR_PEOPLE))
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
