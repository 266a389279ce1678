/* Settings for people and for templates. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/config_table.h"
#include "sandboxd/base/util.h"

#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

/* As it would be written in the environment. An empty text that is not unset is the API's base path, whose
 * way to say "the root" is a slash. */
static void format_written(const struct sbx_setting *setting, const struct sbx_config *config, char *out,
                           size_t size)
{
    sbx_setting_format(setting, config, out, size);
    if (setting->offset == offsetof(struct sbx_config, api_v1_str) && out[0] == '\0' && size > 1)
        memcpy(out, "/", 2);
}

void sbx_config_print(const struct sbx_config *config, FILE *out)
{
    char value[SBX_SETTING_TEXT_MAX + 1];
    for (size_t i = 0; i < sbx_settings_count; i++) {
        format_written(&sbx_settings[i], config, value, sizeof(value));
        fprintf(out, "%s=%s\n", sbx_settings[i].name,
                sbx_settings[i].secret && value[0] ? SBX_SETTING_MASK : value);
    }
}

void sbx_config_print_markdown(FILE *out)
{
    char allowed[160];
    fputs("| Variable | Default | Allowed | Meaning |\n| --- | --- | --- | --- |\n", out);
    for (size_t i = 0; i < sbx_settings_count; i++) {
        const struct sbx_setting *setting = &sbx_settings[i];
        sbx_setting_allowed(setting, allowed, sizeof(allowed));
        fprintf(out, "| `%s` | ", setting->name);
        if (setting->initial)
            fprintf(out, "`%s`", setting->initial);
        else
            fputs(setting->otherwise ? setting->otherwise : "unset", out);
        fprintf(out, " | %s | %s |\n", allowed, setting->description);
    }
}

int sbx_config_get(const struct sbx_config *config, const char *name, char *out, size_t size)
{
    const struct sbx_setting *setting = sbx_setting_find(name);
    if (!setting)
        return -1;
    format_written(setting, config, out, size);
    return 0;
}

/* Inside double quotes nginx takes a quote and a backslash for themselves only behind a backslash. */
static void put_escaped(const char *value, FILE *out)
{
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            fputc('\\', out);
        fputc(*value, out);
    }
}

static int put_value(const struct sbx_config *config, const char *name, FILE *out,
                     const char *const extra[][2])
{
    for (size_t i = 0; extra && extra[i][0]; i++) {
        if (strcmp(extra[i][0], name) == 0) {
            fputs(extra[i][1], out);
            return 0;
        }
    }
    const struct sbx_setting *setting = sbx_setting_find(name);
    if (!setting)
        return -1;
    char value[SBX_SETTING_TEXT_MAX + 1];
    sbx_setting_format(setting, config, value, sizeof(value));
    put_escaped(value, out);
    return 0;
}

/* One line. An @ that does not begin @NAME@ (a named location, say) stands for itself. */
static int render_line(const struct sbx_config *config, char *line, int number, FILE *out,
                       const char *const extra[][2], struct sbx_err *err)
{
    char *at;
    while ((at = strchr(line, '@'))) {
        size_t n = strspn(at + 1, NAME_CHARACTERS);
        fwrite(line, 1, (size_t)(at - line), out);
        if (n == 0 || at[1 + n] != '@') {
            fputc('@', out);
            line = at + 1;
            continue;
        }
        at[1 + n] = '\0';
        if (put_value(config, at + 1, out, extra) < 0)
            return sbx_err_set(err, SBX_ERR_INVALID, "template line %d: there is no setting %.80s", number,
                               at + 1);
        line = at + 1 + n + 1;
    }
    fputs(line, out);
    return 0;
}

/* A line "@IF NAME@" or "@END@": 1, and *skip says whether what follows is left out; 0: it is another line.
 */
static int read_condition(const struct sbx_config *config, const char *line, int number, bool *skip,
                          struct sbx_err *err)
{
    char name[80], value[SBX_SETTING_TEXT_MAX + 1];
    if (strcmp(line, "@END@\n") == 0) {
        *skip = false;
        return 1;
    }
    if (sscanf(line, "@IF %79[A-Z0-9_]@", name) != 1)
        return 0;
    const struct sbx_setting *setting = sbx_setting_find(name);
    if (!setting)
        return sbx_err_set(err, SBX_ERR_INVALID, "template line %d: there is no setting %s", number, name);
    sbx_setting_format(setting, config, value, sizeof(value));
    *skip = value[0] == '\0';
    return 1;
}

int sbx_config_render(const struct sbx_config *config, FILE *in, FILE *out, const char *const extra[][2],
                      struct sbx_err *err)
{
    SBX_AUTO_FREE char *line = NULL;
    size_t size = 0;
    bool skip = false;
    for (int number = 1; getline(&line, &size, in) >= 0; number++) {
        int condition = read_condition(config, line, number, &skip, err);
        if (condition < 0)
            return -1;
        if (condition || skip)
            continue;
        if (render_line(config, line, number, out, extra, err) < 0)
            return -1;
    }
    if (ferror(in))
        return sbx_err_set(err, SBX_ERR_INTERNAL, "cannot read the template");
    if (fflush(out) != 0 || ferror(out))
        return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot write what was made of the template");
    return 0;
}
