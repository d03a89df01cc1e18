"""One YAML document, read so that no text can harm the process or stop it for long."""

import re
from collections.abc import Iterator
from typing import Final

import yaml

NESTING_MAX: Final = 200
"""Levels of lists and mappings in each other; RALF's files have four."""
BRACKETS_MAX: Final = 64

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FAR_RIGHT = re.compile(r"[ \t?:-]{65}")


class UnreadableError(Exception):
    """Text that is not YAML; `line` counts from 0 in the text. Never quotes the text."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def _marked(error: yaml.MarkedYAMLError, text: str) -> UnreadableError:
    """Return libyaml's *error* about *text*: its words up to where it may quote, its line."""
    mark = error.problem_mark or error.context_mark
    words = re.split(r"[:'\"]", error.problem or "")[0].strip() or "not YAML"
    return UnreadableError(words, min(mark.line, text.rstrip().count("\n")) if mark else 0)


def load_yaml(text: str) -> object:
    """Return what *text* says as one YAML document, without aliases.

    Raises UnreadableError with the line, never with the text.
    """
    try:
        has_aliases = "*" in text and "&" in text
        if has_aliases or _may_be_deep(text):
            for part in parts(text):
                if isinstance(part, yaml.AliasEvent):
                    raise UnreadableError("an alias, which could expand without bound")
        return yaml.load(text, _LOADER)  # noqa: S506 - a safe loader # nosec B506
    except yaml.MarkedYAMLError as error:
        raise _marked(error, text) from None
    except yaml.YAMLError:
        raise UnreadableError("characters YAML does not allow") from None
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        raise UnreadableError(f"a value that cannot be ({type(error).__name__})") from None


def _may_be_deep(text: str) -> bool:
    """Return whether *text* could be nested deeper than the parser bears; cheap, and wrong on the safe side only.

    Each level costs a bracket, or a column to the left of what it holds.
    """
    return len(text) > NESTING_MAX and (
        text.count("[") + text.count("{") > BRACKETS_MAX or _FAR_RIGHT.search(text) is not None
    )


def parts(text: str) -> Iterator[yaml.Event]:
    """Yield the parts of *text* one by one, without building anything. UnreadableError for what is nested too deep.

    The C parser builds level by level on the stack, and takes the process with it where there are too many; and the
    time it needs for a bracket grows with those that are open.
    """
    depth = 0
    for event in yaml.parse(text, _LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > NESTING_MAX:
                line = event.start_mark.line if event.start_mark else 0
                raise UnreadableError(f"nested deeper than {NESTING_MAX} levels", line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        yield event


def syntax_errors(text: str) -> Iterator[UnreadableError]:
    """Yield the first place where *text* is not YAML, or nested too deep, if there is one.

    Nothing is built and the parser is left after every event, so this may run beside others.
    """
    try:
        for _ in parts(text):
            pass
    except UnreadableError as error:
        yield error
    except yaml.MarkedYAMLError as error:
        yield _marked(error, text)
    except (yaml.YAMLError, ValueError):
        yield UnreadableError("characters YAML does not allow")
