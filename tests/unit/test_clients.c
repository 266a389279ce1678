/* Keys of clients. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandboxd/base.h"

/* echo -n one | sha256sum, and so on */
#define ONE "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
#define TWO "3FC4CCFE745870E2C0D99F71F30FF0656C8DEDD41CC1D7D3D376B0DBE685E2F3"

static int load(const char *key, const char *text, struct sbx_clients *clients, struct sbx_err *err)
{
    char path[] = "/tmp/sbx-clients-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    *err = (struct sbx_err)SBX_ERR_INIT;
    int rc = sbx_clients_load(clients, key, path, err);
    unlink(path);
    return rc;
}

static void every_client_has_its_key_and_nobody_elses(void **state)
{
    struct sbx_clients clients;
    struct sbx_err err;
    assert_int_equal(load("single", "# ours\n\n  ci:" ONE "\r\nweb.front-end_2:" TWO ":rate=2.5,sessions=3\n",
                          &clients, &err),
                     0);
    assert_string_equal(sbx_clients_find(&clients, "single")->name, "default");
    assert_string_equal(sbx_clients_find(&clients, "one")->name, "ci");
    const struct sbx_client *two = sbx_clients_find(&clients, "two");
    assert_string_equal(two->name, "web.front-end_2");
    assert_true(two->rate == 2.5);
    assert_int_equal(two->sessions, 3);
    assert_int_equal(two->concurrent, 0);
    assert_null(sbx_clients_find(&clients, "One"));
    assert_null(sbx_clients_find(&clients, ""));
    assert_null(sbx_clients_find(&clients, ONE));
    sbx_clients_done(&clients);
}

static void a_client_may_have_two_keys_with_the_limits_of_the_first(void **state)
{
    struct sbx_clients clients;
    struct sbx_err err;
    assert_int_equal(load(NULL, "ci:" ONE ":concurrent=4\nci:" TWO ":concurrent=9", &clients, &err), 0);
    assert_int_equal(sbx_clients_find(&clients, "one")->concurrent, 4);
    assert_int_equal(sbx_clients_find(&clients, "two")->concurrent, 4);
    assert_string_equal(sbx_clients_find(&clients, "two")->name, "ci");
    sbx_clients_done(&clients);
}

static void a_bad_line_is_told_by_its_number_and_not_quoted(void **state)
{
    static const char *const BAD[] = {
        "ci",
        "ci:",
        ":" ONE,
        "c i:" ONE,
        "ci:" ONE "0",
        "ci:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431e!",
        "ci:" ONE ":rate",
        "ci:" ONE ":rate=",
        "ci:" ONE ":rate=0",
        "ci:" ONE ":rate=-1",
        "ci:" ONE ":rate=nan",
        "ci:" ONE ":rate=1x",
        "ci:" ONE ":concurrent=1.5",
        "ci:" ONE ":speed=1",
        "ci:" ONE ":rate=1,",
        "other:" TWO,
    };
    for (size_t i = 0; i < SBX_ARRAY_LEN(BAD); i++) {
        char text[256];
        struct sbx_clients clients = {NULL, 0};
        struct sbx_err err;
        snprintf(text, sizeof(text), "first:" TWO "\n%s\n", BAD[i]);
        assert_int_equal(load("k", text, &clients, &err), -1);
        assert_int_equal(err.kind, SBX_ERR_INVALID);
        assert_non_null(strstr(err.msg, " line 2: "));
        assert_null(strstr(err.msg, "7692c3"));
        assert_null(clients.list);
    }
}

static void a_missing_or_empty_file_is_an_error(void **state)
{
    struct sbx_clients clients;
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_clients_load(&clients, "k", "/nonexistent/keys", &err), -1);
    assert_int_equal(err.kind, SBX_ERR_INVALID);
    assert_int_equal(load(NULL, "# nobody\n", &clients, &err), -1);
    assert_non_null(strstr(err.msg, "holds no client"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_client_has_its_key_and_nobody_elses),
        cmocka_unit_test(a_client_may_have_two_keys_with_the_limits_of_the_first),
        cmocka_unit_test(a_bad_line_is_told_by_its_number_and_not_quoted),
        cmocka_unit_test(a_missing_or_empty_file_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
