// pth_tensor.c - tensors of torch: which storage, which element type, which strides.

#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/pth_file.h"
#include "kernels/memory.h"

// ---- element types

static const struct {
    const char *name, *storage;
    enum pawl_dtype dtype;
} dtypes[] = {
    { "float32", "FloatStorage", PAWL_F32 }, { "float64", "DoubleStorage", PAWL_F64 },
    { "float16", "HalfStorage", PAWL_F16 }, { "bfloat16", "BFloat16Storage", PAWL_BF16 },
    { "int64", "LongStorage", PAWL_I64 }, { "int32", "IntStorage", PAWL_I32 },
    { "int16", "ShortStorage", PAWL_I16 }, { "int8", "CharStorage", PAWL_I8 },
    { "uint8", "ByteStorage", PAWL_U8 }, { "bool", "BoolStorage", PAWL_BOOL },
    { "complex64", "ComplexFloatStorage", PAWL_C64 },
    { "complex128", "ComplexDoubleStorage", PAWL_C128 },
    { "float8_e4m3fn", NULL, PAWL_F8_E4M3 }, { "float8_e5m2", NULL, PAWL_F8_E5M2 },
    { "uint16", NULL, PAWL_U16 }, { "uint32", NULL, PAWL_U32 }, { "uint64", NULL, PAWL_U64 },
};

enum { DTYPES = sizeof(dtypes) / sizeof(*dtypes) };

bool pawl_pth_dtype(const char *global, enum pawl_dtype *out, bool *untyped)
{
    const char *last = strrchr(global, '.');

    *untyped = false;
    if (!last || strncmp(global, "torch.", 6)) return false;
    *untyped = !strcmp(last + 1, "UntypedStorage");
    *out = PAWL_U8;
    if (*untyped) return true;
    for (int i = 0; i < DTYPES; i++)
        if (!strcmp(last + 1, dtypes[i].name)
            || (dtypes[i].storage && !strcmp(last + 1, dtypes[i].storage))) {
            *out = dtypes[i].dtype;
            return true;
        }
    return false;
}

const char *pawl_pth_storage_name(enum pawl_dtype dtype)
{
    for (int i = 0; i < DTYPES; i++)
        if (dtypes[i].dtype == dtype) return dtypes[i].storage;
    return NULL;
}

// ---- the call that rebuilds it

// Parameters and subclasses are tensors in a wrapper: the function and the arguments inside.
struct rebuild {
    const char *function;
    const struct pawl_py *arguments;
};

static struct rebuild unwrap(const struct pawl_py *value)
{
    struct rebuild none = { "", NULL };

    for (int depth = 0; depth < 8 && pawl_py_is(value, PAWL_PY_CALL); depth++) {
        struct rebuild found = { pawl_py_called(value), value->item[1] };
        if (!strcmp(found.function, "torch._tensor._rebuild_from_type_v2")) {
            found.function = pawl_py_called(pawl_py_argument(value, 0));
            found.arguments = pawl_py_argument(value, 2);
        }
        if (strncmp(found.function, "torch._utils._rebuild_parameter", 31)) return found;
        value = pawl_py_item(found.arguments, 0);
    }
    return none;
}

bool pawl_pth_is_tensor(const struct pawl_py *value)
{
    return !strncmp(unwrap(value).function, "torch._utils._rebuild_", 22);
}

// ---- the storage

struct storage {
    enum pawl_dtype dtype;
    bool untyped;
    int64_t bytes;        // as its persistent id says
    int64_t skipped;      // elements before it, when it is a view of another (torch < 0.4)
    const char *key;
};

__attribute__((format(printf, 3, 4))) static int fail(const struct pawl_pth *pth, const char *name,
                                                      const char *format, ...)
{
    char words[400];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    return pawl_fail(PAWL_ECORRUPT, "%s: tensor '%.200s': %s", pth->what, name, words);
}

static int take_storage(const struct pawl_pth *pth, const char *name, const struct pawl_py *value,
                        struct storage *out)
{
    const struct pawl_py *id = pawl_py_is(value, PAWL_PY_PERSISTENT) ? value->item[0] : NULL;
    const char *kind = pawl_py_text(pawl_py_item(id, 0));
    const char *location = pawl_py_text(pawl_py_item(id, 3));
    int64_t count = 0;

    out->key = pawl_py_text(pawl_py_item(id, 2));
    if (!kind || strcmp(kind, "storage") || !out->key
        || !pawl_py_integer(pawl_py_item(id, 4), &count) || count < 0)
        return fail(pth, name, "its storage is not one that torch writes");
    if (!pawl_pth_dtype(pawl_py_called(pawl_py_item(id, 1)), &out->dtype, &out->untyped))
        return fail(pth, name, "its storage is a %.80s, which is not known",
                    pawl_py_called(pawl_py_item(id, 1)));
    if (location && !strcmp(location, "meta"))
        return fail(pth, name, "it was on the meta device: the file holds no bytes of it");
    const int64_t element = out->untyped ? 1 : (int64_t)pawl_dtype_bytes(out->dtype);
    if (__builtin_mul_overflow(count, element, &out->bytes))
        return fail(pth, name, "its storage's size overflows 64 bits");
    out->skipped = 0;
    // (view_key, offset, view_numel): a part of the storage that is called key
    pawl_py_integer(pawl_py_item(pawl_py_item(id, 5), 1), &out->skipped);
    return out->skipped < 0 ? fail(pth, name, "its storage's offset is negative") : 0;
}

// ---- the shape

static int take_sizes(const struct pawl_pth *pth, const char *name, const struct pawl_py *value,
                      int64_t out[PAWL_RANK_MAX], int *rank)
{
    if (!strcmp(pawl_py_called(value), "torch.Size")) value = pawl_py_argument(value, 0);
    if (!pawl_py_is(value, PAWL_PY_TUPLE) && !pawl_py_is(value, PAWL_PY_LIST))
        return fail(pth, name, "its shape is no tuple");
    if (value->count > PAWL_RANK_MAX)
        return fail(pth, name, "it has %u dimensions, more than %d", value->count, PAWL_RANK_MAX);
    *rank = (int)value->count;
    for (int i = 0; i < *rank; i++)
        if (!pawl_py_integer(value->item[i], &out[i]) || out[i] < 0)
            return fail(pth, name, "a size or stride is negative or no integer");
    return 0;
}

// The last element that the strides reach lies within the storage; nothing overflows.
static int check_span(const struct pawl_pth *pth, const struct pawl_pth_view *view,
                      int64_t storage_bytes)
{
    const int64_t element = (int64_t)pawl_dtype_bytes(view->tensor.dtype);
    const int64_t capacity = storage_bytes / element;
    const char *name = view->tensor.name;
    int64_t last = view->offset;

    if (!view->tensor.size_bytes)
        return view->offset > capacity ? fail(pth, name, "its offset is outside its storage") : 0;
    for (int i = 0; i < view->tensor.rank; i++) {
        int64_t way;
        if (__builtin_mul_overflow(view->tensor.dim[i] - 1, view->stride[i], &way)
            || __builtin_add_overflow(last, way, &last))
            return fail(pth, name, "its strides overflow 64 bits: beyond its storage");
    }
    if (last >= capacity)
        return fail(pth, name, "with its offset, shape and strides it reaches element %lld, beyond "
                    "its storage of %lld", (long long)last, (long long)capacity);
    // Expanded views repeat elements; a small file must not become a huge tensor.
    if (view->tensor.size_bytes > 64 << 20
        && view->tensor.size_bytes / 100 > (uint64_t)storage_bytes)
        return fail(pth, name, "strides of 0 expand its storage of %lld bytes to %zu: too large to "
                    "be meant", (long long)storage_bytes, view->tensor.size_bytes);
    return 0;
}

static bool is_contiguous(const struct pawl_pth_view *view)
{
    int64_t expected = 1;

    if (!view->tensor.size_bytes) return true;
    for (int i = view->tensor.rank - 1; i >= 0; i--) {
        if (view->tensor.dim[i] != 1 && view->stride[i] != expected) return false;
        expected *= view->tensor.dim[i];
    }
    return true;
}

static int take_shape(const struct pawl_pth *pth, const struct pawl_py *arguments,
                      struct pawl_pth_view *out, int64_t storage_bytes)
{
    const char *name = out->tensor.name;
    int64_t dim[PAWL_RANK_MAX];
    int rank = 0, strides = 0;

    if (!pawl_py_integer(pawl_py_item(arguments, 1), &out->offset) || out->offset < 0)
        return fail(pth, name, "its storage offset is negative or no integer");
    int rc = take_sizes(pth, name, pawl_py_item(arguments, 2), dim, &rank);
    if (!rc) rc = take_sizes(pth, name, pawl_py_item(arguments, 3), out->stride, &strides);
    if (rc) return rc;
    if (rank != strides) return fail(pth, name, "it has %d sizes, but %d strides", rank, strides);
    if (pawl_tensor_shape(&out->tensor, rank, dim))
        return fail(pth, name, "%s: too large for its storage", pawl_error());
    rc = check_span(pth, out, storage_bytes);
    out->contiguous = is_contiguous(out);
    return rc;
}

// ---- the bytes

static int find_bytes(struct pawl_pth *pth, const struct storage *storage,
                      struct pawl_pth_view *out)
{
    char path[600];
    uint64_t bytes = 0;
    int rc = 0;

    if (pth->zip) {
        snprintf(path, sizeof(path), "%sdata/%s", pth->root, storage->key);
        const struct pawl_zip_member *member = pawl_zip_find(pth->zip, path);
        if (!member)
            return fail(pth, out->tensor.name, "its storage's record %.200s is not there", path);
        int *file = &pth->member_files[member - pth->zip->members];
        bytes = member->size;
        if (*file < 0 && bytes == (uint64_t)storage->bytes)
            rc = pawl_zip_file(pth->zip, member, out->contiguous && out->offset == 0
                               && out->tensor.size_bytes == bytes, file);
        out->file = *file;
        out->start_bytes = 0;
    } else {
        int low = 0, high = pth->storage_count;
        while (low < high) {
            const int middle = (low + high) / 2;
            if (strcmp(pth->storages[middle].key, storage->key) < 0)
                low = middle + 1;
            else
                high = middle;
        }
        if (low == pth->storage_count || !pth->storages[low].offset)
            return fail(pth, out->tensor.name, "its storage '%.64s' is not there", storage->key);
        bytes = pth->storages[low].bytes;
        out->file = pth->file;
        out->start_bytes = pth->storages[low].offset;
    }
    if (bytes != (uint64_t)storage->bytes)
        return fail(pth, out->tensor.name, "its storage is said to have %lld bytes, but its record "
                    "data/%.64s has %llu", (long long)storage->bytes, storage->key,
                    (unsigned long long)bytes);
    return rc;
}

static bool is_name(const char *name)
{
    json_t *string = json_string(name);  // NULL when it is not UTF-8
    bool fine = string != NULL;

    for (; *name; name++)
        fine &= (unsigned char)*name >= 0x20 && *name != 0x7f;
    json_decref(string);
    return fine;
}

int pawl_pth_look(struct pawl_pth *pth, const struct pawl_py *value, const char *name,
                  struct pawl_pth_view *out)
{
    const struct rebuild how = unwrap(value);
    const char *function = how.function + (strlen(how.function) > 13 ? 13 : 0);
    struct storage storage;

    memset(out, 0, sizeof(*out));
    if (snprintf(out->tensor.name, sizeof(out->tensor.name), "%s", name) > PAWL_NAME_MAX)
        return fail(pth, name, "its name is longer than %d bytes", PAWL_NAME_MAX);
    if (!is_name(name)) return fail(pth, name, "its name is not UTF-8, or has control characters");
    const bool typed = !strcmp(function, "_rebuild_tensor_v2")
                       || !strcmp(function, "_rebuild_tensor");
    if (!typed && strcmp(function, "_rebuild_tensor_v3"))
        return pawl_fail(PAWL_ENOTSUP, "%s: tensor '%.200s' is rebuilt by %.80s, a kind that this "
                         "version does not read", pth->what, name, how.function);
    int rc = take_storage(pth, name, pawl_py_item(how.arguments, 0), &storage);
    if (rc) return rc;
    const struct pawl_py *dtype = pawl_py_item(how.arguments, 6);
    bool untyped = storage.untyped;
    if (!typed && !pawl_pth_dtype(pawl_py_called(dtype), &storage.dtype, &untyped))
        return fail(pth, name, "its element type is '%.80s', which is not known",
                    pawl_py_called(dtype));
    out->tensor.dtype = storage.dtype;
    out->storage = storage.key;
    rc = take_shape(pth, how.arguments, out, storage.bytes);
    if (!rc && storage.skipped) {
        if (storage.skipped > (INT64_MAX >> 4) - out->offset)
            return fail(pth, name, "its storage's offset is outside of it");
        out->offset += storage.skipped;
        out->contiguous = false;
        storage.bytes = -1;
    }
    if (rc || storage.bytes >= 0) return rc ? rc : find_bytes(pth, &storage, out);
    return fail(pth, name, "its storage is a part of another one, as only torch before 0.4 wrote");
}

// ---- strides

// Fetches a tensor whose elements do not lie in order. The part of the storage that it spans is
// held while it is read, and given back with the last element.
struct gather {
    const struct pawl_document *document;
    struct pawl_pth_view view;
    size_t element;
    char *span;
};

static int load_span(struct gather *g)
{
    size_t elements = 1;

    for (int i = 0; i < g->view.tensor.rank; i++)
        elements += (size_t)((g->view.tensor.dim[i] - 1) * g->view.stride[i]);
    int rc = pawl_alloc(&g->span, elements * g->element, "a tensor with strides");
    if (!rc)
        rc = pawl_document_read_at(g->document, g->view.file, g->view.start_bytes
                                   + (uint64_t)g->view.offset * g->element, g->span,
                                   elements * g->element);
    if (rc) {
        pawl_free(g->span);
        g->span = NULL;
    }
    return rc;
}

static void copy_elements(const struct gather *g, int64_t first, int64_t count, char *out)
{
    const struct pawl_tensor *t = &g->view.tensor;
    int64_t at[PAWL_RANK_MAX], place = 0, rest = first;

    for (int i = t->rank - 1; i >= 0; i--) {
        at[i] = rest % t->dim[i];
        rest /= t->dim[i];
        place += at[i] * g->view.stride[i];
    }
    for (int64_t n = 0; n < count; n++) {
        memcpy(out + (size_t)n * g->element, g->span + (size_t)place * g->element, g->element);
        for (int i = t->rank - 1; i >= 0; i--) {
            place += g->view.stride[i];
            if (++at[i] < t->dim[i]) break;
            place -= at[i] * g->view.stride[i];
            at[i] = 0;
        }
    }
}

static int read_gather(void *context, uint64_t offset, void *out, size_t size)
{
    struct gather *g = context;
    const size_t before = (size_t)(offset % g->element);
    int64_t element = (int64_t)(offset / g->element);
    char one[16], *to = out;

    int rc = g->span || !size ? 0 : load_span(g);
    if (rc) return rc;
    const uint64_t end = offset + size;
    if (before && size) {  // asked for from the middle of an element
        const size_t now = g->element - before < size ? g->element - before : size;
        copy_elements(g, element++, 1, one);
        memcpy(to, one + before, now);
        to += now;
        size -= now;
    }
    copy_elements(g, element, (int64_t)(size / g->element), to);
    element += (int64_t)(size / g->element);
    to += size / g->element * g->element;
    if (size % g->element) {
        copy_elements(g, element, 1, one);
        memcpy(to, one, size % g->element);
    }
    if (end == g->view.tensor.size_bytes) {
        pawl_free(g->span);
        g->span = NULL;
    }
    return 0;
}

static void free_gather(void *context)
{
    struct gather *g = context;

    pawl_free(g->span);
    pawl_free(g);
}

static int add_gather(struct pawl_pth *pth, const struct pawl_pth_view *view, int *file)
{
    struct pawl_made made = { .size_bytes = view->tensor.size_bytes, .read = read_gather,
                              .free = free_gather };
    struct gather *g = NULL;

    int rc = pawl_alloc(&g, sizeof(*g), "a tensor with strides");
    if (rc) return rc;
    *g = (struct gather){ pth->document, *view, pawl_dtype_bytes(view->tensor.dtype), NULL };
    made.context = g;
    rc = pawl_document_add_made(pth->document, pth->what, &made, file);
    if (rc) pawl_free(g);
    return rc;
}

int pawl_pth_add(struct pawl_pth *pth, struct pawl_entry **table, int *count, const char *name,
                 const struct pawl_py *value)
{
    struct pawl_pth_view view;
    uint64_t offset = 0;

    int rc = pawl_pth_look(pth, value, name, &view);
    int file = view.file;
    if (!rc && view.contiguous)
        offset = view.start_bytes + (uint64_t)view.offset * pawl_dtype_bytes(view.tensor.dtype);
    else if (!rc)
        rc = add_gather(pth, &view, &file);
    if (rc) return rc;
    rc = pawl_document_add_entry(table, count, &view.tensor, file, offset);
    return rc == PAWL_ECORRUPT ? pawl_fail(rc, "%s: %s", pth->what, pawl_error()) : rc;
}
