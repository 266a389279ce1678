#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sandboxd/base/pool_list.h"

static struct sbx_pool_want wants[SBX_POOL_WANTS];
static int automatic;

static void images_counts_and_options_are_read(void **state)
{
    assert_int_equal(sbx_pool_list_parse(NULL, wants, &automatic), 0);
    assert_int_equal(sbx_pool_list_parse("", wants, &automatic), 0);
    assert_int_equal(sbx_pool_list_parse("python:3.12=4, reg.example:5000/node:22=256;patch ; network,node=1;"
                                         "network",
                                         wants, &automatic),
                     3);
    assert_string_equal(wants[0].image, "python:3.12");
    assert_int_equal(wants[0].count, 4);
    assert_false(wants[0].patch || wants[0].network);
    assert_string_equal(wants[1].image, "reg.example:5000/node:22");
    assert_int_equal(wants[1].count, 256);
    assert_true(wants[1].patch && wants[1].network);
    assert_true(wants[2].network && !wants[2].patch);
    assert_int_equal(sbx_pool_list_parse("a=1,a=1;patch,a=1;network,a=1;network;patch", wants, &automatic),
                     4);
}

static void what_is_kept_automatically_is_a_number(void **state)
{
    assert_int_equal(sbx_pool_list_parse("a=1,auto=7,b=2", wants, &automatic), 2);
    assert_int_equal(automatic, 7);
    assert_string_equal(wants[1].image, "b");
    assert_int_equal(sbx_pool_list_parse("auto=2", wants, &automatic), 0);
    assert_int_equal(automatic, 2);
    assert_int_equal(sbx_pool_list_parse("auto:latest=2", wants, &automatic), 1); /* an image of that name */
    assert_int_equal(automatic, 0);
}

static void anything_else_is_refused(void **state)
{
    static const char *const WRONG[] = {
        "a",
        "a=",
        "=1",
        "a=0",
        "a=257",
        "a=1000",
        "a=-1",
        "a=+1",
        "a=1x",
        "a=1,",
        ",a=1",
        "a=1,,b=1",
        "a=1;",
        "a=1;;patch",
        "a=1;PATCH",
        "a=1;patch;patch",
        "a=1=1",
        "a b=1",
        "a=1 2",
        "a=1,a=2",
        "a=1;patch,a=2;patch",
        " ",
        ",",
        ";",
        "-a=1",
        "a;patch=1",
        "auto",
        "auto=0",
        "auto=1;patch",
        "auto=1,auto=2",
    };
    for (size_t i = 0; i < sizeof(WRONG) / sizeof(*WRONG); i++) {
        if (sbx_pool_list_parse(WRONG[i], wants, &automatic) != -1)
            fail_msg("'%s' was accepted", WRONG[i]);
    }
}

int main(void)
{
    const struct CMUnitTest pool_list[] = {
        cmocka_unit_test(images_counts_and_options_are_read),
        cmocka_unit_test(what_is_kept_automatically_is_a_number),
        cmocka_unit_test(anything_else_is_refused),
    };
    return cmocka_run_group_tests(pool_list, NULL, NULL);
}
