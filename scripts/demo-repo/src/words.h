#ifndef WORDS_H
#define WORDS_H

#include <stddef.h>

/* How many words does the text have? Words are separated by white space. */
size_t words_count(const char *text);

/* The longest word of the text and its length; NULL when there is none. Of several the first. */
const char *words_longest(const char *text, size_t *ret_len);

#endif
