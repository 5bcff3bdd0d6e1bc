import json
from pathlib import Path

import pytest

from covertype_source import questions as module
from covertype_source.build import BuildError
from covertype_source.covertype import COLUMNS
from covertype_source.questions import main, questions

ROW = ["2596", "51", "3", "258", "0", "510", "221", "232", "148", "6279", "Neota", "C2703", "6"]


def test_a_question_has_every_column_but_the_answer() -> None:
    (line,) = questions([ROW], 1)
    question = json.loads(line)
    assert tuple(question) == COLUMNS[:-1]
    assert question["Elevation"] == 2596
    assert question["Wilderness_Area"] == "Neota"
    assert question["Soil_Type"] == "C2703"


def test_one_row_of_every_step_is_taken() -> None:
    rows = [[str(number), *ROW[1:]] for number in range(10)]
    assert [json.loads(line)["Elevation"] for line in questions(rows, 4)] == [0, 4, 8]


def test_command_writes_a_line_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "covertype_rows", lambda wheel: iter([ROW] * 5))
    file = tmp_path / "questions.jsonl"
    assert main(["data.whl", "2", str(file)]) == 0
    assert capsys.readouterr().out.startswith("3 questions")
    assert len(file.read_text().splitlines()) == 3


def test_command_says_what_is_wrong_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(wheel: Path) -> None:
        raise BuildError("not the expected wheel")

    monkeypatch.setattr(module, "covertype_rows", refuse)
    for step in ("1", "0"):
        assert main(["data.whl", step, str(tmp_path / "questions.jsonl")]) == 1
        assert capsys.readouterr().err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []
