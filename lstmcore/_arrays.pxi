# NumPy arrays as the compiled modules take them. For files that `cimport numpy as cnp`.

cdef inline void* address(object array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)

cdef inline Py_ssize_t stride(object array, int axis) noexcept:
    """Stride in numbers; 0 for None."""
    if array is None:
        return 0
    return cnp.PyArray_STRIDE(<cnp.ndarray>array, axis) // cnp.PyArray_ITEMSIZE(<cnp.ndarray>array)

cdef void addresses_of(tuple arrays, void** addresses, Py_ssize_t n):
    """The arrays' data, NULL for None and for what there is not, up to n."""
    cdef Py_ssize_t k
    for k in range(n):
        addresses[k] = address(arrays[k]) if k < len(arrays) else NULL

cdef inline int columns_in(cnp.ndarray table) noexcept:
    """How many `Columns` there are in a table's bytes."""
    return <int>(cnp.PyArray_SIZE(table) // <Py_ssize_t>sizeof(Columns))

cdef inline bint is_plain(object array, int type_number, int flags) noexcept:
    """Whether `array`, which may be anything, is an ndarray of a native type with these flags."""
    return (cnp.PyArray_CheckExact(array)
            and cnp.PyArray_TYPE(<cnp.ndarray>array) == type_number
            and cnp.PyArray_CHKFLAGS(<cnp.ndarray>array, flags)
            and cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray>array))
