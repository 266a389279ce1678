#include "sandboxd/base/pool_list.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMAGE_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@"

/* A piece of text of a length. */
struct piece {
    const char *at;
    size_t n;
};

/* The part of *rest before the next separator, without blanks around it; *rest is moved behind it. */
static struct piece cut(struct piece *rest, char separator)
{
    const char *end = memchr(rest->at, separator, rest->n);
    struct piece part = {rest->at, end ? (size_t)(end - rest->at) : rest->n};
    size_t used = end ? part.n + 1 : part.n;
    *rest = (struct piece){rest->at + used, rest->n - used};
    while (part.n > 0 && *part.at == ' ')
        part = (struct piece){part.at + 1, part.n - 1};
    while (part.n > 0 && part.at[part.n - 1] == ' ')
        part.n--;
    return part;
}

static bool is(struct piece piece, const char *word)
{
    return piece.n == strlen(word) && memcmp(piece.at, word, piece.n) == 0;
}

static int read_image(struct piece piece, struct sbx_pool_want *want)
{
    if (piece.n == 0 || piece.n >= sizeof(want->image) || !isalnum((unsigned char)*piece.at))
        return -1;
    memcpy(want->image, piece.at, piece.n);
    want->image[piece.n] = '\0';
    return want->image[strspn(want->image, IMAGE_CHARACTERS)] == '\0' ? 0 : -1;
}

static int read_count(struct piece piece, struct sbx_pool_want *want)
{
    if (piece.n == 0 || piece.n > 3)
        return -1;
    for (size_t i = 0; i < piece.n; i++) {
        if (!isdigit((unsigned char)piece.at[i]))
            return -1;
        want->count = 10 * want->count + (piece.at[i] - '0');
    }
    return want->count >= 1 && want->count <= SBX_POOL_COUNT_MAX ? 0 : -1;
}

static int read_option(struct piece piece, struct sbx_pool_want *want)
{
    bool *option = is(piece, "patch") ? &want->patch : is(piece, "network") ? &want->network : NULL;
    if (!option || *option)
        return -1;
    *option = true;
    return 0;
}

static int read_want(struct piece text, struct sbx_pool_want *want)
{
    *want = (struct sbx_pool_want){.count = 0};
    struct piece options = text;
    struct piece head = cut(&options, ';');
    bool more = head.at + head.n < text.at + text.n && memchr(text.at, ';', text.n);
    struct piece count = head;
    struct piece image = cut(&count, '=');
    if (!memchr(head.at, '=', head.n) || read_image(image, want) < 0 ||
        read_count(cut(&count, '='), want) < 0 || count.n > 0)
        return -1;
    while (more) {
        more = memchr(options.at, ';', options.n) != NULL;
        if (read_option(cut(&options, ';'), want) < 0)
            return -1;
    }
    return 0;
}

static bool same(const struct sbx_pool_want *a, const struct sbx_pool_want *b)
{
    return strcmp(a->image, b->image) == 0 && a->patch == b->patch && a->network == b->network;
}

/* Not an image but how many to keep of what is asked for. */
static bool is_automatic(const struct sbx_pool_want *want)
{
    return strcmp(want->image, "auto") == 0;
}

int sbx_pool_list_parse(const char *text, struct sbx_pool_want out[SBX_POOL_WANTS], int *ret_automatic)
{
    int n = 0;
    *ret_automatic = 0;
    struct piece rest = {text ? text : "", text ? strlen(text) : 0};
    for (bool more = rest.n > 0; more;) {
        more = memchr(rest.at, ',', rest.n) != NULL;
        struct sbx_pool_want want;
        if (read_want(cut(&rest, ','), &want) < 0)
            return -1;
        if (is_automatic(&want)) {
            if (*ret_automatic || want.patch || want.network)
                return -1;
            *ret_automatic = want.count;
            continue;
        }
        for (int i = 0; i < n; i++) {
            if (same(&out[i], &want))
                return -1;
        }
        if (n == SBX_POOL_WANTS)
            return -1;
        out[n++] = want;
    }
    return n;
}
