/*
 * Credentials for registries, as `docker login` writes them: {"auths": {"host:port": {"auth": "…"}}}. Every
 * entry is turned into the header that dockerd wants when the file is read, so that a pull only has to look
 * it up. No message quotes a value: the file is one secret.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "docker/internal.h"
#include "sandboxd/base/json.h"
#include "sandboxd/base/util.h"

#define FILE_MAX   (1024 * 1024)
#define HEADER_MAX (64 * 1024)
#define HUB_KEY    "https://index.docker.io/v1/"

struct entry {
    char *key;    /* as it is written in the file */
    char *header; /* value of X-Registry-Auth */
};

struct sbx_docker_credentials {
    struct entry *entries;
    size_t count;
    bool helpers;
};

/* What an entry says; empty strings for what it does not. */
struct login {
    const char *username;
    const char *password;
    const char *identity_token;
    const char *registry_token;
};

static int bad(const char *path, const char *key, const char *what, struct sbx_err *err)
{
    char shown[101];
    snprintf(shown, sizeof(shown), "%s", key);
    sbx_make_printable(shown);
    return sbx_err_set(err, SBX_ERR_INVALID, "%s: the entry for \"%s\" %s", path, shown, what);
}

/* A text of an entry, "" when it is missing. NULL when it is of another type. */
static const char *text_of(struct json_object *entry, const char *name)
{
    struct json_object *value = NULL;
    if (!json_object_object_get_ex(entry, name, &value) || !value)
        return "";
    if (!json_object_is_type(value, json_type_string))
        return NULL;
    const char *text = json_object_get_string(value);
    return strlen(text) == (size_t)json_object_get_string_len(value) ? text : NULL;
}

/* "auth" is base64 of "username:password". The result (heap) holds both, the password behind the colon that
 * became a NUL; docker pads passwords with NULs. NULL when it is something else. */
static char *decode_auth(const char *auth, struct login *login)
{
    size_t n = strlen(auth);
    char *text = malloc(n / 4 * 3 + 1);
    ssize_t len = text ? sbx_base64_decode(auth, n, text) : -1;
    char *colon = len > 0 ? memchr(text, ':', (size_t)len) : NULL;
    if (!colon || memchr(text, '\0', (size_t)(colon - text))) {
        free(text);
        return NULL;
    }
    text[len] = '\0';
    *colon = '\0';
    login->username = text;
    login->password = colon + 1;
    return text;
}

/* dockerd takes base64 of the URL kind, padded, and treats anything else as no credentials at all. */
static char *encode_header(const struct sbx_buf *json)
{
    char *header = malloc((json->len + 2) / 3 * 4 + 1);
    if (!header)
        return NULL;
    sbx_base64_encode(json->data, json->len, header);
    for (char *at = header; *at; at++)
        *at = (char)(*at == '+' ? '-' : *at == '/' ? '_' : *at);
    return header;
}

/* NULL when there is no room for it. */
static char *make_header(const char *key, const struct login *login)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct json_object *obj = json_object_new_object();
    struct sbx_buf json;
    char *header = NULL;
    bool token = login->identity_token[0] != '\0';
    sbx_buf_init(&json, HEADER_MAX);
    if (obj && sbx_docker_put_string(obj, "username", login->username) &&
        (token || sbx_docker_put_string(obj, "password", login->password)) &&
        (!token || sbx_docker_put_string(obj, "identitytoken", login->identity_token)) &&
        (!login->registry_token[0] || sbx_docker_put_string(obj, "registrytoken", login->registry_token)) &&
        sbx_docker_put_string(obj, "serveraddress", key) && sbx_json_print(obj, &json, &err) == 0)
        header = encode_header(&json);
    json_object_put(obj);
    sbx_buf_done(&json);
    return header;
}

static int take_entry(struct sbx_docker_credentials *credentials, const char *path, const char *key,
                      struct json_object *value, struct sbx_err *err)
{
    if (!json_object_is_type(value, json_type_object))
        return bad(path, key, "is not an object", err);
    const char *auth = text_of(value, "auth");
    struct login login = {text_of(value, "username"), text_of(value, "password"),
                          text_of(value, "identitytoken"), text_of(value, "registrytoken")};
    SBX_AUTO_FREE char *decoded = NULL;
    if (!auth || !login.username || !login.password || !login.identity_token || !login.registry_token)
        return bad(path, key, "has a field that is not a text", err);
    if (auth[0] && !(decoded = decode_auth(auth, &login)))
        return bad(path, key, "has an \"auth\" that is not base64 of username:password", err);
    if (!login.username[0] && !login.identity_token[0] && !login.registry_token[0])
        return 0; /* docker leaves such a note where a helper keeps the credentials */
    struct entry *entry = &credentials->entries[credentials->count];
    entry->key = strdup(key);
    entry->header = make_header(key, &login);
    if (!entry->key || !entry->header) {
        free(entry->key);
        free(entry->header);
        return bad(path, key, "is too large", err);
    }
    credentials->count++;
    return 0;
}

static bool names_helpers(struct json_object *file)
{
    const char *store = sbx_json_str_at(file, "credsStore", "");
    struct json_object *helpers = sbx_json_at(file, "credHelpers");
    return store[0] ||
           (json_object_is_type(helpers, json_type_object) && json_object_object_length(helpers) > 0);
}

static int take_file(struct sbx_docker_credentials *credentials, const char *path, struct json_object *file,
                     struct sbx_err *err)
{
    if (!json_object_is_type(file, json_type_object))
        return sbx_err_set(err, SBX_ERR_INVALID, "%s: a JSON object was expected", path);
    credentials->helpers = names_helpers(file);
    struct json_object *auths = sbx_json_at(file, "auths");
    if (!auths)
        return 0;
    if (!json_object_is_type(auths, json_type_object))
        return sbx_err_set(err, SBX_ERR_INVALID, "%s: \"auths\" is not an object", path);
    credentials->entries =
        calloc((size_t)json_object_object_length(auths) + 1, sizeof(*credentials->entries));
    if (!credentials->entries)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for credentials");
    struct json_object_iter it;
    json_object_object_foreachC(auths, it)
    {
        if (take_entry(credentials, path, it.key, it.val, err) < 0)
            return -1;
    }
    return 0;
}

struct sbx_docker_credentials *sbx_docker_credentials_load(const char *path, struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    SBX_AUTO_FREE char *text = NULL;
    size_t n = 0;
    bool ok = false;
    if (sbx_read_file(path, FILE_MAX, &text, &n, &failure) < 0) {
        sbx_err_set(err, SBX_ERR_INVALID, "%s", failure.msg);
        return NULL;
    }
    struct json_object *file = sbx_json_parse(text, n, &ok, &failure);
    if (!ok) {
        sbx_err_set(err, SBX_ERR_INVALID, "%s: %s", path, failure.msg);
        return NULL;
    }
    struct sbx_docker_credentials *credentials = calloc(1, sizeof(*credentials));
    int rc = credentials ? take_file(credentials, path, file, err)
                         : sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for credentials");
    json_object_put(file);
    if (rc == 0)
        return credentials;
    sbx_docker_credentials_free(credentials);
    return NULL;
}

void sbx_docker_credentials_free(struct sbx_docker_credentials *credentials)
{
    if (!credentials)
        return;
    for (size_t i = 0; i < credentials->count; i++) {
        free(credentials->entries[i].key);
        free(credentials->entries[i].header);
    }
    free(credentials->entries);
    free(credentials);
}

bool sbx_docker_credentials_helpers(const struct sbx_docker_credentials *credentials)
{
    return credentials && credentials->helpers;
}

/* Is it the host of a key, which may have a scheme before it and a path behind it? */
static bool is_host_of(const char *key, const char *host, size_t n)
{
    if (strncmp(key, "https://", 8) == 0)
        key += 8;
    else if (strncmp(key, "http://", 7) == 0)
        key += 7;
    return strcspn(key, "/") == n && memcmp(key, host, n) == 0;
}

static const char *find_host(const struct sbx_docker_credentials *credentials, const char *host, size_t n)
{
    for (size_t i = 0; i < credentials->count; i++) {
        if (is_host_of(credentials->entries[i].key, host, n))
            return credentials->entries[i].header;
    }
    return NULL;
}

static const char *find_key(const struct sbx_docker_credentials *credentials, const char *key, size_t n)
{
    for (size_t i = 0; i < credentials->count; i++) {
        if (strlen(credentials->entries[i].key) == n && memcmp(credentials->entries[i].key, key, n) == 0)
            return credentials->entries[i].header;
    }
    return NULL;
}

const char *sbx_docker_credentials_for(const struct sbx_docker_credentials *credentials, const char *image)
{
    static const char *const hub[] = {"index.docker.io", "docker.io", "registry-1.docker.io"};
    if (!credentials)
        return NULL;
    size_t n = sbx_docker_registry_of(image);
    bool is_hub = n == 0;
    for (size_t i = 0; i < SBX_ARRAY_LEN(hub); i++)
        is_hub = is_hub || (strlen(hub[i]) == n && memcmp(image, hub[i], n) == 0);
    if (!is_hub) {
        const char *exact = find_key(credentials, image, n);
        return exact ? exact : find_host(credentials, image, n);
    }
    const char *header = find_key(credentials, HUB_KEY, strlen(HUB_KEY));
    for (size_t i = 0; !header && i < SBX_ARRAY_LEN(hub); i++)
        header = find_host(credentials, hub[i], strlen(hub[i]));
    return header;
}
