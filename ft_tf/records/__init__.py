"""Records: one JSON file per run, written once and never edited; the only input of a report.

`schema` and `results` are its content as dataclasses, and the only list of its fields. `load` reads
and checks a file, `write` checks and writes one.

    record = records.load(Path("results/fashion_mnist-fmnist_dnn-natural-epochs_10-seed_0"))
    record.accuracy.test, record.faults["weights"].mean[0]
"""

from ft_tf.records.files import (
    ATTACKS,
    FILE_NAME,
    check_writable,
    dumps,
    load,
    load_all,
    loads,
    read_json,
    without_nan,
    write,
    write_text,
)
from ft_tf.records.parsing import parse, to_dict
from ft_tf.records.results import (
    Accuracy,
    Attack,
    Averaged,
    BestCheckpoint,
    Campaign,
    CirclesResult,
    Drop,
    EpsilonFt,
    LayerFault,
    Lost,
    Membership,
    ParameterSpread,
    Phase,
    Privacy,
    ReferenceMembership,
    Rescaled,
)
from ft_tf.records.schema import (
    SCHEMA_VERSION,
    Circles,
    Data,
    Environment,
    Failure,
    Model,
    Record,
    Run,
    Timing,
    Training,
    comparable,
    from_dict,
)

__all__ = [
    "ATTACKS", "FILE_NAME", "SCHEMA_VERSION", "Accuracy", "Attack", "Averaged", "BestCheckpoint",
    "Campaign", "Circles", "CirclesResult", "Data", "Drop", "Environment", "EpsilonFt",
    "Failure", "LayerFault", "Lost", "Membership", "Model", "ParameterSpread", "Phase",
    "Privacy", "Record", "ReferenceMembership", "Rescaled", "Run", "Timing", "Training",
    "check_writable", "comparable", "dumps", "from_dict", "load", "load_all", "loads", "parse",
    "read_json", "to_dict", "without_nan", "write", "write_text",
]  # fmt: skip
