import pytest

from publican.core.errors import NotAllowed
from publican.gateway.keys import OneKey, OpenDoor, new_key


def test_an_open_door_takes_any_key_or_none():
    assert OpenDoor().authenticate(None) == OpenDoor().authenticate("whatever")


def test_one_key_is_that_key():
    key = new_key()
    assert OneKey(key).authenticate(key).admin
    for wrong in (None, "", key[:-1], key + "x", "\ud800", "é" * 50):
        with pytest.raises(NotAllowed):
            OneKey(key).authenticate(wrong)


def test_keys_differ_and_survive_pasting():
    assert new_key() != new_key()
    assert new_key().isascii()
    assert new_key().removeprefix("pk-").isalnum()


@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_key_cannot_be_the_one(blank):
    with pytest.raises(AssertionError):
        OneKey(blank)
