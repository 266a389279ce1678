#include "sandboxd/admission.h"

#define PROBES  16
#define BUSY_MS 1000 /* when to try again for one of the concurrent requests */

/* FNV-1a; never 0. */
static uint64_t hash_name(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3;
    return hash ? hash : 1;
}

static bool has_room(const struct sbx_scoreboard *board, uint64_t client, int64_t most)
{
    int64_t count = 0;
    for (size_t i = 0, used = sbx_scoreboard_used(board); i < used; i++) {
        const struct sbx_slot *slot = &board->slots[i];
        count += slot->pid > 0 && __atomic_load_n(&slot->client, __ATOMIC_SEQ_CST) == client;
    }
    return count <= most;
}

/* The client's entry, made when it has none. Where all are taken it shares one with another client: then both
 * get less, not more. */
static struct sbx_rate *find_rate(struct sbx_scoreboard *board, uint64_t client, int64_t now_us)
{
    struct sbx_rate *rates = board->rates;
    for (uint64_t i = 0; i < PROBES; i++) {
        struct sbx_rate *rate = &rates[(client + i) % SBX_RATES];
        if (__atomic_load_n(&rate->client, __ATOMIC_RELAXED) == client)
            return rate;
    }
    for (uint64_t i = 0; i < PROBES; i++) {
        struct sbx_rate *rate = &rates[(client + i) % SBX_RATES];
        uint64_t before = __atomic_load_n(&rate->client, __ATOMIC_RELAXED);
        if (__atomic_load_n(&rate->next_us, __ATOMIC_RELAXED) > now_us)
            continue;
        if (__atomic_compare_exchange_n(&rate->client, &before, client, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED) ||
            before == client)
            return rate;
    }
    return &rates[client % SBX_RATES];
}

/* The generic cell rate algorithm, with a second's requests as its burst, and one at least. */
static int64_t take_rate(struct sbx_rate *rate, double per_second, int64_t now_us)
{
    int64_t interval = (int64_t)(1e6 / per_second);
    int64_t ahead = per_second > 1 ? 1000000 - interval : 0;
    int64_t next = __atomic_load_n(&rate->next_us, __ATOMIC_RELAXED);
    int64_t from;
    do {
        from = next > now_us ? next : now_us;
        if (from - now_us > ahead)
            return (from - now_us - ahead + 999) / 1000;
    } while (!__atomic_compare_exchange_n(&rate->next_us, &next, from + interval, false, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return 0;
}

int64_t sbx_admission_begin(struct sbx_scoreboard *board, struct sbx_slot *slot,
                            const struct sbx_client *client, int64_t now_us)
{
    uint64_t hash = hash_name(client->name);
    int64_t wait_ms = 0;
    if (client->concurrent > 0) {
        __atomic_store_n(&slot->client, hash, __ATOMIC_SEQ_CST);
        wait_ms = has_room(board, hash, client->concurrent) ? 0 : BUSY_MS;
    }
    if (wait_ms == 0 && client->rate > 0)
        wait_ms = take_rate(find_rate(board, hash, now_us), client->rate, now_us);
    if (wait_ms > 0)
        sbx_admission_end(slot);
    return wait_ms;
}

void sbx_admission_end(struct sbx_slot *slot)
{
    __atomic_store_n(&slot->client, 0, __ATOMIC_SEQ_CST);
}
