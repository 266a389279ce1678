/* sandboxd --status: a running master's scoreboard, for a person. It is read from the master's own
 * descriptor, so that it can be had when no worker answers. */
#include "sandboxd/status.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandboxd/process.h"

#define PID_FILE_MAX 64

/* The pid in the pid file of a master that lives; 0 when there is none. */
static int find_master(const struct sbx_config *config, pid_t *ret, struct sbx_err *err)
{
    char path[512];
    SBX_AUTO_FREE char *text = NULL;
    sbx_home_path(config, "run/sandboxd.pid", path, sizeof(path));
    *ret = 0;
    if (sbx_read_file(path, PID_FILE_MAX, &text, NULL, err) < 0)
        return err->kind == SBX_ERR_NOT_FOUND ? 0 : -1;
    *ret = (pid_t)strtol(text, NULL, 10);
    return 0;
}

/* The master's descriptor of the scoreboard, opened anew: a memory file has a name of its own there. */
static int open_scoreboard(pid_t pid, struct sbx_err *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    if (!dir && errno == ENOENT)
        return sbx_err_set(err, SBX_ERR_NOT_FOUND, "no process %d", (int)pid);
    if (!dir)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot look into process %d", (int)pid);
    int fd = -1;
    const struct dirent *entry;
    while (fd < 0 && (entry = readdir(dir))) {
        char target[sizeof("/memfd:" SBX_SCOREBOARD_NAME) + 16];
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        if (strncmp(target, "/memfd:" SBX_SCOREBOARD_NAME, strlen("/memfd:" SBX_SCOREBOARD_NAME)) == 0)
            fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
    }
    closedir(dir);
    return fd >= 0 ? fd : sbx_err_set(err, SBX_ERR_NOT_FOUND, "process %d is no sandboxd", (int)pid);
}

static const struct sbx_scoreboard *map_scoreboard(pid_t pid, struct sbx_err *err)
{
    SBX_AUTO_CLOSE int fd = open_scoreboard(pid, err);
    struct stat st;
    if (fd < 0)
        return NULL;
    void *memory = MAP_FAILED;
    if (fstat(fd, &st) == 0 && st.st_size == sizeof(struct sbx_scoreboard))
        memory = mmap(NULL, sizeof(struct sbx_scoreboard), PROT_READ, MAP_SHARED, fd, 0);
    const struct sbx_scoreboard *board = memory == MAP_FAILED ? NULL : memory;
    if (!board || board->magic != SBX_SCOREBOARD_MAGIC) {
        sbx_err_set(err, SBX_ERR_CONFLICT, "process %d is of another version", (int)pid);
        return NULL;
    }
    return board;
}

static void print_seconds(FILE *out, int64_t ms)
{
    if (ms < 60000)
        fprintf(out, "%8.1f s", (double)ms / 1000);
    else
        fprintf(out, "%4lld m %02lld s", (long long)(ms / 60000), (long long)(ms / 1000 % 60));
}

static void print_busy(const struct sbx_scoreboard *board, int64_t now, FILE *out)
{
    bool any = false;
    for (size_t i = 0; i < SBX_SLOTS; i++) {
        const struct sbx_slot *slot = &board->slots[i];
        if (slot->pid <= 0 || slot->activity != SBX_ACTIVITY_BUSY)
            continue;
        if (!any)
            fprintf(out, "\n%7s  %-8s  %10s  %-36s  %s\n", "pid", "role", "busy for", "session", "request");
        any = true;
        fprintf(out, "%7d  %-8s  ", (int)slot->pid, sbx_role_name(slot->role));
        print_seconds(out, now - slot->since_ms);
        fprintf(out, "  %-36.36s  %.64s\n", slot->session[0] ? slot->session : "-",
                slot->request[0] ? slot->request : "-");
    }
}

static void print_counts(const struct sbx_scoreboard *board, FILE *out)
{
    fprintf(out, "%-8s", "");
    for (unsigned activity = 0; activity <= SBX_ACTIVITY_LEAVING; activity++)
        fprintf(out, "  %8s", sbx_activity_name(activity));
    fprintf(out, "  %10s\n", "requests");
    for (unsigned role = SBX_ROLE_WORKER; role <= SBX_ROLE_JANITOR; role++) {
        unsigned count[SBX_ACTIVITY_LEAVING + 1] = {0};
        unsigned long requests = 0;
        for (size_t i = 0; i < SBX_SLOTS; i++) {
            const struct sbx_slot *slot = &board->slots[i];
            if (slot->pid <= 0 || slot->role != role || (unsigned)slot->activity > SBX_ACTIVITY_LEAVING)
                continue;
            count[slot->activity]++;
            requests += slot->requests;
        }
        fprintf(out, "%-8s", sbx_role_name(role));
        for (unsigned activity = 0; activity <= SBX_ACTIVITY_LEAVING; activity++)
            fprintf(out, "  %8u", count[activity]);
        fprintf(out, "  %10lu\n", requests);
    }
}

int sbx_status_print(const struct sbx_config *config, FILE *out, struct sbx_err *err)
{
    pid_t pid;
    if (find_master(config, &pid, err) < 0)
        return -1;
    if (pid <= 0)
        return sbx_err_set(err, SBX_ERR_NOT_FOUND, "no sandboxd runs with the home '%s'", config->home);
    const struct sbx_scoreboard *board = map_scoreboard(pid, err);
    if (!board)
        return -1;
    int64_t now = sbx_now_ms();
    fprintf(out, "sandboxd %s, master %d, replica %s, %s for ", board->version, (int)pid, config->replica,
            board->draining ? "stopping" : "up");
    print_seconds(out, now - board->started_ms);
    fprintf(out, "\n\n");
    print_counts(board, out);
    print_busy(board, now, out);
    return 0;
}
