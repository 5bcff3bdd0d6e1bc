"""The process's memory gets into huge pages, and nothing else does."""

import ctypes
import mmap
import re
from pathlib import Path

import pytest

from inference_api import huge_pages
from tests.conftest import MakeSettings, Replica, wait_until
from tests.fake_mlflow import FakeMlflow

SIZE = 2 * 1024**2


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    (tmp_path / "hpage_pmd_size").write_text(f"{SIZE}\n")
    return tmp_path


def in_huge_pages(address: int) -> int:
    """Bytes in huge pages of the mapping that an address belongs to, as the kernel counts them."""
    here = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            here = int(found[1], 16) <= address < int(found[2], 16)
        elif here and line.startswith("AnonHugePages:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("there is no such mapping")


def test_what_was_allocated_is_moved(settings: Path) -> None:
    memory = mmap.mmap(-1, 4 * SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    memory.write(b"\x07" * len(memory))
    first = ctypes.c_char.from_buffer(memory)
    address = ctypes.addressof(first)
    assert in_huge_pages(address) == 0
    assert huge_pages.collapse(settings) >= 3 * SIZE
    # Its begin and end need not be those of a huge page.
    assert in_huge_pages(address) >= 3 * SIZE
    assert memory[:] == b"\x07" * len(memory)
    del first
    memory.close()


def test_only_whole_huge_pages_of_what_was_allocated_are_asked_for(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def madvise(begin: int, length: int, advice: int) -> int:
        if advice == mmap.MADV_HUGEPAGE:
            return 0
        asked.append((begin, length))
        return 0 if begin != 0x600000 else -1

    maps = tmp_path / "maps"
    maps.write_text(
        "00100000-00900000 rw-p 00000000 00:00 0 \n"
        "01000000-01400000 rw-p 00000000 00:00 0          [heap]\n"
        "02000000-02100000 rw-p 00000000 00:00 0 \n"
        "03000000-03400000 rw-p 00000000 00:00 0          [stack]\n"
        "04000000-04400000 rw-p 00000000 fe:00 42         /usr/lib/libpython3.so\n"
        "05000000-05400000 rw-s 00000000 00:01 43         /dev/zero (deleted)\n"
        "06000000-06400000 r--p 00000000 00:00 0 \n"
    )
    monkeypatch.setattr(huge_pages, "_madvise", madvise)
    assert huge_pages.collapse(settings, maps) == 4 * SIZE
    assert asked == [(begin << 20, SIZE) for begin in (2, 4, 6, 16, 18)]


def test_a_system_that_wants_none_is_left_alone(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huge_pages, "_madvise", lambda *_: pytest.fail("it was asked"))
    (settings / "enabled").write_text("always madvise [never]\n")
    assert huge_pages.collapse(settings) == 0
    assert huge_pages.collapse(tmp_path / "not there") == 0


def test_own_memory_is_what_no_file_has(tmp_path: Path) -> None:
    (tmp_path / "statm").write_text("900 100 30 1 0 60 0\n")
    assert huge_pages.own_bytes(tmp_path / "statm") == 70 * mmap.PAGESIZE


def test_own_memory_grows_by_what_is_allocated() -> None:
    before = huge_pages.own_bytes()
    with mmap.mmap(-1, 8 * SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.write(b"\x07" * len(memory))
        assert 7 * SIZE < huge_pages.own_bytes() - before < 9 * SIZE


@pytest.mark.parametrize(
    ("sizes", "looks"),
    [
        pytest.param([100, 101, 101], [1, 1, 1], id="as much as before, or hardly more"),
        pytest.param([100, 102, 102], [1, 2, 2], id="more"),
        pytest.param([100, 50, 51, 52], [1, 1, 1, 2], id="less, and then more"),
    ],
)
def test_a_replica_looks_through_its_memory_only_when_some_has_come(
    sizes: list[int],
    looks: list[int],
    mlflow: FakeMlflow,
    make_settings: MakeSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = sizes[0]
    looked = []
    monkeypatch.setattr(huge_pages, "own_bytes", lambda: now * 1024**2)
    monkeypatch.setattr(huge_pages, "collapse", lambda: looked.append(now))

    def polls() -> int:
        return sum(path.endswith("/registered-models/search") for path in mlflow.calls)

    def wait_for_a_poll() -> None:
        # The second one from here began after the size had changed; it has ended when the third
        # begins.
        enough = polls() + 3
        wait_until(lambda: polls() >= enough, "it has looked at the registry")

    counted = []
    with Replica(make_settings()):
        for size in sizes:
            now = size
            wait_for_a_poll()
            counted.append(len(looked))
    assert counted == looks
