import hashlib
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from covertype_source import build
from covertype_source.build import COVERTYPE, BuildError, MatrixSource, covertype_rows
from covertype_source.covertype import COLUMNS
from covertype_source.dataset import Dataset

PROJECT = Path(build.__file__).parents[1]
ROW = ["2596", "51", "3", "258", "0", "510", "221", "232", "148", "6279", "Neota", "C2703", "6"]
MATRIX = "the header\n" + ",".join([*ROW[:10], *"0100", *"01", *("0" * 38), "7\n"])


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel with a matrix of one row."""
    path = tmp_path / "made.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(COVERTYPE.member, MATRIX)
    return path


@pytest.fixture
def source(wheel: Path) -> MatrixSource:
    """The hashes of the made wheel and of its table."""
    table = f"{','.join(COLUMNS)}\n{','.join(ROW)}\n"
    return MatrixSource(
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member=COVERTYPE.member,
        table_sha256=hashlib.sha256(table.encode()).hexdigest(),
    )


def test_rows_of_the_expected_wheel(wheel: Path, source: MatrixSource) -> None:
    assert list(covertype_rows(wheel, source)) == [ROW]


def test_another_wheel_is_refused_before_its_first_row(wheel: Path, source: MatrixSource) -> None:
    rows = covertype_rows(wheel, replace(source, wheel_sha256="0" * 64))

    with pytest.raises(BuildError, match=r"made\.whl is not the expected wheel") as caught:
        next(rows)

    assert source.wheel_sha256 in str(caught.value)
    assert "0" * 64 in str(caught.value)


def test_another_table_is_refused(wheel: Path, source: MatrixSource) -> None:
    with pytest.raises(BuildError, match=r"table .* is not the expected one") as caught:
        list(covertype_rows(wheel, replace(source, table_sha256="0" * 64)))

    assert source.table_sha256 in str(caught.value)


def test_command_makes_the_data_set(
    wheel: Path,
    source: MatrixSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(covertype_rows, "__defaults__", (source,))

    assert build.main([str(wheel), str(tmp_path / "out")]) == 0

    assert capsys.readouterr().out.startswith("1 rows")
    with Dataset(tmp_path / "out") as dataset:
        assert dataset.row_count == 1


@pytest.mark.parametrize("wheel_name", ["made.whl", "missing.whl"])
def test_command_fails_with_a_sentence_and_leaves_nothing(wheel: Path, wheel_name: str) -> None:
    # -S -I: no installed package can be imported, as in the image build.
    program = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); " + (
        "runpy.run_module('covertype_source.build', run_name='__main__')"
    )
    out = wheel.parent / "out"
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, PROJECT, wheel.parent / wheel_name, out],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert run.returncode == 1
    assert run.stderr.startswith("error: ")
    assert wheel_name in run.stderr
    assert "Traceback" not in run.stderr
    assert list(out.iterdir()) == []


def test_download_file_has_the_hash_that_the_build_expects() -> None:
    hashes = re.findall(r"--hash=sha256:(\w+)", (PROJECT / "dataset.txt").read_text())

    assert hashes == [COVERTYPE.wheel_sha256]
