"""Check what `make dist` left: python .ci/check_dist.py DIST

The sdist has everything that git tracks, the wheel everything that a user needs and nothing else.
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

WHEEL_LIMIT = 2_000_000
NOT_IN_SDIST = {".gitignore", ".pre-commit-config.yaml"}
IN_WHEEL = {".py", ".pyi", ".typed", ".so", ".pyd", ".pxd", ".h", ".c", ".csv", ".npz", ".txt"}


def check(holds, complaint):
    if not holds:
        raise SystemExit(f"check_dist: {complaint}")


def main(dist):
    sdists, wheels = sorted(dist.glob("*.tar.gz")), sorted(dist.glob("*.whl"))
    check(len(sdists) == len(wheels) == 1, f"one sdist and one wheel expected in {dist}")
    tracked = set(
        subprocess.run(
            ["git", "ls-files"], check=True, capture_output=True, text=True
        ).stdout.split("\n")
    ) - {""}

    with tarfile.open(sdists[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    of_repository = {name for name in tracked if name.startswith(".github/")} | NOT_IN_SDIST
    missing = sorted(tracked - of_repository - names)
    check(not missing, f"the sdist lacks {missing}")
    check(not any(name.endswith((".so", ".pyc")) for name in names), "binaries in the sdist")

    size = wheels[0].stat().st_size
    check(size < WHEEL_LIMIT, f"the wheel has {size} bytes, at most {WHEEL_LIMIT}")
    with zipfile.ZipFile(wheels[0]) as archive:
        names = {name for name in archive.namelist() if name.startswith("lstmcore/")}
    package = {name for name in tracked if name.startswith("lstmcore/")}
    wanted = {name for name in package if Path(name).suffix in IN_WHEEL}
    missing = sorted(wanted - names)
    check(not missing, f"the wheel lacks {missing}")
    built = {name for name in names - package if "_kernels_" in name}
    check(built, "no kernels in the wheel")
    extra = sorted(n for n in names - wanted if not n.endswith((".so", ".pyd")))
    check(not extra, f"the wheel also has {extra}")
    print(f"{sdists[0].name}: {sdists[0].stat().st_size:,} bytes")
    print(f"{wheels[0].name}: {size:,} bytes; {len(built)} builds of the kernels")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
