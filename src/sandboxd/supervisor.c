/* The master's state machine. */
#include "sandboxd/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK_MS       250
#define SHRINK_MS     5000 /* one idle worker too many leaves at most this often */
#define TERM_MS       5000
#define STOP_SPARE_MS 20000 /* what a stop may take beyond the drain */
#define GROW_AT_ONCE  8
#define REFUSE_AFTER  3 /* children in a row that died before they were ready */

static void enter(struct sbx_master *master, enum sbx_master_state state)
{
    master->state = state;
    master->state_since_ms = sbx_now_ms();
}

static void warn_of_helpers(const struct sbx_master *master)
{
    if (sbx_docker_credentials_helpers(master->credentials))
        sbx_log(SBX_LOG_WARNING, "credential helpers are not run, only auths count", "file",
                master->config->docker_config, NULL);
}

/* New settings for the next generation; a bad file changes nothing. What is bound to the master's life stays.
 */
static void reload(struct sbx_master *master)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_config fresh;
    struct sbx_docker_credentials *credentials = NULL;
    if (master->state != SBX_MASTER_NORMAL)
        return;
    if (sbx_config_load(&fresh, master->source, &err) < 0) {
        sbx_log_err(SBX_LOG_ERROR, "reload refused, the old settings stay", &err);
        return;
    }
    if (strcmp(fresh.home, master->config->home) != 0) {
        sbx_log(SBX_LOG_ERROR, "reload refused, the home cannot change while running", NULL);
        sbx_config_done(&fresh);
        return;
    }
    if (sbx_credentials_open(&fresh, &credentials, &err) < 0) {
        sbx_log_err(SBX_LOG_ERROR, "reload refused, the old settings stay", &err);
        sbx_config_done(&fresh);
        return;
    }
    sbx_docker_credentials_free(master->credentials);
    master->credentials = credentials;
    sbx_config_done(master->config);
    *master->config = fresh;
    master->generation++;
    sbx_log_init((enum sbx_log_level)sbx_log_level_parse(fresh.log_level),
                 strcmp(fresh.log_format, "json") == 0, "master");
    sbx_report_init(master->config, &master->reports, "master", &master->board->reports_dropped);
    sbx_log(SBX_LOG_INFO, "settings reloaded", NULL);
    warn_of_helpers(master);
}

static void begin_stop(struct sbx_master *master)
{
    if (master->state != SBX_MASTER_NORMAL)
        return;
    sbx_log(SBX_LOG_INFO, "stopping", NULL);
    char state[64]; /* systemd's own limit holds where it is longer */
    snprintf(state, sizeof(state), "STOPPING=1\nEXTEND_TIMEOUT_USEC=%lld",
             (long long)(master->config->drain_ms + STOP_SPARE_MS) * 1000);
    sbx_notify(state);
    __atomic_store_n(&master->board->draining, true, __ATOMIC_RELEASE);
    enter(master, SBX_MASTER_FINISHING);
}

static void take_signals(struct sbx_master *master)
{
    struct signalfd_siginfo info;
    while (read(master->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGHUP)
            reload(master);
        else if (info.ssi_signo != SIGCHLD)
            begin_stop(master);
    }
    sbx_children_reap(master);
}

/* How many of a role the current generation should have. */
static int wanted(const struct sbx_master *master, enum sbx_role role)
{
    const struct sbx_config *config = master->config;
    if (role == SBX_ROLE_JANITOR)
        return 1;
    if (role == SBX_ROLE_CONTROL)
        return (int)config->control_workers;
    int alive = sbx_children_count(master, role, true);
    int free = sbx_scoreboard_count(master->board, role, SBX_ACTIVITY_IDLE) +
               sbx_scoreboard_count(master->board, role, SBX_ACTIVITY_STARTING);
    int want = alive > config->min_workers ? alive : (int)config->min_workers;
    if (free == 0) /* everybody is busy: grow by a quarter, so that a burst is met in a few steps */
        want = alive + 1 + (alive / 4 < GROW_AT_ONCE ? alive / 4 : GROW_AT_ONCE);
    return want < config->max_workers ? want : (int)config->max_workers;
}

/* How many more it should have. */
static int missing(const struct sbx_master *master, enum sbx_role role)
{
    return wanted(master, role) - sbx_children_count(master, role, true);
}

/* How many of it can take over from older ones. */
static int enough(const struct sbx_master *master, enum sbx_role role)
{
    return role == SBX_ROLE_WORKER ? (int)master->config->min_workers : wanted(master, role);
}

/* One idle worker beyond the minimum, and beyond one in reserve, leaves now and then. */
static void shrink(struct sbx_master *master)
{
    int64_t now = sbx_now_ms();
    int idle = sbx_scoreboard_count(master->board, SBX_ROLE_WORKER, SBX_ACTIVITY_IDLE);
    bool spare = idle > 1 && sbx_children_count(master, SBX_ROLE_WORKER, true) > master->config->min_workers;
    if (!spare) {
        master->shrink_after_ms = now + SHRINK_MS;
        return;
    }
    for (size_t i = 0; now >= master->shrink_after_ms && i < SBX_SLOTS; i++) {
        struct sbx_slot *slot = &master->board->slots[i];
        if (slot->pid > 0 && slot->role == SBX_ROLE_WORKER && !slot->told_to_leave &&
            slot->activity == SBX_ACTIVITY_IDLE) {
            sbx_children_dismiss(slot);
            master->shrink_after_ms = now + SHRINK_MS;
        }
    }
}

static void announce(struct sbx_master *master)
{
    if (master->announced || sbx_scoreboard_count(master->board, SBX_ROLE_WORKER, SBX_ACTIVITY_IDLE) == 0 ||
        sbx_scoreboard_count(master->board, SBX_ROLE_CONTROL, SBX_ACTIVITY_IDLE) == 0)
        return;
    master->announced = true;
    sbx_notify("READY=1");
    sbx_log(SBX_LOG_INFO, "ready", "version", SBX_VERSION, "home", master->config->home, NULL);
}

static void keep_up(struct sbx_master *master)
{
    /* workers last: of a few slots they would leave the others none */
    static const enum sbx_role ROLES[] = {SBX_ROLE_CONTROL, SBX_ROLE_JANITOR, SBX_ROLE_WORKER};
    for (size_t r = 0; r < SBX_ARRAY_LEN(ROLES); r++) {
        enum sbx_role role = ROLES[r];
        for (int left = missing(master, role); left > 0; left--)
            sbx_children_spawn(master, role);
        if (sbx_children_count(master, role, false) > 0)
            sbx_relieve(master, role, enough(master, role), missing(master, role));
    }
    shrink(master);
    announce(master);
}

/* Is a request still running that began before the stop? Later ones are only being refused. */
static bool old_requests(const struct sbx_master *master)
{
    for (size_t i = 0; i < SBX_SLOTS; i++) {
        const struct sbx_slot *slot = &master->board->slots[i];
        if (slot->pid > 0 && slot->role != SBX_ROLE_JANITOR && slot->activity == SBX_ACTIVITY_BUSY &&
            slot->since_ms <= master->state_since_ms)
            return true;
    }
    return false;
}

/* The ladder of a stop: drain, TERM, KILL. */
static void wind_down(struct sbx_master *master)
{
    int64_t in_state = sbx_now_ms() - master->state_since_ms;
    if (master->state == SBX_MASTER_FINISHING &&
        (!old_requests(master) || in_state >= master->config->drain_ms)) {
        enter(master, SBX_MASTER_TERMINATING);
        sbx_children_signal(master, SIGTERM);
    } else if (master->state == SBX_MASTER_TERMINATING && in_state >= TERM_MS) {
        enter(master, SBX_MASTER_KILLING);
        sbx_children_signal(master, SIGKILL);
    }
}

/* While no process of a role can be started, its connections are refused instead of left to wait: the web
 * server then says at once that the service is unavailable. */
static void refuse(int listen_fd)
{
    int fd;
    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        close(fd);
}

/* Is nobody there to accept, and nobody about to be forked? */
static bool deserted(const struct sbx_master *master, enum sbx_lane lane)
{
    enum sbx_role role = lane == SBX_LANE_CONTROL ? SBX_ROLE_CONTROL : SBX_ROLE_WORKER;
    return master->state == SBX_MASTER_NORMAL && master->early_deaths >= REFUSE_AFTER &&
           sbx_now_ms() < master->spawn_after_ms &&
           sbx_scoreboard_count(master->board, role, SBX_ACTIVITY_IDLE) == 0 &&
           sbx_scoreboard_count(master->board, role, SBX_ACTIVITY_BUSY) == 0;
}

static void run(struct sbx_master *master)
{
    struct sbx_err err = SBX_ERR_INIT;
    while (master->state == SBX_MASTER_NORMAL || sbx_children_any(master)) {
        if (master->state == SBX_MASTER_NORMAL)
            keep_up(master);
        else
            wind_down(master);
        struct pollfd fds[2 + SBX_LANES] = {{.fd = master->signal_fd, .events = POLLIN},
                                            {.fd = master->wake_fd, .events = POLLIN}};
        for (int lane = 0; lane < SBX_LANES; lane++)
            fds[2 + lane] = (struct pollfd){.fd = deserted(master, lane) ? master->listen_fd[lane] : -1,
                                            .events = POLLIN};
        if (sbx_wait_poll(NULL, fds, SBX_ARRAY_LEN(fds), TICK_MS, &err) < 0)
            sbx_log_err(SBX_LOG_ERROR, "cannot wait", &err);
        for (int lane = 0; lane < SBX_LANES; lane++) {
            if (fds[2 + lane].revents)
                refuse(master->listen_fd[lane]);
        }
        uint64_t count;
        (void)!read(master->wake_fd, &count, sizeof(count));
        take_signals(master);
    }
}

int sbx_supervise(struct sbx_config *config, const struct sbx_config_source *source,
                  struct sbx_docker_credentials *credentials)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_master master = {.config = config,
                                .source = source,
                                .credentials = credentials,
                                .listen_fd = {-1, -1, -1},
                                .pid_fd = -1};
    if (sbx_master_open(&master, &err) < 0) {
        sbx_log_err(SBX_LOG_CRITICAL, "cannot start", &err);
        sbx_master_close(&master);
        return EXIT_FAILURE;
    }
    warn_of_helpers(&master);
    run(&master);
    sbx_log(SBX_LOG_INFO, "stopped", NULL);
    sbx_master_close(&master);
    return EXIT_SUCCESS;
}
