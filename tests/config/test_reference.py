from ralf_hub.config.models import Settings
from ralf_hub.config.reference import reference
from ralf_hub.config.shapes import submodel
from ralf_hub.connectors.registry import BUILT_IN, connector_class
from tests.config.helpers import CHECKOUT


def test_the_committed_reference_is_the_one_the_models_make() -> None:
    committed = (CHECKOUT / "docs/settings.md").read_text()
    assert committed == reference(), "run: python -m ralf_hub.config.reference > docs/settings.md"


def test_every_setting_is_in_it_with_a_description() -> None:
    text = reference()
    models = [Settings, *(connector_class(name).settings_model for name in BUILT_IN)]
    seen = 0
    while models:
        for name, info in models.pop().model_fields.items():
            inner = submodel(info.annotation)
            if inner is not None:
                models.append(inner)
                continue
            assert info.description, name
            assert f"| `{info.alias or name}` | " in text
            seen += 1
    assert seen > 60
