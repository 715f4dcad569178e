/* Unpacks the archives that `mobiledistill pack` writes. C11 and its standard library, nothing else. */
#ifndef MDPACK_H
#define MDPACK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    MDPACK_OK = 0,
    MDPACK_FOREIGN = 1, /* no archive */
    MDPACK_VERSION = 2, /* an archive of a newer release */
    MDPACK_DAMAGED = 3, /* damaged, cut, or followed by other bytes */
    MDPACK_MEMORY = 4   /* needs more than the limit, or than there is */
} mdpack_status;

/* What an archive holds. Release it with mdpack_release. */
typedef struct {
    uint8_t *content;     /* the file, or a folder's files one behind the other; never NULL */
    size_t content_bytes;
    int is_folder;        /* 0: one file, without a name */
    size_t files;         /* of a folder */
    const uint8_t *names; /* internal: where the folder's list begins */
    size_t names_bytes;
    uint8_t *held;        /* internal */
} mdpack_contents;

/* One file of a folder. */
typedef struct {
    const char *name;    /* UTF-8, not terminated: a path with '/' that stays below the folder */
    size_t name_bytes;   /* a name that ends in '/' is an empty folder */
    const uint8_t *data;
    size_t data_bytes;
} mdpack_file;

/* Unpacks an archive that lies in memory. It takes at most memory_limit bytes beyond the archive: about 20 MB and
   three times the content always suffice. On any other result than MDPACK_OK nothing is held. */
mdpack_status mdpack_unpack(const uint8_t *archive, size_t archive_bytes, size_t memory_limit, mdpack_contents *found);

/* The folder's file number `index`, from 0 to files - 1. Returns 1, or 0 where there is none. */
int mdpack_file_at(const mdpack_contents *found, size_t index, mdpack_file *file);

void mdpack_release(mdpack_contents *found);

/* A line for people. */
const char *mdpack_message(mdpack_status status);

#ifdef __cplusplus
}
#endif

#endif
