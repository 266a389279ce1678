/*
 * What a request line names: path and query, decoded, and the route they lead to.
 */
#include <string.h>

#include "api/internal.h"
#include "fuzz.h"
#include "http/request.h"
#include "http/url.h"

static const char *const METHODS[] = {"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"};

static void find_route(const char *method, const char *path)
{
    struct sbx_call call = {.client = ""};
    const char *allow = NULL;
    const struct sbx_route *route = sbx_route_find("/api/v1", method, path, &call, &allow);
    FUZZ_CHECK(!route || strcmp(route->method, method) == 0);
    FUZZ_CHECK(call.id[0] == '\0' || sbx_is_uuid(call.id));
    if (!route)
        return;
    FUZZ_CHECK(memchr(call.item, '\0', sizeof(call.item)) && !strchr(call.item, '/'));
    FUZZ_CHECK(!strstr(call.path, "/../"));
    size_t n = strlen(call.path);
    FUZZ_CHECK(n < 3 || strcmp(call.path + n - 3, "/..") != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char text[8192];
    char path[REQUEST_PATH_MAX];
    char value[256];
    if (n < 1 || n >= sizeof(text))
        return 0;
    memcpy(text, data + 1, n - 1);
    text[n - 1] = '\0';
    size_t end = strcspn(text, "?");
    ssize_t len = sbx_url_decode(text, end, false, path, sizeof(path));
    FUZZ_CHECK(len <= (ssize_t)end);
    if (len >= 0) {
        FUZZ_CHECK(strlen(path) == (size_t)len);
        find_route(METHODS[data[0] % SBX_ARRAY_LEN(METHODS)], path);
    }
    static struct sbx_request request;
    static const char *const NAMES[] = {"after", "label", "limit", "a b", ""};
    request.query = text[end] ? text + end + 1 : "";
    for (size_t i = 0; i < SBX_ARRAY_LEN(NAMES); i++) {
        if (sbx_request_param(&request, NAMES[i], value, sizeof(value)))
            FUZZ_CHECK(strlen(value) < sizeof(value));
    }
    return 0;
}
