import pytest
import striped


@pytest.fixture(scope="session")
def stripes():
    return striped.make_data()
