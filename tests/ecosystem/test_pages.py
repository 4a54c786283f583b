"""The commands of docs/command_line.md run as they are typed and print what the page shows."""

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import lstmcore as lc
from lstmcore.shell import main

ROOT = Path(lc.__file__).parents[1]
PAGE = ROOT / "docs/command_line.md"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def test_the_commands_of_the_page(tmp_path, monkeypatch, capsys):
    if not PAGE.exists():
        pytest.skip("not in a source tree")
    text = PAGE.read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "make_tables.py").write_text(script, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"```console\n\$ ((?:.*\\\n)*.*)\n((?s:.*?))```", text)
    assert len(commands) >= 7
    for command, wanted in commands:
        program, *arguments = shlex.split(command.replace("\\\n", " "))
        if program == "python":
            subprocess.run([sys.executable, *arguments], check=True, timeout=60)
            got = ""
        else:
            assert program == "lstmcore"
            try:
                code = main(arguments)
            except SystemExit as ended:  # of --version
                code = ended.code
            got = capsys.readouterr().out
            assert code == 0, command
        assert doctest.OutputChecker().check_output(wanted, got, FLAGS), f"{command}\n{got}"
    assert {"vowels.npz", "sunspots.npz", "report.json", "run.png", "said.csv", "build"} <= {
        path.name for path in tmp_path.iterdir()
    }
