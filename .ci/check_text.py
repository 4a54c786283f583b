"""Checks on every text file that git tracks: python .ci/check_text.py

- no path of somebody's machine and no link to a package registry
- no line over 100 characters, no trailing blanks, no tab outside Makefiles, one newline at the end
- every relative link in a Markdown file leads to a file
- no work notes left (the words that say "to be done")
"""

import re
import subprocess
import sys
from pathlib import Path

FORBIDDEN = {
    "a path of one machine": r"(?<![\w.])/(?:root|home|work|Users|mnt)/",
    "a path outside the project": r"\.\./shared\b",
    "a package registry": r"https?://[^\s)]*(?:pypi|pythonhosted|npmjs|debian)",
    "a work note": r"\b(?:TODO|FIXME|XXX|HACK)\b",
    "blanks at the end of a line": r"[ \t]+$",
    "a tab": r"\t",
}
LONGEST = 100
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
SELF = Path(__file__).name


def problems(path, text):
    """(line number, what is wrong) for each finding in one file."""
    if path.name == SELF:
        return
    rules = {k: v for k, v in FORBIDDEN.items() if not (k == "a tab" and path.name == "Makefile")}
    data = path.suffix in {".csv", ".json", ".txt"}
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in rules.items():
            if re.search(pattern, line):
                yield number, what
        table = path.suffix == ".md" and line.startswith("|")
        if len(line) > LONGEST and not (table or data or "https://" in line):
            yield number, f"{len(line)} characters, at most {LONGEST}"
        if path.suffix == ".md":
            for target in LINK.findall(line):
                if not (path.parent / target).exists():
                    yield number, f"a link to {target}, which is not there"
    if text and not text.endswith("\n"):
        yield text.count("\n") + 1, "no newline at the end of the file"


def main():
    listing = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True)
    found = 0
    for name in filter(None, listing.stdout.split("\0")):
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # data, or removed and not yet committed
        for number, what in problems(path, text):
            print(f"{name}:{number}: {what}")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
