/* ONNX Runtime by its C interface. The library exports one function, which gives a table of functions; places in that
   table never change, new ones are added at its end. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdruntime.h"

typedef void *handle;
typedef void (*function)(void);
typedef handle status; /* NULL: it worked */

typedef struct {
    const function *(*table)(uint32_t version);
    const char *(*version)(void);
} api_base;

enum { API_VERSION = 8 }; /* since release 1.8 of 2021 */

/* Places in the table, and what is called there. */
#define ERROR_MESSAGE ((const char *(*)(status))table[2])
#define CREATE_ENV ((status(*)(int, const char *, handle *))table[3])
#define CREATE_SESSION ((status(*)(handle, const char *, handle, handle *))table[7])
#define CREATE_OPTIONS ((status(*)(handle *))table[10])
#define SET_EXECUTION_MODE ((status(*)(handle, int))table[13])
#define SET_INTRA_THREADS ((status(*)(handle, int))table[24])
#define SET_INTER_THREADS ((status(*)(handle, int))table[25])
#define INPUT_COUNT ((status(*)(handle, size_t *))table[30])
#define OUTPUT_COUNT ((status(*)(handle, size_t *))table[31])
#define INPUT_TYPE ((status(*)(handle, size_t, handle *))table[33])
#define OUTPUT_TYPE ((status(*)(handle, size_t, handle *))table[34])
#define INPUT_NAME ((status(*)(handle, size_t, handle, char **))table[36])
#define OUTPUT_NAME ((status(*)(handle, size_t, handle, char **))table[37])
#define CREATE_TENSOR ((status(*)(handle, void *, size_t, const int64_t *, size_t, int, handle *))table[49])
#define TENSOR_DATA ((status(*)(handle, void **))table[51])
#define AS_TENSOR_TYPE ((status(*)(handle, handle *))table[55])
#define ELEMENT_TYPE ((status(*)(handle, int *))table[60])
#define RANK ((status(*)(handle, size_t *))table[61])
#define DIMENSIONS ((status(*)(handle, int64_t *, size_t))table[62])
#define TENSOR_TYPE ((status(*)(handle, handle *))table[65])
#define CREATE_CPU_MEMORY ((status(*)(int, int, handle *))table[69])
#define ALLOCATOR_FREE ((status(*)(handle, void *))table[76])
#define ALLOCATOR ((status(*)(handle *))table[78])
#define RELEASE_STATUS ((void (*)(status))table[93])
#define RELEASE_SESSION ((void (*)(handle))table[95])
#define RELEASE_VALUE ((void (*)(handle))table[96])
#define RELEASE_TYPE ((void (*)(handle))table[98])
#define RELEASE_TENSOR_TYPE ((void (*)(handle))table[99])
#define RELEASE_OPTIONS ((void (*)(handle))table[100])
#define RUN_WITH_BINDING ((status(*)(handle, handle, handle))table[133])
#define CREATE_BINDING ((status(*)(handle, handle *))table[134])
#define RELEASE_BINDING ((void (*)(handle))table[135])
#define BIND_INPUT ((status(*)(handle, const char *, handle))table[136])
#define BIND_OUTPUT_TO_DEVICE ((status(*)(handle, const char *, handle))table[138])
#define BOUND_OUTPUTS ((status(*)(handle, handle, handle **, size_t *))table[140])

enum { LOG_ERRORS = 3, SEQUENTIAL = 0, DEVICE_ALLOCATOR = 0, DEFAULT_MEMORY = 0 };

static const struct {
    int theirs;
    md_type ours;
} ELEMENTS[] = {
    {1, MD_FLOAT32}, {10, MD_FLOAT16}, {11, MD_FLOAT64}, {3, MD_INT8},  {2, MD_UINT8},   {5, MD_INT16},
    {4, MD_UINT16},  {6, MD_INT32},    {12, MD_UINT32},  {7, MD_INT64}, {13, MD_UINT64}, {9, MD_BOOL},
};

static const function *table;
static handle environment, allocator, memory;

typedef struct {
    handle session, options, binding;
    handle *inputs; /* values over copies of what was given */
    void **copies;
} state;

/* 1, or 0 with what the runtime says. */
static int fine(status answer) {
    if (!answer) return 1;
    const char *message = ERROR_MESSAGE(answer);
    md_fail("%.*s", (int)strcspn(message, "\r\n"), message);
    RELEASE_STATUS(answer);
    return 0;
}

static int type_and_shape(handle info, int *element, size_t *rank, int64_t dims[MD_MAX_RANK]) {
    if (!fine(ELEMENT_TYPE(info, element)) || !fine(RANK(info, rank))) return 0;
    if (*rank > MD_MAX_RANK) return md_fail("a tensor has rank %zu", *rank);
    return fine(DIMENSIONS(info, dims, *rank));
}

static int declare(const char *name, handle type, md_tensors *into) {
    handle info = NULL;
    int element = 0;
    size_t rank = 0;
    int64_t dims[MD_MAX_RANK];
    if (!fine(AS_TENSOR_TYPE(type, &info))) return 0;
    if (!info) return md_fail("%s is no tensor", name);
    if (!type_and_shape(info, &element, &rank, dims)) return 0;
    md_type ours = MD_TYPES;
    for (size_t i = 0; i < sizeof ELEMENTS / sizeof *ELEMENTS; i++)
        if (ELEMENTS[i].theirs == element) ours = ELEMENTS[i].ours;
    if (ours == MD_TYPES) return md_fail("%s is of element type %d", name, element);
    return md_add(into, name, ours, (int)rank, dims) ? 1 : md_fail("no memory");
}

static int declare_all(md_model *model) {
    state *own = model->state;
    size_t counts[2] = {0, 0};
    if (!fine(INPUT_COUNT(own->session, &counts[0])) || !fine(OUTPUT_COUNT(own->session, &counts[1]))) return 0;
    for (int out = 0; out < 2; out++) {
        for (size_t i = 0; i < counts[out]; i++) {
            char *name = NULL;
            handle type = NULL;
            int whole = fine((out ? OUTPUT_NAME : INPUT_NAME)(own->session, i, allocator, &name))
                        && fine((out ? OUTPUT_TYPE : INPUT_TYPE)(own->session, i, &type))
                        && declare(name, type, out ? &model->outputs : &model->inputs);
            if (type) RELEASE_TYPE(type);
            if (name) fine(ALLOCATOR_FREE(allocator, name));
            if (!whole) return 0;
        }
    }
    return 1;
}

static int bind(md_model *model, const md_tensors *given) {
    state *own = model->state;
    if (!fine(CREATE_BINDING(own->session, &own->binding))) return 0;
    for (size_t i = 0; i < model->inputs.count; i++) {
        const md_tensor *value = md_find(given, model->inputs.items[i].name);
        size_t bytes = md_tensor_bytes(value);
        int element = 0;
        for (size_t e = 0; e < sizeof ELEMENTS / sizeof *ELEMENTS; e++)
            if (ELEMENTS[e].ours == value->type) element = ELEMENTS[e].theirs;
        own->copies[i] = malloc(bytes ? bytes : 1);
        if (!own->copies[i]) return md_fail("no memory for %s", value->name);
        memcpy(own->copies[i], value->data, bytes);
        if (!fine(CREATE_TENSOR(memory, own->copies[i], bytes, value->dims, (size_t)value->rank, element,
                                &own->inputs[i]))
            || !fine(BIND_INPUT(own->binding, value->name, own->inputs[i])))
            return 0;
    }
    for (size_t i = 0; i < model->outputs.count; i++)
        if (!fine(BIND_OUTPUT_TO_DEVICE(own->binding, model->outputs.items[i].name, memory))) return 0;
    return 1;
}

static int run(md_model *model) {
    state *own = model->state;
    return fine(RUN_WITH_BINDING(own->session, NULL, own->binding));
}

static int read_output(handle value, md_tensor *output) {
    handle info = NULL;
    int element = 0;
    size_t rank = 0;
    void *data = NULL;
    if (!fine(TENSOR_TYPE(value, &info))) return 0;
    int whole = type_and_shape(info, &element, &rank, output->dims) && fine(TENSOR_DATA(value, &data));
    RELEASE_TENSOR_TYPE(info);
    if (!whole) return 0;
    output->rank = (int)rank;
    size_t bytes = md_tensor_bytes(output);
    void *copy = realloc(output->data, bytes ? bytes : 1);
    if (!copy) return md_fail("no memory for %s", output->name);
    output->data = memcpy(copy, data, bytes);
    return 1;
}

static int read_outputs(md_model *model) {
    state *own = model->state;
    handle *values = NULL;
    size_t count = 0;
    if (!fine(BOUND_OUTPUTS(own->binding, allocator, &values, &count))) return 0;
    int whole = count == model->outputs.count ? 1 : md_fail("it gives %zu outputs", count);
    for (size_t i = 0; i < count; i++) {
        whole = whole && read_output(values[i], &model->outputs.items[i]);
        RELEASE_VALUE(values[i]);
    }
    if (values) fine(ALLOCATOR_FREE(allocator, values));
    return whole;
}

static void close_model(md_model *model) {
    state *own = model->state;
    if (own->binding) RELEASE_BINDING(own->binding);
    for (size_t i = 0; own->inputs && i < model->inputs.count; i++) {
        if (own->inputs[i]) RELEASE_VALUE(own->inputs[i]);
        if (own->copies) free(own->copies[i]);
    }
    if (own->session) RELEASE_SESSION(own->session);
    if (own->options) RELEASE_OPTIONS(own->options);
    free(own->inputs);
    free(own->copies);
    free(own);
    md_free_model(model);
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
    model->signature = md_copy(signature ? signature : "main");
    snprintf(model->backend, sizeof model->backend, "CPUExecutionProvider");
    if (fine(CREATE_OPTIONS(&own->options)) && fine(SET_INTRA_THREADS(own->options, threads))
        && fine(SET_INTER_THREADS(own->options, 1)) && fine(SET_EXECUTION_MODE(own->options, SEQUENTIAL))
        && fine(CREATE_SESSION(environment, path, own->options, &own->session)) && declare_all(model)) {
        own->inputs = calloc(model->inputs.count + 1, sizeof(handle));
        own->copies = calloc(model->inputs.count + 1, sizeof(void *));
        if (own->inputs && own->copies) return model;
        md_fail("no memory");
    }
    close_model(model);
    return NULL;
}

static int signatures(const char *path, char ***names, size_t *count) {
    md_model *model = load(path, NULL, 1);
    if (!model) return 0;
    close_model(model);
    *names = calloc(1, sizeof **names);
    if (!*names) return md_fail("no memory");
    (*names)[0] = md_copy("main");
    *count = 1;
    return 1;
}

const md_runtime *md_open_onnxruntime(const char *library) {
    static md_runtime runtime = {.name = "onnxruntime", .load = load, .signatures = signatures};
    void *opened = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    void *found = opened ? dlsym(opened, "OrtGetApiBase") : NULL;
    if (!found) {
        const char *why = dlerror();
        md_fail("%s", why ? why : "it has no OrtGetApiBase");
        return NULL;
    }
    const api_base *(*base)(void);
    memcpy(&base, &found, sizeof found);
    table = base()->table(API_VERSION);
    if (!table) {
        md_fail("%s is onnxruntime %s; give 1.8 or newer", library, base()->version());
        return NULL;
    }
    snprintf(runtime.version, sizeof runtime.version, "%s", base()->version());
    if (fine(CREATE_ENV(LOG_ERRORS, "mobiledistill", &environment)) && fine(ALLOCATOR(&allocator))
        && fine(CREATE_CPU_MEMORY(DEVICE_ALLOCATOR, DEFAULT_MEMORY, &memory)))
        return &runtime;
    return NULL;
}
