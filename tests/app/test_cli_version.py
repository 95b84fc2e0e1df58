from app.cli_version import version


def test_the_version_is_that_of_the_distribution() -> None:
    assert version().count(".") == 2
