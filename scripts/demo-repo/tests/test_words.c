#include <stdio.h>
#include <string.h>

#include "words.h"

static int failures;

static void check(const char *what, int ok)
{
    printf("%s  %s\n", ok ? "ok    " : "FAILED", what);
    failures += !ok;
}

static int longest_is(const char *text, const char *expected)
{
    size_t n;
    const char *word = words_longest(text, &n);
    return word && n == strlen(expected) && memcmp(word, expected, n) == 0;
}

int main(void)
{
    size_t n;
    check("an empty text has no words", words_count("") == 0 && !words_longest("", &n) && n == 0);
    check("blanks separate words", words_count("  one two   three ") == 3);
    check("tabs and newlines separate words", words_count("one\ttwo\nthree") == 3);
    check("the longest word is found", longest_is("a longer word", "longer"));
    check("of equal words the first is the longest", longest_is("one two", "one"));
    printf("%d failed\n", failures);
    return failures > 0;
}
