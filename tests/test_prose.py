"""The wording that `tools/prose.py` finds is nowhere in the repository; and it finds it."""

from pathlib import Path

import pytest

from tools.prose import ROOT, files, remarks


def found(name, text):
    return [(remark.line, remark.phrase) for remark in remarks(Path(name), text)]


@pytest.mark.parametrize(
    "text",
    [
        "prose that is plain\n",
        "there is no such file, and nothing else\n",
        "it is no longer there\n",
        "There\nis no cluster.\n",
        "beside, as Kubernetes has it  <!-- prose: a quotation -->\n",
    ],
)
def test_plain_and_silenced_wording_is_left_alone(text):
    assert found("a.md", text) == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.md", "one\nruns Beside it\n", [(2, "Beside")]),
        ("a.yaml", "# this is no YAML\n", [(1, "is no ")]),
        ("a.py", '"""Away."""\nbeside = None\n', []),
        ("a.py", 'def f():\n    """One.\n\n    What is known of it.\n    """\n', [(4, "What is known of")]),
        ("a.py", "x = 1  # anew\n", [(1, "anew")]),
        ("a.md", "retry, else fail; or wait else.\n", [(1, "else")]),
    ],
)
def test_wording_to_replace_is_found_where_it_is(name, text, expected):
    assert found(name, text) == expected


def test_the_repository_has_none():
    assert [str(remark) for path in files() for remark in remarks(path.relative_to(ROOT), path.read_text())] == []
