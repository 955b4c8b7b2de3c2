"""The configs of config/, and what the workflow makes of them."""

from pathlib import Path

import yaml

from workflow.plan import Plan
from workflow.settings import read

ROOT = Path(__file__).parent.parent


def config(name: str) -> dict:
    return yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())


def plan(name: str, *entries: str) -> Plan:
    return Plan(read(config(name), entries))
