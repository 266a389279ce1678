/*
 * Files that operators and secrets bring: settings, keys of clients, a Docker config.json. Whatever is in
 * them, the answer is settings or one clear line.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "sandboxd/base.h"
#include "sandboxd/docker.h"

static void check_message(const struct sbx_err *err)
{
    FUZZ_CHECK(err->kind == SBX_ERR_INVALID || err->kind == SBX_ERR_INTERNAL);
    FUZZ_CHECK(err->msg[0] != '\0' && !strpbrk(err->msg, "\n\r"));
}

static void load_settings(const char *path)
{
    char key[] = "DAIV_SANDBOX_API_KEY=k";
    char *env[] = {key, NULL};
    struct sbx_config_source source = {.env = env, .file = path, .secrets_dir = "/nonexistent"};
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    if (sbx_config_load(&config, &source, &err) < 0) {
        check_message(&err);
        return;
    }
    FUZZ_CHECK(config.api_key && config.min_workers <= config.max_workers && config.run_uid > 0);
    sbx_config_done(&config);
}

static void load_clients(const char *path)
{
    struct sbx_clients clients;
    struct sbx_err err = SBX_ERR_INIT;
    if (sbx_clients_load(&clients, NULL, path, &err) < 0) {
        check_message(&err);
        return;
    }
    FUZZ_CHECK(clients.count > 0 && !sbx_clients_find(&clients, ""));
    sbx_clients_done(&clients);
}

static void load_credentials(const char *path)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_docker_credentials *credentials = sbx_docker_credentials_load(path, &err);
    if (!credentials) {
        check_message(&err);
        return;
    }
    const char *auth = sbx_docker_credentials_for(credentials, "registry.example:5000/a/b:1");
    FUZZ_CHECK(!auth || !strpbrk(auth, "\r\n +/"));
    (void)sbx_docker_credentials_for(credentials, "debian");
    sbx_docker_credentials_free(credentials);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[64];
    if (n < 1 || n > 1 << 16)
        return 0;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && write(fd, data + 1, n - 1) == (ssize_t)(n - 1));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (data[0] % 3 == 0)
        load_settings(path);
    else if (data[0] % 3 == 1)
        load_clients(path);
    else
        load_credentials(path);
    close(fd);
    return 0;
}
