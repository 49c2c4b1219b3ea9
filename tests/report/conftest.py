"""Records and studies for the report's tests, as JSON values from the factory."""

import pytest
from factory import BEST, make_circles, make_failed, make_paper_run, make_private_study, make_run


@pytest.fixture
def run():
    return make_run


@pytest.fixture
def paper_run():
    return make_paper_run


@pytest.fixture
def failed_run():
    return make_failed


@pytest.fixture
def circles():
    return make_circles


@pytest.fixture
def circles_results():
    stem = "table_3/circles_mlp"
    return {
        f"{stem}/natural": {
            "noise": "natural",
            "sigma": 0.0,
            "train": [1.0, 1.0, 1.0],
            "test": [0.75, 0.77, 0.73],
        },
        f"{stem}/additive_gaussian/0.5": {
            "noise": "additive_gaussian",
            "sigma": 0.5,
            "train": [0.73, 0.75, 0.77],
            "test": [0.40, 0.46, 0.43],
        },
        f"{stem}/jacobian/0.1": {
            "noise": "jacobian",
            "sigma": 0.1,
            "train": [0.9, 0.9, 0.93],
            "test": [0.7, 0.72, 0.71],
        },
    }


@pytest.fixture
def private_study():
    return make_private_study()


@pytest.fixture(scope="session")
def whole_study():
    """A little of everything: two seeds of Table 8 with its arms, TRADES, circles, a failed run."""
    records = make_private_study(2)
    for seed in range(2):
        for algorithm, train in (("natural", 0.98), ("tikhonov", 0.92), ("trades", 0.94)):
            record = make_paper_run(
                row=f"table_5/fmnist_dnn/{algorithm}", algorithm=algorithm, seed=seed, train=train
            )
            if algorithm == "trades":
                record["best_checkpoint"] = dict(BEST)
            records.append(record)
    records.append(make_failed(row="table_5/fmnist_dnn/trades", algorithm="trades", seed=5))
    stem = "table_3/circles_mlp"
    results = {
        f"{stem}/{row}": {"noise": noise, "sigma": sigma, "train": [1.0, 1.0, 0.9], "test": test}
        for row, noise, sigma, test in (
            ("natural", "natural", 0.0, [0.75, 0.77, 0.73]),
            ("additive_gaussian/0.01", "additive_gaussian", 0.01, [0.76, 0.79, 0.74]),
        )
    }
    return [*records, make_circles(results=results)]


@pytest.fixture
def study(circles_results):
    """A study with several seeds, two variants, DP rows, a failed seed, circles in two forms."""
    records = []
    for seed, (train, test) in enumerate([(0.98, 0.90), (0.99, 0.90), (0.985, 0.89)]):
        records.append(make_run(seed=seed, train=train, test=test))
        records.append(
            make_run(
                row="table_5/fmnist_dnn/tikhonov",
                algorithm="tikhonov",
                seed=seed,
                train=train - 0.07,
                test=test - 0.02,
            )
        )
        records.append(
            make_run(
                row="table_8/fmnist_dnn/dpsgd/2.97",
                algorithm="dpsgd",
                seed=seed,
                train=0.857 + 0.002 * seed,
                test=0.842,
                fitted=False,
            )
        )
    for architecture in ("fmnist_cnn_1", "fmnist_cnn_2"):
        records.append(
            make_run(row="table_5/fmnist_cnn/trades", algorithm="trades", architecture=architecture)
        )
    records.append(make_failed(row="table_5/fmnist_dnn/trades", algorithm="trades"))
    bare = {"history": {}, "parameters": None, "faults": {}}
    records.append(make_run(row=None, label="my own", seed=4, **bare))
    records.append(make_circles(results=circles_results))
    redrawn = {row: result for row, result in circles_results.items() if "jacobian" not in row}
    records.append(make_circles(results=redrawn, form="redrawn_data", name="circles-redrawn"))
    return records
