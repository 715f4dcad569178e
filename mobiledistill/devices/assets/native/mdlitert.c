/* LiteRT by its C interface: libLiteRt.so of release 2, whose functions are found by name. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdruntime.h"

typedef void *handle;

/* As the library lays it out: two bit fields, then lengths, then strides. */
typedef struct {
    uint32_t rank_and_flags;
    int32_t dims[8];
    uint32_t strides[8];
} layout;

typedef struct {
    int32_t element_type;
    layout layout;
} ranked_type;

enum { CPU = 1, READ = 0, WRITE = 1, RANK_BITS = 0x7f };

static struct {
    int (*create_environment)(int, const void *, handle *);
    int (*create_model)(handle, const char *, handle *);
    int (*create_options)(handle *);
    int (*set_accelerators)(handle, int);
    int (*create_opaque)(const char *, void *, void (*)(void *), handle *);
    int (*add_opaque)(handle, handle);
    int (*create_compiled)(handle, handle, handle, handle *);
    int (*signature_count)(handle, size_t *);
    int (*signature_at)(handle, size_t, handle *);
    int (*signature_key)(handle, const char **);
    int (*input_count)(handle, size_t *);
    int (*output_count)(handle, size_t *);
    int (*input_name)(handle, size_t, const char **);
    int (*output_name)(handle, size_t, const char **);
    int (*input_tensor)(handle, size_t, handle *);
    int (*output_tensor)(handle, size_t, handle *);
    int (*tensor_type)(handle, ranked_type *);
    int (*resize_input)(handle, size_t, size_t, const int *, size_t);
    int (*output_layouts)(handle, size_t, size_t, layout *, bool);
    int (*input_needs)(handle, size_t, size_t, handle *);
    int (*output_needs)(handle, size_t, size_t, handle *);
    int (*create_buffer)(handle, const ranked_type *, handle, handle *);
    int (*lock)(handle, void **, int);
    int (*unlock)(handle);
    int (*run)(handle, size_t, size_t, handle *, size_t, handle *);
    int (*is_accelerated)(handle, bool *);
    void (*destroy_buffer)(handle);
    void (*destroy_compiled)(handle);
    void (*destroy_options)(handle);
    void (*destroy_model)(handle);
} api;

static const struct {
    const char *name;
    void *place;
} SYMBOLS[] = {
    {"LiteRtCreateEnvironment", &api.create_environment},
    {"LiteRtCreateModelFromFile", &api.create_model},
    {"LiteRtCreateOptions", &api.create_options},
    {"LiteRtSetOptionsHardwareAccelerators", &api.set_accelerators},
    {"LiteRtCreateOpaqueOptions", &api.create_opaque},
    {"LiteRtAddOpaqueOptions", &api.add_opaque},
    {"LiteRtCreateCompiledModel", &api.create_compiled},
    {"LiteRtGetNumModelSignatures", &api.signature_count},
    {"LiteRtGetModelSignature", &api.signature_at},
    {"LiteRtGetSignatureKey", &api.signature_key},
    {"LiteRtGetNumSignatureInputs", &api.input_count},
    {"LiteRtGetNumSignatureOutputs", &api.output_count},
    {"LiteRtGetSignatureInputName", &api.input_name},
    {"LiteRtGetSignatureOutputName", &api.output_name},
    {"LiteRtGetSignatureInputTensorByIndex", &api.input_tensor},
    {"LiteRtGetSignatureOutputTensorByIndex", &api.output_tensor},
    {"LiteRtGetRankedTensorType", &api.tensor_type},
    {"LiteRtCompiledModelResizeInputTensor", &api.resize_input},
    {"LiteRtGetCompiledModelOutputTensorLayouts", &api.output_layouts},
    {"LiteRtGetCompiledModelInputBufferRequirements", &api.input_needs},
    {"LiteRtGetCompiledModelOutputBufferRequirements", &api.output_needs},
    {"LiteRtCreateManagedTensorBufferFromRequirements", &api.create_buffer},
    {"LiteRtLockTensorBuffer", &api.lock},
    {"LiteRtUnlockTensorBuffer", &api.unlock},
    {"LiteRtRunCompiledModel", &api.run},
    {"LiteRtCompiledModelIsFullyAccelerated", &api.is_accelerated},
    {"LiteRtDestroyTensorBuffer", &api.destroy_buffer},
    {"LiteRtDestroyCompiledModel", &api.destroy_compiled},
    {"LiteRtDestroyOptions", &api.destroy_options},
    {"LiteRtDestroyModel", &api.destroy_model},
};

static const struct {
    int32_t theirs;
    md_type ours;
} ELEMENTS[] = {
    {1, MD_FLOAT32}, {10, MD_FLOAT16}, {11, MD_FLOAT64}, {9, MD_INT8},  {3, MD_UINT8},   {7, MD_INT16},
    {17, MD_UINT16}, {2, MD_INT32},    {16, MD_UINT32},  {4, MD_INT64}, {13, MD_UINT64}, {6, MD_BOOL},
};

static handle environment;

typedef struct {
    handle model, options, compiled;
    size_t index;
    handle *inputs, *outputs; /* buffers, in the order of the signature */
} state;

static md_type type_of(int32_t element) {
    for (size_t i = 0; i < sizeof ELEMENTS / sizeof *ELEMENTS; i++)
        if (ELEMENTS[i].theirs == element) return ELEMENTS[i].ours;
    return MD_TYPES;
}

static int names_of(handle model, char ***names, size_t *count) {
    *names = NULL;
    if (api.signature_count(model, count)) return md_fail("the signatures cannot be read");
    *names = calloc(*count + 1, sizeof **names);
    for (size_t i = 0; *names && i < *count; i++) {
        handle signature;
        const char *key;
        if (api.signature_at(model, i, &signature) || api.signature_key(signature, &key)) key = "";
        (*names)[i] = md_copy(*key ? key : "main");
    }
    return *names != NULL;
}

static int declare(handle tensor, const char *name, md_tensors *into) {
    ranked_type type;
    if (api.tensor_type(tensor, &type)) return md_fail("the type of %s cannot be read", name);
    int rank = (int)(type.layout.rank_and_flags & RANK_BITS);
    int64_t dims[MD_MAX_RANK] = {0};
    for (int i = 0; i < rank && i < MD_MAX_RANK; i++) dims[i] = type.layout.dims[i];
    if (type_of(type.element_type) == MD_TYPES) return md_fail("%s is of element type %d", name, type.element_type);
    return md_add(into, name, type_of(type.element_type), rank, dims) ? 1 : md_fail("%s has rank %d", name, rank);
}

static int declare_all(md_model *model, handle signature) {
    size_t inputs, outputs;
    if (api.input_count(signature, &inputs) || api.output_count(signature, &outputs))
        return md_fail("the signature cannot be read");
    for (size_t i = 0; i < inputs; i++) {
        const char *name;
        handle tensor;
        if (api.input_name(signature, i, &name) || api.input_tensor(signature, i, &tensor))
            return md_fail("input %zu cannot be read", i);
        if (!declare(tensor, name, &model->inputs)) return 0;
    }
    for (size_t i = 0; i < outputs; i++) {
        const char *name;
        handle tensor;
        if (api.output_name(signature, i, &name) || api.output_tensor(signature, i, &tensor))
            return md_fail("output %zu cannot be read", i);
        if (!declare(tensor, name, &model->outputs)) return 0;
    }
    return 1;
}

static ranked_type type_for(const md_tensor *tensor) {
    ranked_type type = {.layout = {.rank_and_flags = (uint32_t)tensor->rank}};
    for (size_t i = 0; i < sizeof ELEMENTS / sizeof *ELEMENTS; i++)
        if (ELEMENTS[i].ours == tensor->type) type.element_type = ELEMENTS[i].theirs;
    for (int i = 0; i < tensor->rank; i++) type.layout.dims[i] = (int32_t)tensor->dims[i];
    return type;
}

static int put(handle buffer, const md_tensor *tensor) {
    void *address;
    if (api.lock(buffer, &address, WRITE)) return md_fail("%s cannot be written", tensor->name);
    memcpy(address, tensor->data, md_tensor_bytes(tensor));
    return api.unlock(buffer) ? md_fail("%s cannot be written", tensor->name) : 1;
}

static int shape_inputs(md_model *model, state *own, const md_tensors *given, bool *changed) {
    *changed = false;
    for (size_t i = 0; i < model->inputs.count; i++) {
        const md_tensor *value = md_find(given, model->inputs.items[i].name);
        bool open = false;
        int dims[MD_MAX_RANK];
        for (int d = 0; d < value->rank; d++) {
            dims[d] = (int)value->dims[d];
            open = open || model->inputs.items[i].dims[d] < 0;
        }
        if (open && api.resize_input(own->compiled, own->index, i, dims, (size_t)value->rank))
            return md_fail("%s cannot take this shape", value->name);
        *changed = *changed || open;
    }
    return 1;
}

static int bind(md_model *model, const md_tensors *given) {
    state *own = model->state;
    bool changed;
    if (!shape_inputs(model, own, given, &changed)) return 0;
    for (size_t i = 0; i < model->inputs.count; i++) {
        const md_tensor *value = md_find(given, model->inputs.items[i].name);
        ranked_type type = type_for(value);
        handle needs;
        if (api.input_needs(own->compiled, own->index, i, &needs)
            || api.create_buffer(environment, &type, needs, &own->inputs[i]))
            return md_fail("no buffer for %s", value->name);
        if (!put(own->inputs[i], value)) return 0;
    }
    layout *shapes = calloc(model->outputs.count + 1, sizeof *shapes);
    if (!shapes || api.output_layouts(own->compiled, own->index, model->outputs.count, shapes, changed)) {
        free(shapes);
        return md_fail("the shapes of the outputs cannot be read");
    }
    int whole = 1;
    for (size_t i = 0; whole && i < model->outputs.count; i++) {
        md_tensor *output = &model->outputs.items[i];
        output->rank = (int)(shapes[i].rank_and_flags & RANK_BITS);
        for (int d = 0; d < output->rank && d < MD_MAX_RANK; d++) output->dims[d] = shapes[i].dims[d];
        ranked_type type = type_for(output);
        handle needs;
        if (api.output_needs(own->compiled, own->index, i, &needs)
            || api.create_buffer(environment, &type, needs, &own->outputs[i]))
            whole = md_fail("no buffer for %s", output->name);
    }
    free(shapes);
    return whole;
}

static int run(md_model *model) {
    state *own = model->state;
    int status = api.run(
        own->compiled, own->index, model->inputs.count, own->inputs, model->outputs.count, own->outputs);
    return status ? md_fail("a run ends with status %d", status) : 1;
}

static int read_outputs(md_model *model) {
    state *own = model->state;
    for (size_t i = 0; i < model->outputs.count; i++) {
        md_tensor *output = &model->outputs.items[i];
        size_t bytes = md_tensor_bytes(output);
        void *address, *copy = realloc(output->data, bytes ? bytes : 1);
        if (!copy) return md_fail("no memory for %s", output->name);
        output->data = copy;
        if (api.lock(own->outputs[i], &address, READ)) return md_fail("%s cannot be read", output->name);
        memcpy(copy, address, bytes);
        api.unlock(own->outputs[i]);
    }
    return 1;
}

static void close_model(md_model *model) {
    state *own = model->state;
    for (size_t i = 0; own->inputs && i < model->inputs.count; i++)
        if (own->inputs[i]) api.destroy_buffer(own->inputs[i]);
    for (size_t i = 0; own->outputs && i < model->outputs.count; i++)
        if (own->outputs[i]) api.destroy_buffer(own->outputs[i]);
    if (own->compiled) api.destroy_compiled(own->compiled);
    if (own->options) api.destroy_options(own->options);
    if (own->model) api.destroy_model(own->model);
    free(own->inputs);
    free(own->outputs);
    free(own);
    md_free_model(model);
}

static int compile(state *own, int threads) {
    char *settings = malloc(64);
    handle opaque;
    if (!settings) return md_fail("no memory");
    snprintf(settings, 64, "num_threads = %d\n", threads);
    if (api.create_options(&own->options) || api.set_accelerators(own->options, CPU))
        return md_fail("its options cannot be set");
    if (api.create_opaque("xnnpack", settings, free, &opaque) || api.add_opaque(own->options, opaque))
        return md_fail("its number of threads cannot be set");
    int status = api.create_compiled(environment, own->model, own->options, &own->compiled);
    return status ? md_fail("it is not compiled: status %d", status) : 1;
}

static int open_signature(md_model *model, const char *asked) {
    state *own = model->state;
    char **names;
    size_t count;
    handle signature;
    if (!names_of(own->model, &names, &count)) return 0;
    long index = md_choose(names, count, asked);
    if (index >= 0) model->signature = md_copy(names[index]);
    md_free_names(names, count);
    if (index < 0) return 0;
    own->index = (size_t)index;
    if (api.signature_at(own->model, own->index, &signature)) return md_fail("the signature cannot be read");
    if (!declare_all(model, signature)) return 0;
    own->inputs = calloc(model->inputs.count + 1, sizeof(handle));
    own->outputs = calloc(model->outputs.count + 1, sizeof(handle));
    return own->inputs && own->outputs ? 1 : md_fail("no memory");
}

static md_model *load(const char *path, const char *signature, int threads) {
    md_model *model = calloc(1, sizeof *model);
    state *own = calloc(1, sizeof *own);
    if (!model || !own) {
        free(model);
        free(own);
        md_fail("no memory");
        return NULL;
    }
    *model = (md_model){.state = own, .bind = bind, .run = run, .read = read_outputs, .close = close_model};
    int status = api.create_model(environment, path, &own->model);
    int whole = status ? md_fail("it is not read: status %d", status) : 1;
    if (whole && compile(own, threads) && open_signature(model, signature)) {
        bool all = false;
        api.is_accelerated(own->compiled, &all);
        snprintf(model->backend, sizeof model->backend, all ? "xnnpack, the whole graph" : "xnnpack, in parts");
        return model;
    }
    close_model(model);
    return NULL;
}

static int signatures(const char *path, char ***names, size_t *count) {
    handle model;
    int status = api.create_model(environment, path, &model);
    if (status) return md_fail("it is not read: status %d", status);
    int whole = names_of(model, names, count);
    api.destroy_model(model);
    return whole;
}

const md_runtime *md_open_litert(const char *library) {
    static md_runtime runtime = {.name = "LiteRT", .load = load, .signatures = signatures};
    void *opened = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!opened) {
        md_fail("%s", dlerror());
        return NULL;
    }
    for (size_t i = 0; i < sizeof SYMBOLS / sizeof *SYMBOLS; i++) {
        void *found = dlsym(opened, SYMBOLS[i].name);
        if (!found) {
            md_fail("%s has no %s; give libLiteRt.so of release 2.3", library, SYMBOLS[i].name);
            return NULL;
        }
        memcpy(SYMBOLS[i].place, &found, sizeof found);
    }
    int status = api.create_environment(0, NULL, &environment);
    if (status) {
        md_fail("LiteRT does not start: status %d", status);
        return NULL;
    }
    return &runtime;
}
