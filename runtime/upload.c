// upload.c - see upload.h.

#include "runtime/upload.h"

int pawl_upload_open(struct pawl_upload *upload, const struct pawl_model *model)
{
    int rc = 0;

    *upload = (struct pawl_upload){ .model = model };
    if (model->device->host) return 0;
    for (int i = 0; i < model->tensor_count; i++)
        if (model->tensors[i].size_bytes > upload->room_bytes)
            upload->room_bytes = model->tensors[i].size_bytes;
    rc = pawl_device_alloc(model->device, &upload->staging, upload->room_bytes, PAWL_ON_HOST);
    if (!rc) rc = pawl_stream_open(&upload->stream, model->device);
    if (rc) pawl_upload_close(upload);
    return rc;
}

void *pawl_upload_at(struct pawl_upload *upload, float *slab, int tensor)
{
    upload->to = pawl_model_at(upload->model, slab, tensor);
    upload->bytes = upload->model->tensors[tensor].size_bytes;
    return upload->stream ? upload->staging : upload->to;
}

int pawl_upload_send(struct pawl_upload *upload)
{
    if (!upload->stream) return 0;
    pawl_stream_copy(upload->stream, upload->to, upload->staging, upload->bytes);
    return pawl_stream_wait(upload->stream);
}

void pawl_upload_close(struct pawl_upload *upload)
{
    if (!upload->model) return;
    pawl_stream_close(upload->stream);
    pawl_device_free(upload->model->device, upload->staging, upload->room_bytes, PAWL_ON_HOST);
    *upload = (struct pawl_upload){ 0 };
}
