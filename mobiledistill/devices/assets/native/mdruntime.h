/* One signature of one model file, loaded by a runtime that lies in a shared library. */
#ifndef MDRUNTIME_H
#define MDRUNTIME_H

#include "mdtensors.h"

enum { MD_LINE = 512 };

typedef struct md_model md_model;

/* What a runtime answers. Functions that return int give 1, or 0 with a line for people in md_error. */
struct md_model {
    char *signature;
    md_tensors inputs;  /* as declared: -1 where a length is open, no data */
    md_tensors outputs; /* after md_model.read: shapes and values */
    char backend[128];  /* what computes, as far as the runtime tells */
    void *state;

    int (*bind)(md_model *model, const md_tensors *given); /* puts inputs where the runtime reads them */
    int (*run)(md_model *model);                           /* once, on these inputs */
    int (*read)(md_model *model);                          /* copies the outputs of the last run */
    void (*close)(md_model *model);
};

typedef struct {
    const char *name; /* "LiteRT" */
    char version[32]; /* "" where the library does not tell */
    md_model *(*load)(const char *path, const char *signature, int threads); /* NULL: see md_error */
    int (*signatures)(const char *path, char ***names, size_t *count);
} md_runtime;

/* Opens a library for good; NULL: see md_error. */
const md_runtime *md_open_litert(const char *library);
const md_runtime *md_open_onnxruntime(const char *library);

extern char md_error[MD_LINE];
extern int md_refused; /* 1: what was given does not fit, and md_error says what would; 0: something failed */

/* Fills md_error; returns 0. */
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
int md_fail(const char *format, ...);
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
int md_refuse(const char *format, ...);

char *md_copy(const char *text);

/* Adds a tensor with a copy of the name; NULL where memory is short. */
md_tensor *md_add(md_tensors *tensors, const char *name, md_type type, int rank, const int64_t *dims);

/* Which of several signatures is meant: its index, or -1 with md_error. */
long md_choose(char *const *names, size_t count, const char *asked);

void md_free_names(char **names, size_t count);
void md_free_model(md_model *model);

#endif
