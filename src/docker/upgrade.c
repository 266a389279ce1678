/*
 * The head of the answer to an upgrade request.
 */
#include <ctype.h>
#include <string.h>

#include "docker/internal.h"

#define HEAD_MAX 8192

ssize_t sbx_docker_parse_head(const char *data, size_t n, int *ret_status)
{
    static const char start[] = "HTTP/1.";
    static const char end[] = "\r\n\r\n";
    size_t shared = n < sizeof(start) - 1 ? n : sizeof(start) - 1;
    size_t look = n < HEAD_MAX ? n : HEAD_MAX;
    const char *stop;

    if (memcmp(data, start, shared) != 0)
        return -1;
    stop = memmem(data, look, end, sizeof(end) - 1);
    if (!stop)
        return n < HEAD_MAX ? 0 : -1;

    /* HTTP/1.x SSS and a blank or the end of the line; the shortest head that has an end is long enough to
     * look at. */
    if (stop - data < 12 || !isdigit((unsigned char)data[7]) || data[8] != ' ' ||
        !isdigit((unsigned char)data[9]) || !isdigit((unsigned char)data[10]) ||
        !isdigit((unsigned char)data[11]) || isgraph((unsigned char)data[12]))
        return -1;
    *ret_status = (data[9] - '0') * 100 + (data[10] - '0') * 10 + (data[11] - '0');
    return stop + sizeof(end) - 1 - data;
}
