#include "agent/fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* What a pattern or a directory can make an operation take: glibc doubles its tree for each + of "a++++". */
#define MEMORY_MAX (512UL * 1024 * 1024)

static const struct {
    const char *name;
    fs_operation *run;
    int args;  /* that it needs */
    bool more; /* any number of them may follow */
} operations[] = {
    {"ls", fs_op_ls, 1, false},     {"stat", fs_op_stat, 1, false},     {"read", fs_op_read, 3, false},
    {"grep", fs_op_grep, 3, true},  {"glob", fs_op_glob, 2, true},      {"write", fs_op_write, 2, false},
    {"edit", fs_op_edit, 3, false}, {"delete", fs_op_delete, 2, false}, {"mkdir", fs_op_mkdir, 3, false},
    {"move", fs_op_move, 3, false}, {"get", fs_op_get, 3, false},       {"put", fs_op_put, 2, false},
    {"tar", fs_op_tar, 1, false},   {"untar", fs_op_untar, 1, true},
};

int64_t fs_number(const char *text)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 0)
        fs_fail(SBX_FS_EXEC_FAILED, "a number was expected");
    return value;
}

_Noreturn void fs_run(char **argv)
{
    const struct rlimit memory = {MEMORY_MAX, MEMORY_MAX};
    (void)setrlimit(RLIMIT_AS, &memory);
    (void)umask(0); /* modes are as they were asked for */
    for (size_t i = 0; argv[0] && i < sizeof(operations) / sizeof(operations[0]); i++) {
        if (strcmp(operations[i].name, argv[0]) != 0)
            continue;
        int args = 0;
        while (argv[args + 1])
            args++;
        if (args < operations[i].args || (args > operations[i].args && !operations[i].more))
            break;
        operations[i].run(argv);
        fs_done();
    }
    fs_fail(SBX_FS_EXEC_FAILED, "the agent has no such operation");
}
