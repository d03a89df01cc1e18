"""What a settings model looks like from outside: its nested models and where its secrets are."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from ralf_hub.config.expand import Loc
from ralf_hub.model import Json


def submodel(annotation: Any) -> type[BaseModel] | None:
    """Return the model that *annotation* is made of, looked for in lists, tables and unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (submodel(part) for part in get_args(annotation))
    return next((model for model in found if model is not None), None)


def is_secret(annotation: Any) -> bool:
    """Tell whether *annotation* is a secret, or a list or table of secrets."""
    return annotation is SecretStr or any(is_secret(part) for part in get_args(annotation))


def field_of(model: type[BaseModel] | None, key: str | int) -> FieldInfo | None:
    """Return the field *key* of *model*, by its name or its alias."""
    if model is None:
        return None
    fields = model.model_fields
    if key in fields:
        return fields[str(key)]
    return next((info for info in fields.values() if key in {info.alias, info.validation_alias}), None)


def map_secrets(
    model: type[BaseModel], data: Json, change: Callable[[Loc, str], Json], loc: Loc = ()
) -> Json:
    """Return *data*, the raw values for *model*, with `change(loc, text)` in place of each text that is a secret."""
    if isinstance(data, str):  # a plain string where a table may stand: an API key
        return change(loc, data)
    if isinstance(data, list):
        return [map_secrets(model, item, change, (*loc, index)) for index, item in enumerate(data)]
    if not isinstance(data, dict):
        return data
    changed = dict(data)
    for key, value in data.items():
        info = field_of(model, key)
        if info is None:
            continue
        inner = submodel(info.annotation)
        if inner is not None:
            if isinstance(value, (dict, list)):
                changed[key] = map_secrets(inner, value, change, (*loc, key))
        elif is_secret(info.annotation):
            changed[key] = _map_texts(value, change, (*loc, key))
    return changed


def _map_texts(value: Json, change: Callable[[Loc, str], Json], loc: Loc) -> Json:
    if isinstance(value, str):
        return change(loc, value)
    if isinstance(value, list):
        return [_map_texts(item, change, (*loc, index)) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: _map_texts(item, change, (*loc, key)) for key, item in value.items()}
    return value


def secrets_in(value: Any, loc: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """Yield every secret in a settings value and the way to it."""
    if isinstance(value, SecretStr):
        yield loc, value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name), (*loc, name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from secrets_in(item, (*loc, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from secrets_in(item, (*loc, index))
