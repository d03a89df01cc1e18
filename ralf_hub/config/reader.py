"""Raw values to a checked model: secret files read, every problem noted."""

from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from ralf_hub.config.expand import Expansion, Loc
from ralf_hub.config.findings import Findings
from ralf_hub.config.old_layout import is_placeholder
from ralf_hub.config.shapes import map_secrets, secrets_in
from ralf_hub.config.sources import SECRET_BYTES_MAX, Source, read_text
from ralf_hub.config.types import service_of
from ralf_hub.model import Json
from ralf_hub.secrets import SECRET_LENGTH_MIN

M = TypeVar("M", bound=BaseModel)

FILE_PREFIX: Final = "file:"
_BOOL: Final = TypeAdapter(bool)
OPEN_TO_OTHERS: Final = 0o077


class Reader:
    """Checks parts of one settings file against their models; `findings` has what was wrong."""

    def __init__(self, source: Source, expansion: Expansion) -> None:
        self.source = source
        self.findings = Findings(source, expansion)
        self.secret_files: list[Path] = []
        self.holds_secrets = False

    def read(self, model: type[M], data: Json, loc: Loc) -> M | None:
        """Return *data* as *model*, or None once the problems are noted."""
        data = map_secrets(model, _without_nulls(data), lambda way, text: self._secret((*loc, *way), text))
        try:
            value = model.model_validate(data, context={"base": self.source.base})
        except ValidationError as error:
            self.findings.invalid(model, data, error, loc)
            return None
        except Exception as error:  # noqa: BLE001 - a connector from elsewhere may raise anything
            self.findings.add(loc, f"cannot be checked: its model raised {type(error).__name__}")
            return None
        self.check_secrets(value, loc)
        return value

    def read_disabled(self, model: type[BaseModel], data: Json, loc: Loc) -> None:
        """Check a disabled part for unknown keys only: it may lack or hold anything else."""
        self.findings.unset_below(loc)
        try:
            model.model_validate(_without_nulls(data), context={"base": self.source.base})
        except ValidationError as error:
            self.findings.invalid(model, data, error, loc, only="extra_forbidden")
        except Exception as error:  # noqa: BLE001 - a connector from elsewhere may raise anything
            self.findings.warn(loc, f"cannot be checked: its model raised {type(error).__name__}")

    def table(self, data: Json, loc: Loc) -> dict[str, Json] | None:
        """Return *data* as a table (nothing is an empty one), or None once the problem is noted."""
        if data is None:
            return {}
        if isinstance(data, dict):
            return data
        self.findings.add(loc, "must be a table")
        return None

    @staticmethod
    def is_enabled(data: dict[str, Json]) -> bool:
        """Tell whether a part is enabled. What is no truth value counts as enabled, to be told of then."""
        try:
            return _BOOL.validate_python(data.get("enabled", True))
        except ValidationError:
            return True

    def check_secrets(self, value: BaseModel, loc: Loc) -> None:
        """Note secrets too short to be kept out of logs, and those with blanks around them."""
        for way, secret in secrets_in(value):
            self.findings.reveal(secret)
            if len(secret) < SECRET_LENGTH_MIN:
                self.findings.add(
                    (*loc, *way), f"is too short for a secret: under {SECRET_LENGTH_MIN} characters"
                )
            elif is_placeholder(secret):
                self.findings.warn(
                    (*loc, *way), "looks like the example it was copied from", "write the real one"
                )
            elif secret != secret.strip():
                self.findings.warn(
                    (*loc, *way), "begins or ends with blanks or a line end", "remove them if by accident"
                )

    def check_permissions(self, mode: int) -> None:
        """Warn when the settings file has secrets in it and, by *mode*, others may read it."""
        if self.holds_secrets and mode & OPEN_TO_OTHERS:
            self.findings.warn(
                (), "has secrets in it and may be read by others", f"chmod 600 {self.source.path}"
            )

    def _secret(self, loc: Loc, text: str) -> Json:
        if not text.startswith(FILE_PREFIX):
            written = self.findings.in_file(loc) not in self.findings.expansion.replaced
            self.holds_secrets |= written and ("://" not in text or service_of(text) != "webhook")
            self.findings.reveal(text)
            return text
        try:
            path = self.source.base / Path(text.removeprefix(FILE_PREFIX)).expanduser()
            content, mode = read_text(path, SECRET_BYTES_MAX)
        except RuntimeError:
            self.findings.add(loc, "its secret file is in a home folder that does not exist")
            return text
        except ValueError as error:
            self.findings.add(loc, f"its secret file {error}", "write file:/path/to/the/secret")
            return text
        if mode & OPEN_TO_OTHERS:
            self.findings.warn(
                loc, "its secret file may be read by others on this machine", "chmod 600 the file"
            )
        self.secret_files.append(path)
        secret = content.removesuffix("\n").removesuffix("\r")
        self.findings.reveal(secret)
        return secret


def _without_nulls(data: Json) -> Json:
    """Return *data* without the keys that YAML leaves empty: they count as left out."""
    if isinstance(data, dict):
        return {key: _without_nulls(value) for key, value in data.items() if value is not None}
    return data
