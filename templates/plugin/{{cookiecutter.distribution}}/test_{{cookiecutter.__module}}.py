"""The promises of the {{ cookiecutter.kind }}, a test each. Tests of your own facts go below."""

from specalign.testing import parametrize_{{ cookiecutter.kind }}


@parametrize_{{ cookiecutter.kind }}("{{ cookiecutter.plugin }}")
def test_contract(check):
    check()
