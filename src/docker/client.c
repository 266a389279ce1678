/*
 * The client's handle: where dockerd is, libcurl's handles, and the version of the API that both sides speak.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "docker/internal.h"
#include "sandboxd/base/util.h"

/* The daemon that answers nothing in Api-Version is older than the header. */
#define MINOR_WITHOUT_HEADER DOCKER_API_MINOR_MIN

static int parse_unix(struct sbx_docker *docker, const char *path, struct sbx_err *err)
{
    if (path[0] != '/')
        return sbx_err_set(err, SBX_ERR_INVALID, "docker host: unix://%s is not an absolute path", path);
    if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return sbx_err_set(err, SBX_ERR_INVALID,
                           "docker host: unix://%s is longer than a socket's path may be", path);
    docker->unix_path = strdup(path);
    if (!docker->unix_path)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
    snprintf(docker->authority, sizeof(docker->authority), "docker");
    return 0;
}

/* host:port, host, [v6]:port, [v6]; a slash at the end is ignored. */
static int parse_tcp(struct sbx_docker *docker, const char *s, struct sbx_err *err)
{
    size_t n = strlen(s), host_len;
    const char *host = s, *port;

    if (n > 0 && s[n - 1] == '/')
        n--;
    if (s[0] == '[') {
        const char *end = memchr(s, ']', n);

        host = s + 1;
        host_len = end ? (size_t)(end - host) : 0;
        port = end ? end + 1 : s + n;
    } else {
        const char *colon = memchr(s, ':', n);

        host_len = colon ? (size_t)(colon - s) : n;
        port = s + host_len;
    }
    size_t port_len = (size_t)(s + n - port);
    char *rest = NULL;
    long number = 2375;

    if (port_len > 0)
        number = port[0] == ':' && port_len > 1 && isdigit((unsigned char)port[1])
                     ? strtol(port + 1, &rest, 10)
                     : 0;
    if (host_len == 0 || host_len > 253 || strcspn(host, "/?#@%\\ ") < host_len || number < 1 ||
        number > 65535 || (rest && rest != s + n))
        return sbx_err_set(err, SBX_ERR_INVALID, "docker host: tcp://%s is not tcp://host:port", s);

    docker->tcp_host = strndup(host, host_len);
    if (!docker->tcp_host)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
    snprintf(docker->tcp_port, sizeof(docker->tcp_port), "%ld", number);
    snprintf(docker->authority, sizeof(docker->authority), s[0] == '[' ? "[%s]:%s" : "%s:%s",
             docker->tcp_host, docker->tcp_port);
    return 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct sbx_docker *docker = arg;
    nfds_t i = 0;

    while (i < docker->nsocks && docker->socks[i].fd != fd)
        i++;
    if (what == CURL_POLL_REMOVE) {
        if (i < docker->nsocks)
            docker->socks[i] = docker->socks[--docker->nsocks];
        return 0;
    }
    if (i == DOCKER_SOCKETS)
        return -1;
    if (i == docker->nsocks)
        docker->nsocks++;
    docker->socks[i] = (struct pollfd){
        .fd = fd,
        .events = (short)((what & CURL_POLL_IN ? POLLIN : 0) | (what & CURL_POLL_OUT ? POLLOUT : 0)),
    };
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct sbx_docker *docker = arg;

    docker->timer_ms = timeout_ms < 0 ? -1 : sbx_now_ms() + timeout_ms;
    return 0;
}

/* Plain HTTP only: leaving out libcurl's TLS set-up saves every worker its private memory. */
static bool curl_ready(void)
{
    static bool ready;

    if (!ready)
        ready = curl_global_init(CURL_GLOBAL_NOTHING) == CURLE_OK;
    return ready;
}

static int make_handles(struct sbx_docker *docker, struct sbx_err *err)
{
    if (!curl_ready() || !(docker->multi = curl_multi_init()) || !(docker->easy = curl_easy_init()) ||
        curl_multi_setopt(docker->multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
        curl_multi_setopt(docker->multi, CURLMOPT_SOCKETDATA, docker) != CURLM_OK ||
        curl_multi_setopt(docker->multi, CURLMOPT_TIMERFUNCTION, on_timer) != CURLM_OK ||
        curl_multi_setopt(docker->multi, CURLMOPT_TIMERDATA, docker) != CURLM_OK ||
        curl_multi_setopt(docker->multi, CURLMOPT_MAXCONNECTS, 1L) != CURLM_OK)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "cannot set up libcurl");
    return 0;
}

struct sbx_docker *sbx_docker_new(const char *host, int64_t timeout_ms, struct sbx_err *err)
{
    struct sbx_docker *docker = calloc(1, sizeof(*docker));
    int rc;

    if (!docker) {
        (void)sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
        return NULL;
    }
    docker->timeout_ms = timeout_ms;
    docker->timer_ms = -1;
    if (strncmp(host, "unix://", 7) == 0)
        rc = parse_unix(docker, host + 7, err);
    else if (strncmp(host, "tcp://", 6) == 0)
        rc = parse_tcp(docker, host + 6, err);
    else
        rc = sbx_err_set(err, SBX_ERR_INVALID, "docker host: %s is neither unix:///path nor tcp://host:port",
                         host);
    if (rc != 0 || make_handles(docker, err) != 0) {
        sbx_docker_free(docker);
        return NULL;
    }
    return docker;
}

void sbx_docker_free(struct sbx_docker *docker)
{
    if (!docker)
        return;
    curl_easy_cleanup(docker->easy);
    curl_multi_cleanup(docker->multi);
    free(docker->unix_path);
    free(docker->tcp_host);
    free(docker);
}

int sbx_docker_parse_version(const char *s, size_t n)
{
    int minor = 0;

    if (n < 3 || n > 6 || s[0] != '1' || s[1] != '.')
        return -1;
    for (size_t i = 2; i < n; i++) {
        if (!isdigit((unsigned char)s[i]))
            return -1;
        minor = minor * 10 + (s[i] - '0');
    }
    return minor;
}

int sbx_docker_ping(struct sbx_docker *docker, struct sbx_wait *wait, struct sbx_err *err)
{
    struct docker_call call = {.method = "GET", .what = "ping dockerd"};
    char url[sizeof(docker->authority) + 32];

    snprintf(url, sizeof(url), "http://%s/_ping", docker->authority);
    if (sbx_docker_transfer(docker, wait, &call, url, NULL, err) != 0)
        return -1;
    if (call.status != 200)
        return sbx_docker_refused(docker, call.status, call.message, call.what, NULL, err);

    int minor = call.api_minor ? call.api_minor : MINOR_WITHOUT_HEADER;
    if (minor < DOCKER_API_MINOR_MIN)
        return sbx_err_set(err, SBX_ERR_UPSTREAM,
                           "dockerd speaks version 1.%d of its API; 1.%d or newer is needed", minor,
                           DOCKER_API_MINOR_MIN);
    docker->api_minor = minor < DOCKER_API_MINOR_MAX ? minor : DOCKER_API_MINOR_MAX;
    return 0;
}

int sbx_docker_negotiate(struct sbx_docker *docker, struct sbx_wait *wait, struct sbx_err *err)
{
    return docker->api_minor ? 0 : sbx_docker_ping(docker, wait, err);
}
