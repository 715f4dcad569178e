/* For benchmarks/pack_fuzz.py: archives from standard input, each after its length of four bytes, lowest first. For each
   a line: the status, the checksum and the size of the content, and the clock ticks it took in thousandths of seconds. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "mdpack.h"

static const size_t MEMORY_LIMIT = (size_t)1 << 28;

int main(void) {
    unsigned char head[4];
    while (fread(head, 1, 4, stdin) == 4) {
        size_t size = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
        uint8_t *archive = malloc(size ? size : 1); /* its own block, so that a read behind it is seen */
        if (!archive || fread(archive, 1, size, stdin) != size) return 1;
        clock_t began = clock();
        mdpack_contents found;
        mdpack_status status = mdpack_unpack(archive, size, MEMORY_LIMIT, &found);
        double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
        unsigned long long sum = 14695981039346656037u;
        for (size_t i = 0; i < found.content_bytes; i++) sum = (sum ^ found.content[i]) * 1099511628211u;
        mdpack_file file;
        for (size_t i = 0; i < found.files; i++)
            if (!mdpack_file_at(&found, i, &file) || file.data + file.data_bytes > found.content + found.content_bytes) abort();
        printf("%d %llu %zu %.3f\n", (int)status, sum, found.content_bytes, seconds);
        fflush(stdout);
        if (status == MDPACK_OK) mdpack_release(&found);
        free(archive);
    }
    return 0;
}
