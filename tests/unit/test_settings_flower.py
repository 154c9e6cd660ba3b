"""Flower opens to this machine, or behind a password, or not at all."""

from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from worker.flower import OpenFlower, secure


def options(**values):
    return SimpleNamespace(**{"address": "", "basic_auth": None, "auth": "", "unix_socket": "", **values})


def settings(auth=None):
    return SimpleNamespace(flower_basic_auth=SecretStr(auth) if auth else None)


def test_flower_without_a_password_and_an_address_stays_on_this_machine():
    """Its address becomes 127.0.0.1."""
    given = options()
    secure(given, settings())

    assert given.address == "127.0.0.1"


def test_flower_takes_the_password_of_our_settings():
    """Each pair of the list is handed over."""
    given = options(address="0.0.0.0")
    secure(given, settings("ana:long-enough,luis:long-enough"))

    assert given.basic_auth == ["ana:long-enough", "luis:long-enough"]


def test_what_flower_was_given_itself_is_kept():
    """Its own option goes before our setting."""
    given = options(address="0.0.0.0", basic_auth=["x:y"])
    secure(given, settings("ana:long-enough"))

    assert given.basic_auth == ["x:y"]


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.5", "flower.example"])
def test_an_open_flower_is_refused_in_one_line_that_says_what_to_set(address):
    """The line has address and setting."""
    with pytest.raises(OpenFlower, match=r"TIMBRADO_FLOWER_BASIC_AUTH=user:password") as caught:
        secure(options(address=address), settings())
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values", [{"auth": ".*@example.com"}, {"unix_socket": "/run/flower.sock"}, {"address": "::1"}]
)
def test_other_ways_of_keeping_it_closed_are_left_alone(values):
    """OAuth, a unix socket or loopback need no password of ours."""
    before = options(**values)
    given = options(**values)
    secure(given, settings())

    assert given == before
