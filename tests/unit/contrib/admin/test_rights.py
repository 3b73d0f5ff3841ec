import pytest
from django.core import signing

from channels.contrib.admin import rights
from channels.contrib.admin.rights import admit, admitted


def test_a_page_is_good_for_the_user_it_was_made_for(people):
    page = admit(people["operator"], disconnect=True)
    assert admitted(page, people["operator"]) is True
    assert admitted(admit(people["viewer"], disconnect=False), people["viewer"]) is False
    assert admitted(page, people["viewer"]) is None
    assert admitted(page + "x", people["operator"]) is None


def test_a_page_that_is_too_old_is_told_from_a_false_one(people, monkeypatch):
    monkeypatch.setattr(rights, "PAGE_AGE", -1)
    page = admit(people["operator"], disconnect=True)
    with pytest.raises(signing.SignatureExpired):
        admitted(page, people["operator"])
