#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store_sqlite_support.h"

char sqlite_top[PATH_MAX / 4];
char sqlite_dir[PATH_MAX / 2];
char sqlite_database[PATH_MAX];
struct sbx_store_options sqlite_options;

int sqlite_begin(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(sqlite_top, sizeof(sqlite_top), "%s/sandboxd-store-XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(sqlite_top) ? 0 : -1;
}

int sqlite_count_files(const char *sub, const char *prefix)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", sqlite_dir, sub);
    DIR *d = opendir(path);
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    closedir(d);
    return n;
}

int sqlite_count_aside(void)
{
    DIR *d = opendir(sqlite_dir);
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += strstr(e->d_name, ".corrupt-") && !strstr(e->d_name, "-journal");
    closedir(d);
    return n;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

int sqlite_new_dir(void **state)
{
    static int serial;
    snprintf(sqlite_dir, sizeof(sqlite_dir), "%s/state/%d", sqlite_top, serial++);
    snprintf(sqlite_database, sizeof(sqlite_database), "%s/sessions.db", sqlite_dir);
    sqlite_options = (struct sbx_store_options){.dir = sqlite_dir, .replica = "test"};
    return 0;
}

enum sbx_err_kind sqlite_get(struct sbx_store *store, const char *id)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_record record;
    sbx_record_init(&record);
    (void)!sbx_store_get(store, id, &record, &err);
    sbx_record_done(&record);
    return err.kind;
}

const char *sqlite_insert(struct sbx_store *store)
{
    static char id[SBX_UUID_LEN + 1];
    struct sbx_record record;
    suite_record(&record);
    strlcpy(id, record.id, sizeof(id));
    assert_int_equal(sbx_store_insert(store, &record, NULL), 0);
    sbx_record_done(&record);
    return id;
}

mode_t sqlite_mode(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

void sqlite_end(void)
{
    nftw(sqlite_top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
