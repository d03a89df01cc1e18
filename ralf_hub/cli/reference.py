"""`docs/commands.md`, made from the commands: `python -m ralf_hub.cli.reference > docs/commands.md`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer

from ralf_hub.cli.commands import app

_HEAD: Final = """\
# Commands

<!-- Made from the commands themselves: python -m ralf_hub.cli.reference > docs/commands.md -->

`ralf-hub COMMAND --help` shows the same. Output is for people; with `--json` it is for programs. Every command ends
with 0 when it is done, 1 when it failed, 2 when it was used wrongly or the settings are.

Without `--config` the settings are the first of `$RALF_HUB_CONFIG`, `./ralf-hub.toml`, `~/.blackbox5/ralf-hub.toml`,
`~/.blackbox5/api-config.yaml`; `--db` names another database than they do. Commands that only need the database work
beside a running hub, which sees what they change within a second.
"""


def reference() -> str:
    """Return the reference of all commands as Markdown."""
    commands = list(_commands(typer.main.get_command(app), "ralf-hub"))
    overview = ["| command | what it does |", "|---|---|"]
    overview += [
        f"| [`{name}`](#{name.replace(' ', '-')}) | {_summary(command)} |" for name, command in commands
    ]
    return "\n".join([_HEAD, "\n".join(overview) + "\n", *(_section(*named) for named in commands)])


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield every command with its full name; groups are no commands."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _summary(command: Any) -> str:
    return str(command.help or "").split("\n\n")[0].replace("\n", " ").rstrip(".")


def _section(name: str, command: Any) -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option" and not param.hidden]
    usage = " ".join([name, *map(_placeholder, arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"## {name}\n", f"`{usage}`\n", f"{str(command.help or '').strip()}\n"]
    if arguments or options:
        lines += ["| | default | meaning |", "|---|---|---|"]
        lines += [_row(_placeholder(param), param) for param in arguments]
        lines += [_row(_spelled(param), param) for param in options]
        lines.append("")
    return "\n".join(lines)


def _placeholder(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    name += "..." if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"


def _spelled(option: Any) -> str:
    value = "" if option.is_flag else f" {option.metavar or option.name.upper()}"
    return ", ".join([*option.opts, *option.secondary_opts]) + value


def _row(shown: str, param: Any) -> str:
    meaning = " ".join((param.help or "").split()).replace("|", "\\|")
    return f"| `{shown}` | {_default(param)} | {meaning} |"


def _default(param: Any) -> str:
    if param.required:
        return "needed"
    known = isinstance(param.default, str | int | float | Path) and param.default not in ("", False)
    return f"`{param.default}`" if known else ""


if __name__ == "__main__":
    sys.stdout.write(reference())
