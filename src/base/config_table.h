/* The table of settings, as config.c, config_value.c and config_render.c share it. */
#ifndef SRC_BASE_CONFIG_TABLE_H
#define SRC_BASE_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandboxd/base/config.h"

#define SBX_SETTING_MASK     "********"
#define SBX_SETTING_TEXT_MAX 4096 /* most bytes of a value */

enum sbx_setting_type {
    SBX_SETTING_TEXT,    /* char *: what check() accepts */
    SBX_SETTING_CHOICE,  /* char *: one of the choices */
    SBX_SETTING_BOOL,    /* bool */
    SBX_SETTING_INT,     /* int64_t */
    SBX_SETTING_RATE,    /* double from 0 to 1 */
    SBX_SETTING_SECONDS, /* int64_t milliseconds, written in seconds with up to three decimals */
    SBX_SETTING_SIZE,    /* int64_t bytes, written plain or with K, M or G */
};

struct sbx_setting {
    const char *name;
    enum sbx_setting_type type;
    size_t offset;              /* in struct sbx_config */
    int64_t min, max;           /* of INT, SECONDS (in milliseconds) and SIZE */
    const char *initial;        /* the default, as it would be written; NULL: unset */
    const char *otherwise;      /* what holds when it is unset, for the documentation */
    const char *units;          /* of INT: what is counted; NULL: nothing in particular */
    const char *choices;        /* of CHOICE: separated by blanks */
    const char *allowed;        /* of TEXT: completes "must be …" */
    bool (*check)(char *value); /* of TEXT: is it good? May shorten it in place. NULL: anything is */
    bool secret;
    const char *description;
};

/* Checks of the table, see struct sbx_setting. */
bool sbx_check_api_key(char *value), sbx_check_base_path(char *value), sbx_check_dsn(char *value),
    sbx_check_runtime(char *value), sbx_check_replica(char *value), sbx_check_redis_url(char *value),
    sbx_check_image(char *value), sbx_check_pool(char *value), sbx_check_host(char *value),
    sbx_check_docker_host(char *value), sbx_check_listen(char *value), sbx_check_path(char *value),
    sbx_check_names(char *value);

extern const struct sbx_setting sbx_settings[];
extern const size_t sbx_settings_count;

/* The setting of that name, NULL when there is none. */
const struct sbx_setting *sbx_setting_find(const char *name);

/* Put the value that text says into the config; -1 when it is not allowed (*config is unchanged then) or,
 * with errno ENOMEM, when there is no memory. A string that is there already is released. */
int sbx_setting_parse(const struct sbx_setting *setting, const char *text, struct sbx_config *config);

/* The value as it is stored; "" for an unset one. */
void sbx_setting_format(const struct sbx_setting *setting, const struct sbx_config *config, char *out,
                        size_t size);

/* What is allowed, completing "must be …". */
void sbx_setting_allowed(const struct sbx_setting *setting, char *out, size_t size);

#endif
