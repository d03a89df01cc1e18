"""Settings: TOML or YAML to frozen values; every error names file, key and what to write instead."""

from ralf_hub.config.effective import fingerprint, hub_url, secret_values
from ralf_hub.config.load import Loaded, instances, load, load_tree
from ralf_hub.config.models import Settings
from ralf_hub.config.sources import Source, at, locate

__all__ = [
    "Loaded",
    "Settings",
    "Source",
    "at",
    "fingerprint",
    "hub_url",
    "instances",
    "load",
    "load_tree",
    "locate",
    "secret_values",
]
