import pytest
from django.core.exceptions import ImproperlyConfigured

from channels.security.tokens import SignedTokenVerifier
from channels.security.tokens.packages import package


def test_a_package_that_is_missing_is_named():
    assert package("json", None, "json").loads("1") == 1
    text = r'SignedTokenVerifier needs a package that is missing \(No .*\): pip install "that-one"'
    with pytest.raises(ImproperlyConfigured, match=text):
        package("there_is_no_such_module", SignedTokenVerifier(), "that-one")
