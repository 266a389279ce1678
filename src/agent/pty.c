/* Terminals for commands. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent/agent.h"

#define ROWS    24
#define COLUMNS 80

int pty_resize(int master, unsigned rows, unsigned columns)
{
    struct winsize size = {.ws_row = (unsigned short)(rows > 0 ? rows : ROWS),
                           .ws_col = (unsigned short)(columns > 0 ? columns : COLUMNS)};
    return ioctl(master, TIOCSWINSZ, &size);
}

pid_t pty_foreground(int master)
{
    pid_t group = -1;
    return ioctl(master, TIOCGPGRP, &group) < 0 ? -1 : group;
}

static int open_slave(int master)
{
    int number = -1, unlock = 0;
    char digits[21], path[32];

    if (ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCGPTN, &number) < 0)
        return -1;
    text_join(path, sizeof(path), "/dev/pts/", text_number(digits, (uint64_t)number), NULL);
    return open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

/* Opened as the user, whose the device then is: programs open their terminal by its name too. */
int pty_open(int *ret_master, int *ret_slave, unsigned rows, unsigned columns)
{
    become_user();
    *ret_master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    *ret_slave = *ret_master >= 0 ? open_slave(*ret_master) : -1;
    int err = errno;
    become_root();
    errno = err;
    return *ret_slave < 0 ? -1 : pty_resize(*ret_master, rows, columns);
}
