#include "mdruntime.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char md_error[MD_LINE];
int md_refused;

static int say(int refused, const char *format, va_list values) {
    vsnprintf(md_error, sizeof md_error, format, values);
    md_refused = refused;
    return 0;
}

int md_fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    say(0, format, values);
    va_end(values);
    return 0;
}

int md_refuse(const char *format, ...) {
    va_list values;
    va_start(values, format);
    say(1, format, values);
    va_end(values);
    return 0;
}

char *md_copy(const char *text) {
    char *copy = malloc(strlen(text) + 1);
    return copy ? strcpy(copy, text) : NULL;
}

md_tensor *md_add(md_tensors *tensors, const char *name, md_type type, int rank, const int64_t *dims) {
    if (rank > MD_MAX_RANK) return NULL;
    md_tensor *larger = realloc(tensors->items, (tensors->count + 1) * sizeof *larger);
    if (!larger) return NULL;
    tensors->items = larger;
    md_tensor *added = &larger[tensors->count];
    *added = (md_tensor){.name = md_copy(name), .type = type, .rank = rank};
    if (!added->name) return NULL;
    for (int i = 0; i < rank; i++) added->dims[i] = dims[i] < 0 ? -1 : dims[i];
    tensors->count++;
    return added;
}

long md_choose(char *const *names, size_t count, const char *asked) {
    for (size_t i = 0; i < count; i++)
        if (asked && strcmp(names[i], asked) == 0) return (long)i;
    if (count == 1 && !asked) return 0;
    char held[MD_LINE / 2] = "";
    for (size_t i = 0; i < count; i++) {
        strncat(held, i ? ", " : "", sizeof held - strlen(held) - 1);
        strncat(held, names[i], sizeof held - strlen(held) - 1);
    }
    md_refuse("the file holds the signatures %s; %s", held, asked ? "none is the one asked for" : "name one");
    return -1;
}

void md_free_names(char **names, size_t count) {
    for (size_t i = 0; names && i < count; i++) free(names[i]);
    free(names);
}

void md_free_model(md_model *model) {
    if (!model) return;
    md_release(&model->inputs);
    md_release(&model->outputs);
    free(model->signature);
    free(model);
}
