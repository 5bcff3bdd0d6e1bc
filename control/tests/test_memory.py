from control.memory import put_in_order
from control.runner import Completed
from control.tests.conftest import FakeRunner, Screen


def test_files_are_written_before_memory_is_emptied_and_put_together(
    runner: FakeRunner, screen: Screen
) -> None:
    put_in_order(runner, screen)
    (script,) = runner.commands
    order = [script.index(part) for part in ("sync", "drop_caches", "compact_memory")]
    assert order == sorted(order)
    assert "does not allow" not in screen.text


def test_a_host_that_does_not_allow_it_is_told_of(runner: FakeRunner, screen: Screen) -> None:
    runner.replies["sh -ec"] = Completed(1, stderr="Read-only file system")
    put_in_order(runner, screen)
    assert "does not allow that" in screen.text
