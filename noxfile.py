#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox[uv]>=2025.2.9"]
# ///
"""The tests with other versions than those of .venv; all else is in the Makefile.

- ``nox -s oldest``: the oldest Python and the lowest versions that pyproject.toml allows;
- ``nox -s newest``: every Python that is there, with the newest versions.
"""

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False

PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"), max_version="3.14")


@nox.session(python=PYTHONS[0], venv_backend="uv", default=False)
def oldest(session: nox.Session) -> None:
    # Matplotlib of that time uses names of pyparsing that a newer one warns of.
    session.install("--resolution", "lowest-direct", ".[test]", "pyparsing==3.2.5")
    run_tests(session)


@nox.session(python=PYTHONS)
def newest(session: nox.Session) -> None:
    session.install(".[test]")
    run_tests(session)


def run_tests(session: nox.Session) -> None:
    session.run("python", "-c", "import lstmcore; lstmcore.show_config()")
    session.run("pytest", "-n", "auto", *session.posargs)


if __name__ == "__main__":
    nox.main()
