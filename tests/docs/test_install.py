"""The documented installs: every extra is pinned in constraints.txt and the pins satisfy pyproject.toml."""

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


@pytest.fixture(scope="module")
def project(project_root):
    return tomllib.loads((project_root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pins(project_root):
    lines = (project_root / "constraints.txt").read_text().splitlines()
    rows = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version.split(";")[0].strip()) for name, version in rows}


def test_every_requirement_is_pinned_to_a_version_it_allows(project, pins):
    wanted = [
        *project["dependencies"],
        *(r for rows in project["optional-dependencies"].values() for r in rows),
    ]
    for text in wanted:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name == canonicalize_name(project["name"]):
            assert requirement.extras <= set(project["optional-dependencies"])
            continue
        assert name in pins, f"{name} is not in constraints.txt: pip may look for it for hours"
        assert pins[name] in requirement.specifier, f"{name}=={pins[name]} is outside {requirement.specifier}"


def test_the_extra_all_holds_every_other_extra(project):
    extras = project["optional-dependencies"]
    (everything,) = extras["all"]
    assert Requirement(everything).extras == set(extras) - {"all"}


def test_torch_is_pinned_without_a_local_build_tag(pins):
    assert pins["torch"].local is None, "a pin with +cpu exists on one machine only"


def test_console_script_points_at_the_front_door(project):
    assert project["scripts"] == {"scratchbook": "scratchbook:main"}
