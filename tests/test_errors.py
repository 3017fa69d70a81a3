"""What is told of a failure, whatever its text is."""

import errno

import pytest

from components.errors import InputError, disk_told, first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such thing\nand where it was looked for"), "no such thing"),
        (ValueError("\n  \n  behind two empty lines  \n"), "behind two empty lines"),
        (MemoryError(), "MemoryError"),
        (OSError("\n"), "OSError"),
    ],
)
def test_one_line_is_told_of_any_failure(error, line):
    assert first_line(error) == line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/locked/metadata.db"),
            "/locked/metadata.db: cannot be read or written (Permission denied). Mend its permissions, and run again.",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "/mounted/.lock"),
            "/mounted/.lock: cannot be read or written (Read-only file system). Mend its permissions, and run again.",
        ),
        (
            OSError(errno.EDQUOT, "Disk quota exceeded", "/home/page.md"),
            "/home/page.md: cannot be written (Disk quota exceeded). Free some space, and run again.",
        ),
        (
            OSError("OSError: [Errno 122] Disk quota exceeded"),
            "something could not be written (Disk quota exceeded). Free some space, and run again.",
        ),
    ],
)
def test_what_the_disk_refuses_a_command_is_told_in_a_line(error, line):
    with pytest.raises(InputError) as raised, disk_told():
        raise error
    assert (str(raised.value), raised.value.exit_status) == (line, 2)


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "No such file", "x"), BrokenPipeError(), KeyError()])
def test_what_is_no_fault_of_the_disk_stays_what_it_is(error):
    with pytest.raises(type(error)) as raised, disk_told():
        raise error
    assert raised.value is error
