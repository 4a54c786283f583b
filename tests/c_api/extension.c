/* A C extension outside lstmcore that gets the table through the capsule. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "lstmcore.h"

static const lstmcore_api *api;

/* run(chain capsule, steps, x, y): steps of a stream on buffers, without the GIL */
static PyObject *run(PyObject *self, PyObject *args)
{
    PyObject *capsule;
    Py_ssize_t steps;
    Py_buffer x, y;
    const lstmcore_chain *chain;
    (void)self;
    if (!PyArg_ParseTuple(args, "Ony*w*", &capsule, &steps, &x, &y))
        return NULL;
    chain = (const lstmcore_chain *)PyCapsule_GetPointer(capsule, "lstmcore.chain");
    if (chain != NULL) {
        Py_BEGIN_ALLOW_THREADS
        api->chain_steps(chain, steps, x.buf, NULL, y.buf);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&y);
    if (chain == NULL)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"run", run, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "extension", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_extension(void)
{
    PyObject *self;
    api = lstmcore_import();
    if (api == NULL)
        return NULL;
    self = PyModule_Create(&module);
#ifdef Py_GIL_DISABLED
    PyUnstable_Module_SetGIL(self, Py_MOD_GIL_NOT_USED);
#endif
    return self;
}
