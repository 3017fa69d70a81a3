"""The names of classes, their numbers and their files, whatever wrote them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.errors import InputError
from components.example_gen.classes import Classes, name_classes, read_class_names
from components.example_gen.reading import plain_labels


def named(labels: list, given: tuple[str, ...] | None = None, listed: tuple[str, ...] | None = None):
    return name_classes(plain_labels([labels]), given=given, listed=listed)


def refusal(*arguments: object, **more: object) -> str:
    with pytest.raises(InputError) as raised:
        named(*arguments, **more)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@given(labels=st.lists(st.integers(0, 10**6), min_size=2).filter(lambda labels: len(set(labels)) > 1))
def test_classes_are_the_labels_that_occur_numbered_in_their_order_without_a_hole(labels):
    classes = named(labels)
    assert classes.values == tuple(sorted(set(labels)))
    assert classes.names == tuple(map(str, classes.values))
    numbers = classes.number(np.array(labels))
    assert sorted(set(numbers.tolist())) == list(range(len(classes.names)))
    assert [classes.values[number] for number in numbers] == labels


@given(labels=st.lists(st.text(min_size=1, max_size=5), min_size=2).filter(lambda labels: len(set(labels)) > 1))
def test_each_text_is_a_class_of_its_name(labels):
    labels = [label.replace("\0", "0") for label in labels]
    if len(set(labels)) > 1:
        classes = named(labels)
        assert [classes.names[number] for number in classes.number(plain_labels([labels]))] == labels


@pytest.mark.parametrize(
    ("labels", "notes"),
    [
        ([0, 1, 2], ()),
        ([1, 2, 3], ("labels from 1 to 3: 3 classes, numbered from 0",)),
        ([0, 2], ("labels from 0 to 2 without 1: 2 classes, numbered from 0",)),
        ([1, 3], ("labels from 1 to 3 without 0, 2: 2 classes, numbered from 0",)),
        ([0, 70_000], ("labels from 0 to 70000: 2 classes, numbered from 0",)),
    ],
    ids=str,
)
def test_labels_from_1_or_with_holes_are_told_in_a_note(labels, notes):
    assert named(labels).notes == notes


def test_numbers_as_text_are_numbers_and_those_with_a_zero_before_them_are_texts():
    assert named(["10", "9", "9"]).values == (9, 10)
    assert named(["10", "09"]).values == ("09", "10")
    assert named(["10", "9", "x"]).values == ("9", "10", "x")


def test_label_of_a_part_in_which_all_are_numbers_is_the_text_that_training_has():
    classes = named(["1", "2", "x"])
    assert classes.number(np.array([2, 1, 3])).tolist() == [1, 0, -1]
    assert named([1, 2]).number(np.array(["2", "x", "1"])).tolist() == [1, -1, 0]


def test_names_belong_to_the_labels_and_those_without_images_are_told():
    classes = named([3, 1, 3], given=("zero", "one", "two", "three", "four"))
    assert (classes.names, classes.values) == (("one", "three"), (1, 3))
    assert classes.notes == ("no image of zero, two, four: 2 classes of the 5 that are named",)


def test_listed_names_go_before_those_of_the_files():
    assert named([0, 1], given=("a", "b"), listed=("c", "d")).names == ("c", "d")


@pytest.mark.parametrize("name", ["", " \t"])
def test_class_without_a_name_is_refused_where_it_occurs(name):
    """As a line of TFDS's list, or the metadata of Parquet, may be."""
    message = refusal([0, 1, 1], given=("a", name))
    assert message == "expected a name for each class, found none for label 1. Name it."
    assert named([0, 1], given=("a", "b", name)).names == ("a", "b")


def test_as_many_names_as_labels_from_1_name_them_in_their_order():
    assert named([1, 2, 3], given=("a", "b", "c")).names == ("a", "b", "c")


def test_numbers_that_are_listed_are_those_labels_in_the_order_of_the_list():
    classes = named([1, 2, 10], listed=("1", "10", "2", "3"))
    assert (classes.names, classes.values) == (("1", "10", "2"), (1, 10, 2))
    assert classes.number(np.array([2, 10])).tolist() == [2, 1]
    assert classes.notes == ("no image of 3: 3 classes of the 4 that are named",)


def test_listed_texts_are_in_their_order_and_those_without_images_are_told():
    classes = named(["dog", "cat"], listed=("eel", "dog", "cat"))
    assert (classes.names, classes.notes) == (
        ("dog", "cat"),
        ("no image of eel: 2 classes of the 3 that are named",),
    )


@pytest.mark.parametrize(
    ("labels", "listed", "told"),
    [
        ([4, 4], None, "expected two or more classes, found 4 alone. Add images of another class."),
        (["a", "a"], None, "expected two or more classes, found a alone. Add images of another class."),
        ([-1, 3], None, "expected labels of 0 and more, found -1. Number the classes from 0."),
        (
            [0, 1, 2],
            ("a", "b"),
            "expected labels below 2, the number of classes that classes.txt names, found 2 at position 2.",
        ),
        ([0, 1], ("a", "a"), "expected a name of its own for each class, found a, a. Rename them."),
        (["a", "b", "c"], ("a", "b"), "expected the classes a, b, found c too. List it, or take it away."),
    ],
    ids=str,
)
def test_labels_that_make_no_classes_are_refused(labels, listed, told):
    assert refusal(labels, listed=listed).startswith(told)


# spans

CAT_DOG = Classes(names=("cat", "dog"), values=(0, 1))


def behind(labels: list, given: tuple[str, ...] | None = None, **more: object) -> Classes:
    return name_classes(plain_labels([labels]), given=given, **{"listed": None, "earlier": CAT_DOG, **more})


@pytest.mark.parametrize(
    ("labels", "given", "told"),
    [
        ([0, 1], ("bird", "dog"), "found label 0 called 'bird' and 'cat' before"),
        ([0, 1, 2], ("bird", "cat", "dog"), "found label 0 called 'bird' and 'cat' before"),
        ([1, 1], ("bird", "dog"), "found label 0 called 'bird' and 'cat' before"),
        ([0, 0], ("bird",), "found label 0 called 'bird' and 'cat' before"),
        ([0, 1, 2], ("cat", "wolf", "dog"), "found label 1 called 'wolf' and 'dog' before"),
    ],
    ids=str,
)
def test_label_that_the_files_call_otherwise_than_the_spans_before_is_no_class_of_theirs(labels, given, told):
    with pytest.raises(InputError) as raised:
        behind(labels, given)
    assert str(raised.value) == (
        f"expected the names that the classes had in the spans before, {told}. Number the classes as before, new ones "
        "behind them, or list their names in classes.txt."
    )


@pytest.mark.parametrize(
    ("labels", "given", "names"),
    [
        ([1, 1], ("cat", "dog"), ("cat", "dog")),
        ([0, 0], ("cat",), ("cat", "dog")),
        ([0, 2], ("cat", "dog", "eel"), ("cat", "dog", "eel")),
        ([0, 2], ("cat", "dog", "eel", "fox"), ("cat", "dog", "eel")),
        # Numbers alone, in the files or for names in their metadata, say nothing else.
        ([0, 1], None, ("cat", "dog")),
        ([0, 2], None, ("cat", "dog", "2")),
        ([0, 1], ("0", "1"), ("cat", "dog")),
    ],
    ids=str,
)
def test_classes_of_a_later_span_have_their_names_and_new_ones_come_behind(labels, given, names):
    assert behind(labels, given) == Classes(names=names, values=(0, 1, 2)[: len(names)])


@pytest.mark.parametrize(
    ("given", "labels"),
    [("abc", [1, 2, 3]), ("abc", [1, 2]), ("abcd", [1, 2, 3]), ("abcd", [1, 2]), ("abcd", [1, 2, 3, 4])],
    ids=str,
)
def test_labels_from_1_keep_their_names_whatever_the_list_names_behind_them(given, labels):
    earlier = Classes(names=("a", "b", "c"), values=(1, 2, 3))
    assert behind(labels, tuple(given), earlier=earlier).names == ("a", "b", "c", "d")[: max(3, *labels)]


def test_names_may_come_where_there_were_numbers_and_listed_ones_go_before_those_of_the_files():
    numbers = Classes(names=("0", "1"), values=(0, 1))
    assert behind([0, 1, 2], ("bird", "dog", "eel"), earlier=numbers).names == ("0", "1", "eel")
    assert behind([0, 1, 2], ("bird", "dog", "x"), listed=("cat", "dog", "eel")).names == ("cat", "dog", "eel")


def test_new_label_with_the_name_of_another_class_is_told_with_both():
    with pytest.raises(InputError, match="found label 2 called 'cat', as label 0 is in the spans before"):
        behind([0, 1, 2], listed=("Katze", "Hund", "cat"))


# classes.txt


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "mac"])
def test_names_are_read_whatever_editor_wrote_them(tmp_path, encoding, end):
    path = tmp_path / "classes.txt"
    path.write_bytes(end.join([" Käfer", "", "Hund\t", ""]).encode(encoding))
    names, note = read_class_names(path)
    assert names == ("Käfer", "Hund")
    assert note == ("classes.txt is not in UTF-8 and was read as Windows-1252" if encoding == "cp1252" else "")


def test_utf_16_that_is_cut_is_refused_with_its_byte(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes("cat\ndog\n".encode("utf-16")[:-1])
    with pytest.raises(InputError, match=r"classes\.txt: expected text, found truncated data at byte"):
        read_class_names(path)


@given(content=st.binary(max_size=60))
def test_any_bytes_are_names_or_one_line(tmp_path, content):
    path = tmp_path / "classes.txt"
    path.write_bytes(content)
    try:
        names, _ = read_class_names(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: expected ")
        assert len(str(error).splitlines()) == 1
    else:
        assert len(set(names)) == len(names) >= 2
        assert all(name == name.strip() for name in names)
