"""Find wording that a maintainer of Prometheus or Kubernetes would not write: `python -m tools.prose [FILE...]`.

`PATTERNS` is a closed list of phrases that this project once used, with replacements. Markdown, YAML and templates are
checked completely, and Python only in comments and strings. To keep a phrase, add a comment `prose: REASON` to its
line.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PATTERNS = {
    r"beside": "in addition to, next to",
    r"anew": "again",
    r"(?<!thing\s)(?<!body\s)(?<!one\s)(?<!where\s)(?<!what\s)(?<!who\s)(?<!how\s)else(?=[.;)])": "otherwise",
    r"(?<!there\s)is no (?!longer|more|need|way|such)(?=\w)": "is not a",
    r"goes before": "overrides",
    r"may not (?:list|watch|get)": "not permitted to",
    r"told to end": "shutting down",
    r"what is known of": "what is known about",
    r"nothing is said of": "nothing is known about",
    r"a rise in": "a higher",
    r"as nobody says otherwise": "by default",
    r"stands? (?:in|at|on|there|behind)": "is in",
    r"fails whole": "fails atomically",
    r"left alone for": "rate limited; retrying in",
    r"takes? a default away": "disables a default",
    r"the way back": "rollback",
    r"route to nowhere": "null receiver",
    r"(?:as|is|are|it|them) whole": "complete, all of",
    r"(?:is|are|was|were|while) away": "unavailable",
    r"that is all there is to": "(leave it out)",
    r"answered with status": "returned status",
    r"whoever's": "of those who",
    r"for ever": "forever",
    r"as they have it": "(leave it out)",
    r"an account of (?:its|their) own": "its own ServiceAccount",
}
_ANY = re.compile(rf"\b(?:{'|'.join(f'(?P<p{n}>{p})' for n, p in enumerate(PATTERNS))})\b", re.IGNORECASE)
_INSTEAD = tuple(PATTERNS.values())
_SILENCED = re.compile(r"\bprose: \S")
_SUFFIXES = {".md", ".yaml", ".yml", ".tmpl", ".tpl", ".gotmpl", ".txt", ".html", ".js", ".css", ".toml"}
# Third-party texts, generated files whose sources are checked, and the patterns themselves.
_SKIPPED = (
    "exporter/demo/data/",
    "exporter/shipped/",
    "tests/data/",
    "docs/findings.schema.json",
    "tools/prose.py",
    "tests/test_prose.py",
)


class Remark(NamedTuple):
    """A phrase to replace: its position, its text, and its replacement."""

    path: Path
    line: int
    phrase: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.phrase!r}: write {self.instead}"


def remarks(path: Path, text: str) -> Iterator[Remark]:
    """Yield the phrases to replace in a file.

    Args:
        path: its name, which decides which parts are prose.
        text: its content.
    """
    lines = text.splitlines()
    prose = _of_python(text) if path.suffix == ".py" else text
    for found in _ANY.finditer(prose) if _ANY.search(text) else ():
        line = prose.count("\n", 0, found.start()) + 1
        if not _SILENCED.search(lines[line - 1]):
            yield Remark(path, line, found.group(), _INSTEAD[int(str(found.lastgroup)[1:])])


def files() -> Iterator[Path]:
    """Yield every file of the repository with prose."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not name.startswith(_SKIPPED) and path.suffix in {*_SUFFIXES, ".py"} and path.is_file():
            yield path


def _of_python(text: str) -> str:
    """Return the comments and strings of a module in their places, and blanks elsewhere."""
    kept = [[" "] * len(line) for line in text.splitlines()]
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (tokenize.COMMENT, tokenize.STRING):
            continue
        (first, begin), (last, end) = token.start, token.end
        for number in range(first, last + 1):
            left, right = begin if number == first else 0, end if number == last else len(lines[number - 1])
            kept[number - 1][left:right] = lines[number - 1][left:right]
    return "\n".join("".join(line) for line in kept)


def main() -> int:
    """Print the phrases to replace in the given files, or in all; exit with status 1 if there are any."""
    named = [Path(name).resolve() for name in sys.argv[1:]]
    status = 0
    for path in named or files():
        for remark in remarks(path.relative_to(ROOT), path.read_text(encoding="utf-8")):
            print(remark)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
