import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from covertype_source.dataset import Dataset, DatasetError, write_dataset

ROWS = [["1", "a"], ["-22", 'é"\\'], ["", "last"]]


def test_rows_come_back_in_the_asked_order(tmp_path: Path) -> None:
    assert write_dataset(tmp_path / "new", ROWS) == 3

    with Dataset(tmp_path / "new") as dataset:
        assert dataset.row_count == 3
        assert json.loads(dataset.json_array([2, 0, 1])) == [ROWS[2], ROWS[0], ROWS[1]]
        assert dataset.json_array([]) == b"[]"


def test_only_the_two_files_are_kept(tmp_path: Path) -> None:
    write_dataset(tmp_path, ROWS)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "rows.offsets"]


def test_failure_while_writing_keeps_what_was_there(tmp_path: Path) -> None:
    def broken() -> Iterator[list[str]]:
        yield ["other"]
        raise RuntimeError

    write_dataset(tmp_path, ROWS)
    with pytest.raises(RuntimeError):
        write_dataset(tmp_path, broken())

    assert len(list(tmp_path.iterdir())) == 2
    with Dataset(tmp_path) as dataset:
        assert json.loads(dataset.json_array(range(3))) == ROWS


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be opened"):
        Dataset(tmp_path)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.offsets"])
@pytest.mark.parametrize("kept_bytes", [0, 3, 4])
def test_cut_files_are_refused(tmp_path: Path, name: str, kept_bytes: int) -> None:
    write_dataset(tmp_path, ROWS)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:kept_bytes])

    with pytest.raises(DatasetError, match=r"cannot be opened|damaged"):
        Dataset(tmp_path)
