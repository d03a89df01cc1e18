import json
import subprocess
import sys

from tests.config.helpers import CHECKOUT

SCRIPT = """
import json, sys
from pathlib import Path
from ralf_hub.config import load, instances
from ralf_hub.connectors.base import ConnectorEnv
instances(load(Path("ralf-hub.toml"), {}).settings, ConnectorEnv())
print(json.dumps(sorted(sys.modules)))
"""


def test_loading_the_default_imports_nothing_it_does_not_use() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    modules = set(json.loads(done.stdout))
    assert "ralf_hub.connectors.console" in modules
    unused = {
        "jinja2",
        "slack_sdk",
        "aiohttp",
        "yaml",
        "ralf_hub.connectors.slack",
        "ralf_hub.connectors.webhook",
    }
    assert modules & unused == set()
