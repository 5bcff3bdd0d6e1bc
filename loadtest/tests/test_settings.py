from pathlib import Path

import pytest

from load_test.settings import Settings, SettingsError


def variables(file: Path) -> dict[str, str]:
    return {
        "TARGET_URL": "http://127.0.0.1:1/",
        "MODEL_NAME": "modelo1",
        "QUESTIONS_FILE": str(file),
    }


def test_reads_the_questions(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text('{"a":1}\n{"a":2}\n')
    settings = Settings.read(variables(file))
    assert settings.target_url == "http://127.0.0.1:1"
    assert settings.questions == ('{"a":1}', '{"a":2}')


def test_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TARGET_URL, MODEL_NAME, QUESTIONS_FILE must be set"):
        Settings.read({})
    with pytest.raises(SettingsError, match=r"QUESTIONS_FILE: .*gone"):
        Settings.read(variables(tmp_path / "gone"))
    (tmp_path / "some").write_text("{}")
    with pytest.raises(SettingsError, match=r"AUTHORITY_FILE: .*No such file"):
        Settings.read(variables(tmp_path / "some") | {"AUTHORITY_FILE": "/nowhere/ca.crt"})
    (tmp_path / "empty").touch()
    with pytest.raises(SettingsError, match="is empty"):
        Settings.read(variables(tmp_path / "empty"))
