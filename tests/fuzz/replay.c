/*
 * main() of a fuzz target built without libFuzzer (-DSBX_FUZZ_MAIN): replay corpus files, or every file of a
 * directory, so that plain compilers run the corpus too. An abort is the verdict.
 */
#ifdef SBX_FUZZ_MAIN

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fuzz.h"
#include "sandboxd/base/util.h"

#define INPUT_MAX (64 << 20)

static int replay_file(const char *path)
{
    struct sbx_err err = SBX_ERR_INIT;
    SBX_AUTO_FREE char *data = NULL;
    size_t n = 0;
    if (sbx_read_file(path, INPUT_MAX, &data, &n, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return -1;
    }
    LLVMFuzzerTestOneInput((const uint8_t *)data, n);
    return 1;
}

/* Inputs replayed, or -1. */
static int replay_directory(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir) {
        perror(path);
        return -1;
    }
    int count = 0;
    struct dirent *entry;
    while (count >= 0 && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        char file[4096];
        snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        int n = replay_file(file);
        count = n < 0 ? -1 : count + n;
    }
    closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        struct stat st;
        bool is_directory = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode);
        int n = is_directory ? replay_directory(argv[i]) : replay_file(argv[i]);
        if (n < 0)
            return EXIT_FAILURE;
        total += n;
    }
    printf("%s: %d inputs replayed\n", argv[0], total);
    return EXIT_SUCCESS;
}

#endif
