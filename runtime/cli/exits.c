// exits.c - from codes to exit codes.

#include "runtime/cli/exits.h"

#include <stdio.h>

int pawl_exit_of(int rc)
{
    switch (rc) {
    case 0:
        return PAWL_EXIT_DONE;
    case PAWL_EINVAL:
        return PAWL_EXIT_USAGE;
    case PAWL_ECORRUPT:
        return PAWL_EXIT_DATA;
    case PAWL_ENONE:
        return PAWL_EXIT_NONE;
    case PAWL_EDEVICE:
    case PAWL_ENOTSUP:
    case PAWL_ENOMEM:
        return PAWL_EXIT_DEVICE;
    case PAWL_EBUSY:
        return PAWL_EXIT_CREATE;
    case PAWL_EIO:
        return PAWL_EXIT_IO;
    default:
        return PAWL_EXIT_BUG;
    }
}

int pawl_exit_of_output(int rc)
{
    return rc == PAWL_EIO ? PAWL_EXIT_CREATE : pawl_exit_of(rc);
}

int pawl_exit_telling(int rc)
{
    fprintf(stderr, "pawl: %s\n", pawl_error());
    return pawl_exit_of(rc);
}
