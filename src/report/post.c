#include "report/post.h"

#include <stdio.h>
#include <string.h>

#define CONNECT_MS 1000L
#define POST_MS    2000L

static size_t ignore(char *data, size_t size, size_t n, void *arg)
{
    return size * n;
}

static int add_header(struct sbx_post *post, const char *line)
{
    struct curl_slist *longer = curl_slist_append(post->headers, line);
    if (!longer)
        return -1;
    post->headers = longer;
    return 0;
}

static int set_up(struct sbx_post *post, const struct sbx_dsn *dsn)
{
    char auth[320];
    snprintf(auth, sizeof(auth),
             "X-Sentry-Auth: Sentry sentry_version=7, sentry_client=sandboxd/" SBX_VERSION ", sentry_key=%s",
             dsn->key);
    if (add_header(post, auth) < 0 || add_header(post, "Content-Type: application/x-sentry-envelope") < 0 ||
        add_header(post, "Expect:") < 0)
        return -1;
    CURL *easy = post->easy;
    CURLcode code = curl_easy_setopt(easy, CURLOPT_URL, dsn->url);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    code = code ? code : curl_easy_setopt(easy, CURLOPT_HTTPHEADER, post->headers);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_USERAGENT, "sandboxd/" SBX_VERSION);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, POST_MS);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, ignore);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, post->why);
    return code == CURLE_OK ? 0 : -1;
}

int sbx_post_open(struct sbx_post *post, const struct sbx_dsn *dsn, struct sbx_err *err)
{
    *post = (struct sbx_post){.easy = NULL};
    long what = strncmp(dsn->url, "https:", 6) == 0 ? CURL_GLOBAL_SSL : CURL_GLOBAL_NOTHING;
    if (curl_global_init(what) == CURLE_OK && (post->easy = curl_easy_init()) && set_up(post, dsn) == 0)
        return 0;
    sbx_post_close(post);
    return sbx_err_set(err, SBX_ERR_INTERNAL, "cannot set up libcurl for reports");
}

void sbx_post_close(struct sbx_post *post)
{
    curl_easy_cleanup(post->easy);
    curl_slist_free_all(post->headers);
    *post = (struct sbx_post){.easy = NULL};
}

enum sbx_posted sbx_post_envelope(struct sbx_post *post, const struct sbx_buf *envelope)
{
    post->status = 0;
    post->retry_ms = 0;
    post->why[0] = '\0';
    (void)curl_easy_setopt(post->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)envelope->len);
    (void)curl_easy_setopt(post->easy, CURLOPT_POSTFIELDS, envelope->data);
    CURLcode code = curl_easy_perform(post->easy);
    if (code != CURLE_OK) {
        if (!post->why[0])
            snprintf(post->why, sizeof(post->why), "%s", curl_easy_strerror(code));
        return SBX_POSTED_LATER;
    }
    curl_off_t retry_s = 0;
    (void)curl_easy_getinfo(post->easy, CURLINFO_RESPONSE_CODE, &post->status);
    (void)curl_easy_getinfo(post->easy, CURLINFO_RETRY_AFTER, &retry_s);
    post->retry_ms = (int64_t)retry_s * 1000;
    if (post->status >= 200 && post->status < 300)
        return SBX_POSTED_TAKEN;
    snprintf(post->why, sizeof(post->why), "the answer was %ld", post->status);
    return post->status == 429 || post->status >= 500 ? SBX_POSTED_LATER : SBX_POSTED_REFUSED;
}
