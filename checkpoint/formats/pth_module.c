// pth_module.c - an architecture from the modules of torch.nn.

#include "checkpoint/formats/pth_state.h"

int pawl_pth_take_architecture(struct pawl_pth *pth, const struct pawl_py *module)
{
    pawl_document_warn(pth->document, "the architecture of a %s is not read yet: only its tensors",
                       pawl_py_called(module));
    return 0;
}
