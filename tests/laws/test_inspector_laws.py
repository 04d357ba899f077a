"""LS6: no request leaves the machine from any page, and each page does what it is for. In a real browser."""

from __future__ import annotations

import inspector_checks as checks
import pytest


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    root = tmp_path_factory.mktemp("inspector") / "runs"
    checks.fill(root)
    with checks.house(root) as house:
        yield house


@pytest.mark.browser
@pytest.mark.parametrize("name", list(checks.PAGES))
def test_a_page_does_its_main_action_and_asks_nobody_else(browser, house, name):
    checks.check_every_page_stays_here(browser, house.url, (name,))


@pytest.mark.browser
def test_what_a_run_writes_is_in_its_open_page_once(browser, house):
    checks.check_new_records_reach_an_open_page(browser, house.url, house.root)


def test_pages_take_no_address_from_programs(house):
    import httpx

    with httpx.Client(base_url=house.url, timeout=60) as client:
        checks.check_wrong_addresses_of_programs_are_json(client)
