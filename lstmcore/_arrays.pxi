# NumPy arrays as the compiled modules take them. For files that `cimport numpy as cnp`.

cdef inline void* address(object array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)

cdef inline bint is_plain(object array, int type_number, int flags) noexcept:
    """Whether `array`, which may be anything, is an ndarray of a native type with these flags."""
    return (cnp.PyArray_CheckExact(array)
            and cnp.PyArray_TYPE(<cnp.ndarray>array) == type_number
            and cnp.PyArray_CHKFLAGS(<cnp.ndarray>array, flags)
            and cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray>array))
