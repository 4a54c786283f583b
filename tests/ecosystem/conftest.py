"""Tests of what stands on the public API alone: other libraries, pictures, the shell.

None of it knows which build of the kernels runs, so these tests run on one build only.
"""
