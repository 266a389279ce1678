/* Keys of clients. They are compared by their hashes, so neither time nor memory tells how much of a guess
 * was right. */
#include "sandboxd/base/clients.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sandboxd/base/util.h"

#define FILE_MAX        (4 * 1024 * 1024)
#define LIMIT_MAX       1e9
#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

static void hash_key(const char *key, char out[SBX_SHA256_HEX + 1])
{
    sbx_sha256_hex(key, strlen(key), out);
}

static int parse_hash(const char *text, char out[SBX_SHA256_HEX + 1])
{
    if (strlen(text) != SBX_SHA256_HEX)
        return -1;
    for (size_t i = 0; i <= SBX_SHA256_HEX; i++) {
        if (text[i] && !isxdigit((unsigned char)text[i]))
            return -1;
        out[i] = (char)tolower((unsigned char)text[i]);
    }
    return 0;
}

/* NAME=NUMBER. Returns what is wrong, NULL for nothing. */
static const char *parse_limit(char *text, struct sbx_client *client)
{
    char *number = strchr(text, '=');
    if (!number)
        return "a limit must be NAME=NUMBER";
    *number++ = '\0';
    char *end;
    errno = 0;
    double value = strtod(number, &end);
    if (end == number || *end || errno || !isfinite(value) || value <= 0 || value > LIMIT_MAX)
        return "a limit must be a number above 0";
    bool whole = floor(value) == value;
    if (strcmp(text, "rate") == 0)
        client->rate = value;
    else if (strcmp(text, "concurrent") == 0 && whole)
        client->concurrent = (int64_t)value;
    else if (strcmp(text, "sessions") == 0 && whole)
        client->sessions = (int64_t)value;
    else
        return whole ? "limits are rate, concurrent and sessions" : "this limit must be a whole number";
    return NULL;
}

static const char *parse_line(char *line, struct sbx_client *client)
{
    char *name = strsep(&line, ":");
    char *hash = strsep(&line, ":");
    size_t n = strlen(name);
    if (n == 0 || n > SBX_CLIENT_NAME_MAX || name[strspn(name, NAME_CHARACTERS)])
        return "the name must be 1 to 63 letters, digits and . _ -";
    if (!hash || parse_hash(hash, client->hash) < 0)
        return "the hash of the key must be 64 hexadecimal digits";
    memcpy(client->name, name, n + 1);
    const char *wrong = NULL;
    char *limit;
    while (!wrong && (limit = strsep(&line, ",")))
        wrong = parse_limit(limit, client);
    return wrong;
}

static int add(struct sbx_clients *clients, const struct sbx_client *client, struct sbx_err *err)
{
    struct sbx_client *list = reallocarray(clients->list, clients->count + 1, sizeof(*list));
    if (!list)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for clients");
    clients->list = list;
    list[clients->count] = *client;
    for (size_t i = 0; i < clients->count; i++) { /* further keys of a client have the limits of its first */
        if (strcmp(list[i].name, client->name) == 0) {
            list[clients->count].rate = list[i].rate;
            list[clients->count].concurrent = list[i].concurrent;
            list[clients->count].sessions = list[i].sessions;
            break;
        }
    }
    clients->count++;
    return 0;
}

static bool has_hash(const struct sbx_clients *clients, const char *hash)
{
    for (size_t i = 0; i < clients->count; i++) {
        if (strcmp(clients->list[i].hash, hash) == 0)
            return true;
    }
    return false;
}

static int load_file(struct sbx_clients *clients, const char *path, struct sbx_err *err)
{
    SBX_AUTO_FREE char *text = NULL;
    size_t size;
    if (sbx_read_file(path, FILE_MAX, &text, &size, err) < 0) {
        err->kind = SBX_ERR_INVALID;
        return -1;
    }
    if (strlen(text) != size)
        return sbx_err_set(err, SBX_ERR_INVALID, "%s: not a text file", path);
    char *rest = text, *line;
    for (int number = 1; (line = strsep(&rest, "\n")); number++) {
        struct sbx_client client = {.name = ""};
        line += strspn(line, " \t");
        for (size_t n = strlen(line); n > 0 && isspace((unsigned char)line[n - 1]); n--)
            line[n - 1] = '\0';
        if (line[0] == '\0' || line[0] == '#')
            continue;
        const char *wrong = parse_line(line, &client);
        if (!wrong && has_hash(clients, client.hash))
            wrong = "this key is another line's already";
        if (wrong)
            return sbx_err_set(err, SBX_ERR_INVALID, "%s line %d: %s", path, number, wrong);
        if (add(clients, &client, err) < 0)
            return -1;
    }
    return 0;
}

int sbx_clients_load(struct sbx_clients *clients, const char *key, const char *path, struct sbx_err *err)
{
    struct sbx_clients loaded = {NULL, 0};
    int rc = 0;
    if (key) {
        struct sbx_client client = {.name = SBX_CLIENT_DEFAULT};
        hash_key(key, client.hash);
        rc = add(&loaded, &client, err);
    }
    if (rc == 0 && path)
        rc = load_file(&loaded, path, err);
    if (rc == 0 && loaded.count == 0)
        rc = sbx_err_set(err, SBX_ERR_INVALID, "%s: holds no client", path ? path : "");
    if (rc == 0)
        *clients = loaded;
    else
        sbx_clients_done(&loaded);
    return rc;
}

void sbx_clients_done(struct sbx_clients *clients)
{
    free(clients->list);
    *clients = (struct sbx_clients){NULL, 0};
}

/* In time that depends on neither. */
static bool same_hash(const char *a, const char *b)
{
    volatile unsigned char difference = 0; /* volatile: no early way out may be made of the loop */
    for (size_t i = 0; i < SBX_SHA256_HEX; i++)
        difference |= (unsigned char)(a[i] ^ b[i]);
    return difference == 0;
}

const struct sbx_client *sbx_clients_find(const struct sbx_clients *clients, const char *key)
{
    char hash[SBX_SHA256_HEX + 1];
    const struct sbx_client *found = NULL;
    hash_key(key, hash);
    for (size_t i = 0; i < clients->count; i++) {
        if (same_hash(hash, clients->list[i].hash))
            found = &clients->list[i];
    }
    return found;
}
