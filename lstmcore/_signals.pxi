# Signals: a long call lets their handlers run, as Python does between two of its instructions. One
# that raises, as that of Ctrl-C does, ends the call.
#
# Python runs handlers in its main thread alone. No other thread asks for the GIL before its work is
# done, nor does who has no Python: a caller of the table of C functions.

from threading import main_thread as python_main_thread
import os

cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept
    unsigned long PyThread_get_thread_ident() noexcept

cdef enum:
    # Multiply-adds between two looks at the clock: less than a millisecond, or 20 on a machine that
    # is a hundred times slower.
    WORK_PER_LOOK = 16777216
    # What a number of the pre-activations costs a cell, in multiply-adds.
    WORK_OF_CELL = 32
    LISTENING = 100             # milliseconds between two times that handlers may run

cdef unsigned long main_thread


def find_main_thread():
    """Remember which thread is Python's main one: after a fork it is the one that has forked."""
    global main_thread
    main_thread = python_main_thread().ident


find_main_thread()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=find_main_thread)


cdef inline bint is_main_thread() noexcept:
    return PyThread_get_thread_ident() == main_thread


cdef int run_handlers() noexcept with gil:
    """-1, and the exception is set, if one has raised."""
    return PyErr_CheckSignals()
