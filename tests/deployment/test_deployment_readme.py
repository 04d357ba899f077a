"""The chapter's README names every module once, and its commands are those that there are."""

import ast
import re
from pathlib import Path

import yaml

import deployment

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "deployment" / "README.md").read_text(encoding="utf-8")


def test_every_module_is_in_the_table():
    table = README.partition("## Read it in this order")[2].partition("\n## ")[0]
    named = re.findall(
        r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    )
    modules = sorted(path.stem for path in (ROOT / "deployment").glob("*.py") if path.stem != "__init__")
    assert sorted(named) == modules


def test_public_names_can_be_imported():
    for name in deployment.__all__:
        assert getattr(deployment, name) is not None


def test_compose_commands_name_services_and_profiles_that_exist():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    found = re.findall(r"docker compose --profile (\w+) up ([\w-]+)", README)
    assert found
    for profile, service in found:
        assert profile in services[service]["profiles"]


def test_options_of_modal_train_are_those_of_its_entrypoint():
    tree = ast.parse((ROOT / "deployment" / "modal_train.py").read_text(encoding="utf-8"))
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    known = {argument.arg for argument in main.args.args}
    lines = re.findall(r"modal run (?:--detach )?deployment/modal_train\.py(.*)", README)
    assert lines
    for line in lines:
        for option in re.findall(r"(?<!\S)--([a-z-]+)", re.sub(r'"[^"]*"', "", line)):
            assert option.replace("-", "_") in known, option
