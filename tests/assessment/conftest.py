import pytest
import subjects

from ft_tf import assess


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("card")


@pytest.fixture(scope="session")
def options():
    x, y = subjects.images(300, seed=1)
    x_train, y_train = subjects.images(400, seed=100)
    return {
        "x_test": x, "y_test": y, "x_train": x_train, "y_train": y_train, "seed": 3,
        "images_per_trial": 100, "dataset": "quarters", "attack": "apgd",
        "protections": {"fraction only": subjects.fraction_only},
    }  # fmt: skip


@pytest.fixture(scope="session")
def card(place, options):
    return assess(
        subjects.classifier(),
        **options,
        budget=subjects.BUDGET,
        output_dir=place,
        now=subjects.Ticks(),
    )


@pytest.fixture(scope="session")
def twice(card, place, options):
    """The same with twice the budget: it continues."""
    return assess(
        subjects.classifier(),
        **options,
        budget=2 * subjects.BUDGET,
        output_dir=place,
        now=subjects.Ticks(),
    )


@pytest.fixture(scope="session")
def other(options):
    """A card of another model of the same shape."""
    return assess(
        subjects.classifier(seed=1), **options, budget=subjects.BUDGET, now=subjects.Ticks()
    )
