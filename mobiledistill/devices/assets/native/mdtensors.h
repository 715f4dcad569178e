/* Tensors by name, in and out of .safetensors files: a JSON header, then the values, little-endian. */
#ifndef MDTENSORS_H
#define MDTENSORS_H

#include <stddef.h>
#include <stdint.h>

enum { MD_MAX_RANK = 8 };

typedef enum {
    MD_FLOAT32,
    MD_FLOAT16,
    MD_FLOAT64,
    MD_INT8,
    MD_UINT8,
    MD_INT16,
    MD_UINT16,
    MD_INT32,
    MD_UINT32,
    MD_INT64,
    MD_UINT64,
    MD_BOOL,
    MD_TYPES /* how many there are; also: none of them */
} md_type;

typedef struct {
    char *name;
    md_type type;
    int rank;
    int64_t dims[MD_MAX_RANK]; /* -1: any length */
    void *data;                /* NULL: only declared */
} md_tensor;

typedef struct {
    md_tensor *items;
    size_t count;
} md_tensors;

/* As .safetensors files spell it: "F32". */
const char *md_type_name(md_type type);
size_t md_type_bytes(md_type type);

/* Of all values; 0 where a length is open or the product does not fit. */
size_t md_tensor_bytes(const md_tensor *tensor);

/* NULL where there is none of this name. */
const md_tensor *md_find(const md_tensors *tensors, const char *name);

/* 1, or 0 with a line for people in `error`. What was read is released with md_release. */
int md_read(const char *path, md_tensors *found, char *error, size_t error_bytes);
int md_write(const char *path, const md_tensors *tensors, char *error, size_t error_bytes);
void md_release(md_tensors *tensors);

#endif
