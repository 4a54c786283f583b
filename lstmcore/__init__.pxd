# For `cimport lstmcore` outside: the declarations of lstmcore.h. See docs/c_api.md.

from lstmcore._kernels cimport *
