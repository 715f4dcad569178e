#include "mdtensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
} TYPES[MD_TYPES] = {
    [MD_FLOAT32] = {"F32", 4}, [MD_FLOAT16] = {"F16", 2}, [MD_FLOAT64] = {"F64", 8}, [MD_INT8] = {"I8", 1},
    [MD_UINT8] = {"U8", 1},    [MD_INT16] = {"I16", 2},   [MD_UINT16] = {"U16", 2},  [MD_INT32] = {"I32", 4},
    [MD_UINT32] = {"U32", 4},  [MD_INT64] = {"I64", 8},   [MD_UINT64] = {"U64", 8},  [MD_BOOL] = {"BOOL", 1},
};

static const size_t LARGEST_FILE = (size_t)1 << 30;
enum { LARGEST_HEADER = 1 << 20 };

const char *md_type_name(md_type type) { return type < MD_TYPES ? TYPES[type].name : "none"; }

size_t md_type_bytes(md_type type) { return type < MD_TYPES ? TYPES[type].bytes : 0; }

size_t md_tensor_bytes(const md_tensor *tensor) {
    size_t bytes = md_type_bytes(tensor->type);
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->dims[i] < 0 || (uint64_t)tensor->dims[i] > LARGEST_FILE) return 0;
        size_t length = (size_t)tensor->dims[i];
        if (length && bytes > LARGEST_FILE / length) return 0;
        bytes *= length;
    }
    return bytes;
}

const md_tensor *md_find(const md_tensors *tensors, const char *name) {
    for (size_t i = 0; i < tensors->count; i++)
        if (strcmp(tensors->items[i].name, name) == 0) return &tensors->items[i];
    return NULL;
}

void md_release(md_tensors *tensors) {
    for (size_t i = 0; i < tensors->count; i++) {
        free(tensors->items[i].name);
        free(tensors->items[i].data);
    }
    free(tensors->items);
    *tensors = (md_tensors){0};
}

/* -- the header --------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *at, *end;
} text;

static void skip_spaces(text *json) {
    while (json->at < json->end && strchr(" \t\r\n", *json->at)) json->at++;
}

static int take(text *json, char wanted) {
    skip_spaces(json);
    if (json->at == json->end || *json->at != wanted) return 0;
    json->at++;
    return 1;
}

/* A string without escapes but \" and \\ and \/, which names do not need; NULL otherwise. */
static char *take_string(text *json) {
    if (!take(json, '"')) return NULL;
    char *value = malloc((size_t)(json->end - json->at) + 1);
    size_t length = 0;
    while (value && json->at < json->end && *json->at != '"') {
        char next = *json->at++;
        if (next == '\\') {
            if (json->at == json->end || !strchr("\"\\/", *json->at)) break;
            next = *json->at++;
        }
        if (next == 0) break;
        value[length++] = next;
    }
    if (value && take(json, '"')) {
        value[length] = 0;
        return value;
    }
    free(value);
    return NULL;
}

static int take_number(text *json, int64_t *value) {
    skip_spaces(json);
    int digits = 0;
    for (*value = 0; json->at < json->end && *json->at >= '0' && *json->at <= '9'; json->at++, digits++) {
        if (*value > (INT64_MAX - 9) / 10) return 0;
        *value = 10 * *value + (*json->at - '0');
    }
    return digits > 0;
}

static int take_numbers(text *json, int64_t *values, int most, int *count) {
    *count = 0;
    if (!take(json, '[')) return 0;
    if (take(json, ']')) return 1;
    do {
        if (*count == most || !take_number(json, &values[(*count)++])) return 0;
    } while (take(json, ','));
    return take(json, ']');
}

static int take_type(text *json, md_type *type) {
    char *name = take_string(json);
    if (!name) return 0;
    for (*type = 0; *type < MD_TYPES && strcmp(name, TYPES[*type].name) != 0; (*type)++) continue;
    free(name);
    return *type < MD_TYPES;
}

/* {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}, in any order. */
static int take_tensor(text *json, md_tensor *tensor, int64_t offsets[2]) {
    int known = 0, pair = 0;
    if (!take(json, '{')) return 0;
    do {
        char *key = take_string(json);
        int right = 0;
        if (key && take(json, ':')) {
            if (strcmp(key, "dtype") == 0) right = take_type(json, &tensor->type) ? 1 : 0;
            if (strcmp(key, "shape") == 0) right = take_numbers(json, tensor->dims, MD_MAX_RANK, &tensor->rank) ? 2 : 0;
            if (strcmp(key, "data_offsets") == 0) right = take_numbers(json, offsets, 2, &pair) && pair == 2 ? 4 : 0;
        }
        free(key);
        if (!right || (known & right)) return 0;
        known |= right;
    } while (take(json, ','));
    return known == 7 && take(json, '}');
}

/* {"key": "value"}: what others noted down. */
static int skip_metadata(text *json) {
    if (!take(json, '{')) return 0;
    if (take(json, '}')) return 1;
    do {
        char *key = take_string(json), *value = key && take(json, ':') ? take_string(json) : NULL;
        int right = value != NULL;
        free(key);
        free(value);
        if (!right) return 0;
    } while (take(json, ','));
    return take(json, '}');
}

static int grow(md_tensors *found) {
    md_tensor *larger = realloc(found->items, (found->count + 1) * sizeof *larger);
    if (!larger) return 0;
    found->items = larger;
    found->items[found->count++] = (md_tensor){0};
    return 1;
}

static int take_header(text json, const uint8_t *values, size_t values_bytes, md_tensors *found) {
    if (!take(&json, '{')) return 0;
    skip_spaces(&json);
    if (take(&json, '}')) return 1;
    do {
        char *name = take_string(&json);
        if (!name || !take(&json, ':')) {
            free(name);
            return 0;
        }
        if (strcmp(name, "__metadata__") == 0) {
            free(name);
            if (!skip_metadata(&json)) return 0;
            continue;
        }
        int64_t offsets[2] = {0, 0};
        if (md_find(found, name) || !grow(found)) {
            free(name);
            return 0;
        }
        md_tensor *tensor = &found->items[found->count - 1];
        tensor->name = name;
        if (!take_tensor(&json, tensor, offsets)) return 0;
        size_t bytes = md_tensor_bytes(tensor);
        int64_t elements = 1;
        for (int i = 0; i < tensor->rank; i++) elements = tensor->dims[i] ? elements : 0;
        if ((elements && !bytes) || offsets[0] > offsets[1] || (uint64_t)offsets[1] > values_bytes) return 0;
        if ((uint64_t)(offsets[1] - offsets[0]) != bytes) return 0;
        tensor->data = malloc(bytes ? bytes : 1);
        if (!tensor->data) return 0;
        memcpy(tensor->data, values + offsets[0], bytes);
    } while (take(&json, ','));
    return take(&json, '}');
}

static uint8_t *read_whole(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    long end = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    uint8_t *content = NULL;
    if (end >= 0 && (unsigned long)end <= LARGEST_FILE && fseek(file, 0, SEEK_SET) == 0) {
        content = malloc((size_t)end + 1);
        *size = (size_t)end;
        if (content && fread(content, 1, *size, file) != *size) {
            free(content);
            content = NULL;
        }
    }
    fclose(file);
    return content;
}

int md_read(const char *path, md_tensors *found, char *error, size_t error_bytes) {
    *found = (md_tensors){0};
    size_t size = 0;
    uint8_t *content = read_whole(path, &size);
    if (!content) {
        snprintf(error, error_bytes, "%s cannot be read", path);
        return 0;
    }
    uint64_t header = 0;
    for (size_t i = 0; size >= 8 && i < 8; i++) header |= (uint64_t)content[i] << (8 * i);
    int whole = size >= 8 && header <= LARGEST_HEADER && header <= size - 8;
    if (whole) {
        text json = {(const char *)content + 8, (const char *)content + 8 + header};
        whole = take_header(json, content + 8 + header, size - 8 - (size_t)header, found);
    }
    free(content);
    if (whole) return 1;
    md_release(found);
    snprintf(error, error_bytes, "%s is no whole .safetensors file", path);
    return 0;
}

/* -- writing ------------------------------------------------------------------------------------------------------ */

static void put_string(FILE *file, const char *value) {
    fputc('"', file);
    for (; *value; value++) {
        if (*value == '"' || *value == '\\') fputc('\\', file);
        fputc(*value, file);
    }
    fputc('"', file);
}

static void put_header(FILE *file, const md_tensors *tensors) {
    size_t at = 0;
    fputc('{', file);
    for (size_t i = 0; i < tensors->count; i++) {
        const md_tensor *tensor = &tensors->items[i];
        size_t bytes = md_tensor_bytes(tensor);
        if (i) fputc(',', file);
        put_string(file, tensor->name);
        fprintf(file, ":{\"dtype\":\"%s\",\"shape\":[", md_type_name(tensor->type));
        for (int d = 0; d < tensor->rank; d++) fprintf(file, "%s%lld", d ? "," : "", (long long)tensor->dims[d]);
        fprintf(file, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes);
        at += bytes;
    }
    fputc('}', file);
}

int md_write(const char *path, const md_tensors *tensors, char *error, size_t error_bytes) {
    FILE *file = fopen(path, "wb");
    int whole = file != NULL;
    if (whole) {
        uint8_t length[8] = {0};
        whole = fwrite(length, 1, 8, file) == 8; /* not known yet */
        put_header(file, tensors);
        long end = ftell(file);
        for (; end > 0 && end % 8; end++) fputc(' ', file);
        for (size_t i = 0; whole && i < tensors->count; i++) {
            size_t bytes = md_tensor_bytes(&tensors->items[i]);
            whole = fwrite(tensors->items[i].data, 1, bytes, file) == bytes;
        }
        for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)(end - 8) >> (8 * i));
        whole = whole && end > 0 && fseek(file, 0, SEEK_SET) == 0 && fwrite(length, 1, 8, file) == 8;
        whole = !ferror(file) && whole;
        whole = fclose(file) == 0 && whole;
    }
    if (!whole) snprintf(error, error_bytes, "%s cannot be written", path);
    return whole;
}
