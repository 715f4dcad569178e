/* Text into pieces of words and back, by a vocabulary of sentencepiece (byte-pair encoding), as sentencepiece itself does
   it: the same normalization, the same merges. C11 and its standard library, nothing else. */
#ifndef MDPIECES_H
#define MDPIECES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_pieces md_pieces;

/* A vocabulary from the bytes of a .model file, which are copied. NULL where memory is short, or the file is damaged or of
   another kind: unigrams, pieces of bytes, or a normalization without the usual treatment of spaces. */
md_pieces *md_pieces_new(const uint8_t *model, size_t bytes);
void md_pieces_free(md_pieces *pieces);

/* How many tokens there are. */
size_t md_pieces_count(const md_pieces *pieces);

/* The tokens of a text in UTF-8, without a beginning or an end; characters that have none become one unknown token a run.
   Writes the first `most`. Returns how many there are, or -1 where memory is short. */
long md_pieces_encode(const md_pieces *pieces, const char *text, size_t bytes, int32_t *found, size_t most);

/* The text of tokens in UTF-8, ended by a zero; tokens that stand for no piece of a word are left out. Writes at most
   `room` bytes, the zero among them. Returns how long the text is. */
size_t md_pieces_decode(const md_pieces *pieces, const int32_t *tokens, size_t count, char *text, size_t room);

#ifdef __cplusplus
}
#endif

#endif
