"""The committed results are what the report builds from the committed records."""

import shutil
import struct
from pathlib import Path

from factory import typed

from ft_tf import records, report

COMMITTED = Path(__file__).parent.parent.parent / "experiments" / "results"
TEXTS = ("report.md",)


def copied(source, target):
    """The records alone, as they lie."""
    for path in source.rglob("*.json"):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)


def differences(directory, rebuilt):
    """Names of tables, pages and figures that the two directories do not share to the byte.

    Figures are compared by their size in pixels: their bytes depend on matplotlib's version.
    """

    def found(root):
        tables = {p.relative_to(root): p.read_bytes() for p in (root / "tables").rglob("*.*")}
        pages = {Path(name): (root / name).read_bytes() for name in TEXTS}
        figures = {
            p.relative_to(root): struct.unpack(">II", p.read_bytes()[16:24])
            for p in (root / "figures").glob("*.png")
        }
        return tables | pages | figures

    ours, theirs = found(directory), found(rebuilt)
    return sorted(str(name) for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))


def test_tables_and_figures_come_back_from_records_alone(tmp_path, private_study, run):
    few = [r for r in private_study if "0.49" in r["rows"][0]] + [run(), run(seed=1)]
    for record in few:
        record |= {"history": {}, "parameters": None}  # fewer figures to draw
        records.write(tmp_path / "a" / record["name"], typed(record))
    report.build(tmp_path / "a")
    copied(tmp_path / "a", tmp_path / "b")
    report.build(tmp_path / "b")
    assert differences(tmp_path / "a", tmp_path / "b") == []
    table = tmp_path / "a" / "tables" / "table_8.csv"
    table.write_text(table.read_text().replace("0.8", "0.9", 1))
    (tmp_path / "a" / "figures" / "tradeoff.png").unlink()
    assert differences(tmp_path / "a", tmp_path / "b") == [
        "figures/tradeoff.png",
        "tables/table_8.csv",
    ]


def test_the_committed_tables_and_figures_are_those_of_the_committed_records(tmp_path):
    copied(COMMITTED, tmp_path)
    report.build(tmp_path)
    assert differences(COMMITTED, tmp_path) == []


def test_committed_results_are_small_and_hold_no_weights():
    # report.html holds every figure and record once more; git ignores it.
    files = [p for p in COMMITTED.rglob("*") if p.is_file() and p != COMMITTED / "report.html"]
    assert not [path for path in files if path.suffix in (".keras", ".h5", ".index", ".npz")]
    sizes = {path: path.stat().st_size for path in files}
    of_records = [size for path, size in sizes.items() if path.name == "record.json"]
    assert sum(sizes.values()) - sum(of_records) < 5e6
    assert sum(of_records) < 25e3 * len(of_records)
