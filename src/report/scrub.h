/* What must not leave the machine is taken out of every text that does, wherever it came from. */
#ifndef SBX_REPORT_SCRUB_H
#define SBX_REPORT_SCRUB_H

#include "sandboxd/base.h"

struct sbx_scrub {
    struct {
        const char *text; /* borrowed from the settings */
        size_t len;
    } secrets[4];
    size_t count;
};

/* The settings' secrets; shorter ones than six characters are left out, they are part of any text. */
void sbx_scrub_init(struct sbx_scrub *scrub, const struct sbx_config *config);

/* Copy text, each secret and each user:password of a URL replaced by "[Filtered]"; cut to size. */
void sbx_scrub_text(const struct sbx_scrub *scrub, const char *text, char *out, size_t size);

#endif
