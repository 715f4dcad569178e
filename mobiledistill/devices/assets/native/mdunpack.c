/* mdunpack ARCHIVE TARGET: writes the file or folder that an archive holds. For systems with POSIX's mkdir. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mdpack.h"

static const size_t MEMORY_LIMIT = (size_t)1 << 30;
enum { LONGEST_PATH = 8192 };

static uint8_t *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    uint8_t *content = NULL;
    size_t room = 0, got = 0;
    for (;;) {
        if (got == room) {
            if (room > SIZE_MAX / 2) break;
            room = room ? 2 * room : 65536;
            uint8_t *larger = realloc(content, room);
            if (!larger) break;
            content = larger;
        }
        size_t part = fread(content + got, 1, room - got, file);
        got += part;
        if (part == 0) {
            if (ferror(file)) break;
            fclose(file);
            *size = got;
            return content;
        }
    }
    fclose(file);
    free(content);
    return NULL;
}

static int write_file(const char *path, const char *mode, const uint8_t *content, size_t size) {
    FILE *file = fopen(path, mode);
    if (!file) return 0;
    int whole = fwrite(content, 1, size, file) == size;
    return fclose(file) == 0 && whole;
}

/* Makes the folders that lead to a path. */
static int make_folders(char *path, size_t from) {
    for (size_t i = from; path[i]; i++) {
        if (path[i] != '/') continue;
        path[i] = 0;
        int made = mkdir(path, 0777) == 0 || errno == EEXIST;
        path[i] = '/';
        if (!made) return 0;
    }
    return 1;
}

static int write_folder(const char *target, const mdpack_contents *found) {
    static char path[LONGEST_PATH];
    size_t length = strlen(target);
    if (mkdir(target, 0777) != 0) return 0; /* a folder that is there already is not written into */
    for (size_t i = 0; i < found->files; i++) {
        mdpack_file file;
        if (!mdpack_file_at(found, i, &file) || length + file.name_bytes + 2 > LONGEST_PATH) return 0;
        memcpy(path, target, length);
        path[length] = '/';
        memcpy(path + length + 1, file.name, file.name_bytes);
        path[length + 1 + file.name_bytes] = 0;
        if (!make_folders(path, length + 1)) return 0;
        if (file.name[file.name_bytes - 1] == '/') continue;
        if (!write_file(path, "wbx", file.data, file.data_bytes)) return 0;
    }
    return 1;
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: mdunpack ARCHIVE TARGET\n");
        return 2;
    }
    size_t size = 0;
    uint8_t *archive = read_file(arguments[1], &size);
    if (!archive) {
        fprintf(stderr, "mdunpack: %s cannot be read\n", arguments[1]);
        return 2;
    }
    mdpack_contents found;
    mdpack_status status = mdpack_unpack(archive, size, MEMORY_LIMIT, &found);
    free(archive);
    if (status != MDPACK_OK) {
        fprintf(stderr, "mdunpack: %s: %s\n", arguments[1], mdpack_message(status));
        return 2;
    }
    int written = found.is_folder ? write_folder(arguments[2], &found)
                                  : write_file(arguments[2], "wb", found.content, found.content_bytes);
    mdpack_release(&found);
    if (!written) fprintf(stderr, "mdunpack: %s cannot be written\n", arguments[2]);
    return written ? 0 : 2;
}
