"""YAML text to a tree of plain values, node by node.

It is composed here rather than loaded, because loading takes the last of two equal keys in silence,
follows aliases without end, and turns what looks like a date into one. PyYAML's C loader is not used:
it crashes the process on deep nesting.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import yaml

from ralf_hub.config.markup import DEPTH_MAX, TOO_DEEP, Flaw, MarkupError, without_content
from ralf_hub.model import Json

VALUES_MAX: Final = 20_000

_TAG: Final = "tag:yaml.org,2002:"
_TAGGED: Final = "has a YAML tag; write text that begins with ! in quotes"
_HALF: Final = "holds half a character (a lone surrogate)"


def parse_yaml(text: str) -> Json:
    """Return YAML *text* as a tree of dict, list, str, int, float, bool and None. MarkupError with every flaw."""
    flaw: Flaw
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        reader = _YamlReader(loader)
        tree = None if node is None else reader.value(node, 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = without_content(error.problem or error.context or "cannot be read") + _hint(error)
        flaw = Flaw(f"is not valid YAML: {words}", mark.line + 1, mark.column + 1) if mark else Flaw(words)
    except yaml.YAMLError:
        flaw = Flaw("is not valid YAML: it holds characters that YAML does not allow")
    except RecursionError:
        flaw = Flaw(TOO_DEEP)
    else:
        if reader.flaws:
            raise MarkupError(*reader.flaws)
        return tree
    raise MarkupError(flaw)


class _YamlReader:
    """Turns YAML nodes into values, noting what settings must not hold."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self.flaws: list[Flaw] = []
        self._values = 0
        self._scalars: dict[str, Callable[[Any], Any]] = {
            "null": lambda _: None,
            "bool": loader.construct_yaml_bool,
            "int": loader.construct_yaml_int,
            "float": loader.construct_yaml_float,
        }

    def value(self, node: yaml.Node, depth: int) -> Json:
        self._values += 1
        if self._values > VALUES_MAX:
            raise MarkupError(Flaw(f"holds more than {VALUES_MAX:,} values once its aliases are followed"))
        if depth > DEPTH_MAX:
            raise MarkupError(_at(node, TOO_DEEP))
        tag = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and tag == "map":
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode) and tag == "seq":
            return [self.value(item, depth + 1) for item in node.value]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, tag)
        self.flaws.append(_at(node, _TAGGED))
        return None

    def _scalar(self, node: yaml.ScalarNode, tag: str) -> Json:
        if tag in {"str", "timestamp", "value", "merge"}:
            if any("\ud800" <= char <= "\udfff" for char in node.value):
                self.flaws.append(_at(node, _HALF))
            return node.value
        if tag not in self._scalars:
            self.flaws.append(_at(node, _TAGGED))
            return None
        try:
            return self._scalars[tag](node)
        except (ValueError, KeyError):
            self.flaws.append(_at(node, "is a value that cannot be read; write text in quotes"))
            return None

    def _mapping(self, node: yaml.MappingNode, depth: int) -> Json:
        table: dict[str, Json] = {}
        merged: dict[str, Json] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                for source in self._merged(value_node, depth):
                    merged = {**source, **merged}
                continue
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag.removeprefix(_TAG) not in {
                "str",
                "timestamp",
            }:
                self.flaws.append(_at(key_node, "is a key that is not text; write it in quotes"))
                continue
            if key_node.value in table:
                self.flaws.append(_at(key_node, "is a key that stands here twice; keep one of them"))
            table[key_node.value] = self.value(value_node, depth + 1)
        return {**merged, **table}

    def _merged(self, node: yaml.Node, depth: int) -> Iterator[dict[str, Json]]:
        for item in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            value = self.value(item, depth + 1)
            if isinstance(value, dict):
                yield value
            else:
                self.flaws.append(_at(item, "is merged with << but is no table"))


def _hint(error: yaml.MarkedYAMLError) -> str:
    about = f"{error.problem} {error.context}"
    return "; write text that begins with * in quotes" if "alias" in about else ""


def _at(node: yaml.Node, message: str) -> Flaw:
    return Flaw(message, node.start_mark.line + 1, node.start_mark.column + 1)
