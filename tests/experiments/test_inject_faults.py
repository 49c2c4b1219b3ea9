"""The fault binary on two tiny finished runs: what it prints, and what it writes."""

import types

import forked
import numpy as np
import pandas as pd
import pytest
import tflite_files

from experiments import _fault_plot, _with_protections
from ft_tf import faults, records

FAULTS = "experiments.inject_faults"
TRAIN = ["experiments.train", "--output_dir=runs", "--train_limit=400", "--test_limit=200",
         "--epochs=2", "--batch_size=50", "--fault_trials=2"]  # fmt: skip
# "train.csv" would take its saved flags, train.flags, from the run.
OF_THE_RUN = ("record.json", "model.keras", "config.json", "history.csv", "train.csv")
COMMANDS = {
    "first": [*TRAIN, "--learning_rate=0.2"],
    "second": [*TRAIN, "--learning_rate=0.1", "--output_dir=others"],
    "plain": [FAULTS, "--run=ONE", "--rates=0,0.5,0.9", "--trials=4", "--predict", "--band"],
    "int8": [FAULTS, "--run=ONE", "--all_measures", "--rates=0,0.01", "--trials=3",
             "--fault=bit_flip", "--storage=int8", "--bits=0-6",
             "--images_per_trial=100", "--allocation=layer"],
    "protected": [FAULTS, "--run=ONE", "--rates=0,0.001,0.01", "--trials=2", "--layer_rate=0",
                  "--fault=bit_errors", "--storage=int8", "--images_per_trial=100",
                  "--protections=secded,range_restriction:zero"],
    "settled": [FAULTS, "--run=ONE,TWO", "--target=units", "--rates=0,0.1,0.9", "--trials=40",
                "--half_width=2", "--layer_rate=0"],
    "mixed": [FAULTS, "--run=ONE", "--target=both", "--persistence=batch", "--rates=0,0.1",
              "--layer_fault=weights:*kernel=burst_errors:storage=int8,length=3",
              "--layer_fault=units:*=stuck_at_0", "--trials=2"],
    "patterned": [FAULTS, "--run=ONE", "--target=units", "--units=positions", "--pattern=position",
                  "--fault=sign_flip", "--persistence=image", "--rates=0.5", "--trials=2",
                  "--layer_rate=0"],
    "tflite": [FAULTS, "--model=small.tflite", "--data=small.npz", "--fault=bit_errors",
               "--rates=0,0.1", "--trials=3", "--layers=hidden_1,last_1"],
    "no_layer": [FAULTS, "--model=small.tflite", "--data=small.npz", "--layers=nothing"],
    "images": [FAULTS, "--run=ONE", "--persistence=image"],
    "unwritable": [FAULTS, "--run=ONE", "--output=/proc/nowhere/rows.csv"],
    **{
        f"over_{number}": [FAULTS, "--run=ONE", f"--output=ONE/{name}", "--rates=0", "--trials=1"]
        for number, name in enumerate(OF_THE_RUN)
    },
}  # fmt: skip
COLUMNS = ["target", "rate", "trial", "seed", "faults", "accuracy"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    directory = tmp_path_factory.mktemp("inject_faults")
    trained = forked.run_all({name: COMMANDS[name] for name in ("first", "second")}, directory)
    assert all(code == 0 for code, _, _ in trained.values()), trained
    one, two = sorted(path.parent for path in directory.glob("*/*/record.json"))
    rest = {
        name: [text.replace("ONE", str(one)).replace("TWO", str(two)) for text in arguments]
        for name, arguments in COMMANDS.items()
        if name not in trained
    }
    (directory / "small.tflite").write_bytes(tflite_files.converted("int8"))
    (x, y), (more_x, more_y) = tflite_files.images(), tflite_files.images(30, seed=9)
    np.savez(directory / "small.npz", x_train=x, y_train=y, x_test=more_x, y_test=more_y)
    results = forked.run_all(rest, directory)
    first = rest["plain"]
    later = {"more": [*first[:-3], "--trials=2"], "repeated": first}
    return one, results | forked.run_all(later, directory)


def lines_of(found, name):
    code, stdout, stderr = found[1][name]
    assert code == 0, stderr
    return [line.strip() for line in stdout.splitlines()]


@pytest.mark.slow
def test_protections_are_compared_in_a_table_and_a_figure(found):
    lines = lines_of(found, "protected")
    start = "faults-weights-bit_errors-storage_int8-images_100-seed_0-protections"
    table = pd.read_csv(found[0] / f"{start}.csv")
    assert table["protection"].unique().tolist() == ["none", "secded", "range_restriction:zero"]
    assert table["rate"].tolist() == [0, 0.001, 0.01] * 3
    assert table["memory"].tolist()[3] == pytest.approx(12.5, abs=0.01)
    (costs,) = [line for line in lines if line.startswith("secded") and "8 parities" in line]
    assert costs.split()[1] == "+12.5%"
    assert any(line.startswith("rate 0.01") and line.endswith("recovered") for line in lines)
    assert (found[0] / f"{start}.png").read_bytes().startswith(b"\x89PNG")


def test_the_default_file_has_the_contract_and_a_summary_beside_it(found):
    lines = lines_of(found, "plain")
    frame = pd.read_csv(found[0] / "faults-weights-stuck_at_0-seed_0.csv")
    assert list(frame.columns) == COLUMNS
    assert len(frame) == 12
    summary = pd.read_csv(found[0] / "faults-weights-stuck_at_0-seed_0-summary.csv")
    assert summary["fault"].tolist() == ["StuckAt(value=0.0)"] * 3
    assert set(summary["method"]) == {"simultaneous max-t band"}
    for row in summary.itertuples():
        assert row.accuracy == pytest.approx(frame[frame["rate"] == row.rate]["accuracy"].mean())
    assert " accuracy above chance (10%) " in lines[0]
    (provenance,) = [line for line in lines if "embedded-sample" in line]
    assert lines[1] == provenance and found[0].name in provenance and "threads; fault" in provenance
    for text in ("area above chance", "first-order", "+-1 point at every rate"):
        assert any(text in line for line in lines), text
    assert not any("epsilon_ft" in line for line in lines)
    plot = (found[0] / "faults-weights-stuck_at_0-seed_0.png").read_bytes()
    assert plot.startswith(b"\x89PNG")
    assert any(line.startswith("layer by layer at rate 0.5 (10 trials of 200") for line in lines)
    layers = pd.read_csv(found[0] / "faults-weights-stuck_at_0-seed_0-layers.csv")
    assert layers["layer"].iloc[0] == "whole model"
    assert len(layers) > 2
    prediction = pd.read_csv(found[0] / "faults-weights-stuck_at_0-seed_0-prediction.csv")
    assert prediction["holds"].any()
    assert not prediction["holds"].iloc[-1]
    first_holds = prediction["holds"].iloc[0]
    said = [line for line in lines if line.startswith("it holds")]
    assert len(said) == 1 and ("up to rate" if first_holds else " only; at ") in said[0]


def test_settings_are_in_the_name_the_print_and_the_summary(found):
    name = "faults-weights-bit_flip-storage_int8-bits_0_6-allocation_layer-images_100-seed_0"
    frame = pd.read_csv(found[0] / f"{name}.csv")
    assert list(frame.columns)[:6] == COLUMNS and "retention" in frame
    assert any("retention" in line for line in lines_of(found, "int8"))
    assert " weights with a flipped bit" in lines_of(found, "int8")[0]
    (line,) = [line for line in lines_of(found, "int8") if "fault BitFlip" in line]
    for part in ("storage int8, bits 0-6", "max|w| / 127", "allocation layer", "100 of 200 images"):
        assert part in line
    summary = pd.read_csv(found[0] / f"{name}-summary.csv")
    assert summary["bits"].tolist() == ["0-6"] * 2
    assert summary["images_per_trial"].tolist() == [100] * 2
    layers = pd.read_csv(found[0] / f"{name}-layers.csv")
    assert set(layers["images_per_trial"]) == {100}


def test_faults_per_layer_and_transient_ones(found):
    lines = lines_of(found, "mixed")
    assert "faulty weights or units" in lines[0]
    assert "('weights:*kernel', BurstErrors(storage='int8'" in lines[1]
    assert "drawn for each batch" in lines[1]
    names = "both-per_layer-weights_kernel_burst_errors_storage_int8_length_3_units_stuc"
    frame = pd.read_csv(found[0] / f"faults-{names}-persistence_batch-seed_0.csv")
    assert frame["faults"].tolist()[:2] == [0, 0] and frame["faults"].min() >= 0
    assert sum(line.startswith(("weights of", "units of")) for line in lines) == 2
    name = "units-sign_flip-pattern_position-units_positions-persistence_image-seed_0"
    frame = pd.read_csv(found[0] / f"faults-{name}.csv")
    # The 512 units of each of two layers fail together, in about half of the 200 images.
    assert (frame["faults"] % 512 == 0).all() and (abs(frame["faults"] / 512 - 200) < 50).all()


def test_a_tflite_file_gives_the_same_table(found):
    lines = lines_of(found, "tflite")
    name = "small-small-faults-weights-bit_errors-storage_as_stored-layers_hidden_1_last_1-seed_0"
    directory = found[0].parent.parent
    frame = pd.read_csv(directory / f"{name}.csv")
    assert list(frame.columns) == COLUMNS
    bits = 8 * (36 * 32 + 32 * 4) + 32 * (32 + 4)
    assert frame["faults"].tolist() == [0] * 3 + [round(0.1 * bits)] * 3
    assert any(line.startswith("hidden_1") for line in lines)
    assert not any(line.startswith("conv_1") for line in lines)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_layer", "layers=nothing not in model 'small.tflite': it has conv_1, hidden_1"),
        ("images", "persistence='image' is for target='units'"),
    ],
)
def test_what_cannot_be_faulted_is_said_in_a_line(found, name, message):
    code, _, stderr = found[1][name]
    assert code == 2
    assert message in stderr and len(stderr.splitlines()) == 1, stderr


def test_rates_settle_by_themselves_and_runs_are_compared_in_pairs(found):
    lines = lines_of(found, "settled")
    frame = pd.read_csv(found[0] / "faults-units-stuck_at_0-within_2-stein-seed_0.csv")
    assert frame.groupby("rate")["trial"].count()[0.0] == 1
    assert any("Stein two-stage" in line for line in lines)
    start = next(n for n, line in enumerate(lines) if "trial by trial" in line)
    assert [line.split()[0] for line in lines[start + 1 : start + 5]] == [
        "units",
        "0",
        "0.1",
        "0.9",
    ]


def test_a_place_that_cannot_be_written_is_named_before_the_work(found):
    code, stdout, stderr = found[1]["unwritable"]
    assert code == 2
    assert stdout == ""
    assert "/proc/nowhere/rows.csv cannot be written" in stderr


def test_another_campaign_leaves_the_first_ones_rows_alone(found):
    """Rates and trials are in no name; the same command is the same campaign."""
    whole, fewer = (
        pd.read_csv(found[0] / f"faults-weights-stuck_at_0-seed_0{number}.csv")
        for number in ("", "-2")
    )
    assert (len(whole), len(fewer)) == (12, 6)
    assert lines_of(found, "more")[-1].endswith("-seed_0-2.csv")
    assert lines_of(found, "repeated")[-1].endswith("-seed_0.csv")


@pytest.mark.parametrize("number", range(len(OF_THE_RUN)))
def test_no_output_takes_the_place_of_a_file_of_the_run(found, number):
    code, _, stderr = found[1][f"over_{number}"]
    assert code == 2
    (line,) = stderr.splitlines()
    assert line.startswith("error: output=") and OF_THE_RUN[number] in line
    records.load(found[0])
    for name in ("model.keras", "config.json", "train.flags"):
        assert (found[0] / name).stat().st_size > 0
    assert (found[0] / "history.csv").read_text().startswith("epoch,")


def test_protections_have_the_whole_name_of_their_campaign(tmp_path, monkeypatch):
    """With --sigma=0.1 and --sigma=0.5 the names differ after a dot."""
    figures = []
    table = pd.DataFrame({"rate": [0.1], "accuracy": [0.5]})
    monkeypatch.setattr(_with_protections, "_chosen", lambda: ["parity"])
    monkeypatch.setattr(_with_protections.lines, "protection_lines", lambda table: [])
    monkeypatch.setattr(faults, "compare_protections", lambda *args, **options: table)
    monkeypatch.setattr(_fault_plot, "save_protections", lambda path, *args: figures.append(path))
    subject = types.SimpleNamespace(model=None, x=None, y=None, x_train=None, name="model")
    for sigma in ("0.1", "0.5"):
        campaign = tmp_path / f"faults-weights-gaussian-sigma_{sigma}-seed_0.csv"
        _with_protections.compare(
            subject, campaign, target="weights", fault=faults.GaussianNoise(float(sigma))
        )
        start = f"faults-weights-gaussian-sigma_{sigma}-seed_0-protections"
        assert (tmp_path / f"{start}.csv").read_text() == table.to_csv(index=False)
        assert figures[-1] == tmp_path / f"{start}.png"
    assert len(list(tmp_path.iterdir())) == 2
