#include <ctype.h>

#include "words.h"

static int is_separator(char c)
{
    return c == ' ';
}

/* The next word at or after text, NULL at the end. */
static const char *next_word(const char *text, size_t *ret_len)
{
    while (*text && is_separator(*text))
        text++;
    size_t n = 0;
    while (text[n] && !is_separator(text[n]))
        n++;
    *ret_len = n;
    return n > 0 ? text : NULL;
}

size_t words_count(const char *text)
{
    size_t count = 0, n;
    for (const char *word = text; (word = next_word(word, &n)); word += n)
        count++;
    return count;
}

const char *words_longest(const char *text, size_t *ret_len)
{
    const char *longest = NULL;
    size_t n;
    *ret_len = 0;
    for (const char *word = text; (word = next_word(word, &n)); word += n) {
        if (n > *ret_len) {
            longest = word;
            *ret_len = n;
        }
    }
    return longest;
}
