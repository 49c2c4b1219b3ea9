"""What is released: the wheel's content, and the citation file."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import ft_tf

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that no build directory is left in the repository."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("ft_tf", "experiments"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    target = source / "wheels"
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(target), str(source)],
        check=True, cwd=source,
    )  # fmt: skip
    (path,) = target.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist(), {
            name: archive.read(name) for name in archive.namelist() if "METADATA" in name
        }


def test_the_wheel_holds_the_library_and_nothing_beside_it(wheel):
    names, _ = wheel
    tops = {name.split("/")[0] for name in names}
    assert tops == {"ft_tf", f"ft_tf-{ft_tf.__version__}.dist-info"}


def test_every_file_of_the_library_is_in_the_wheel(wheel):
    """The embedded sample, its licence, the paper's numbers and the report's page among them."""
    names, _ = wheel
    tracked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "ft_tf").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("ft_tf/")} == tracked
    assert any(name.endswith("fashion_mnist_sample.npz") for name in tracked)
    assert any(name.endswith("LICENSE-fashion-mnist") for name in tracked)


def test_the_metadata_says_what_it_needs(wheel):
    _, metadata = wheel
    (text,) = (content.decode() for content in metadata.values())
    needs = re.findall(r"^Requires-Dist: ([\w-]+)(.*)$", text, re.MULTILINE)
    names = {name for name, rest in needs if "extra ==" not in rest}
    assert {"tensorflow", "tf-keras", "numpy", "absl-py", "pandas"} <= names
    assert f"Version: {ft_tf.__version__}" in text


def test_the_citation_file_follows_its_format():
    """What the schema of CFF 1.2.0 asks of the fields that are used here."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    allowed = {
        "cff-version", "message", "title", "type", "version", "license", "authors", "abstract",
        "keywords", "date-released", "references", "repository-code", "url", "doi", "identifiers",
    }  # fmt: skip
    assert set(citation) <= allowed
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] in ("software", "dataset")
    assert str(citation["version"]) == ft_tf.__version__
    assert citation["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:300]
    assert citation["title"] and citation["message"]
    for work in (citation, *citation["references"]):
        assert work["title"] and work["authors"]
        for author in work["authors"]:
            assert set(author) in ({"name"}, {"family-names", "given-names"})
    assert all("type" in reference for reference in citation["references"])
