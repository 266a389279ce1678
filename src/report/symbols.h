/* Names for return addresses, from the running program's own symbol table (which, unlike dladdr, knows its
 * static functions) and from dladdr for libraries. */
#ifndef SBX_REPORT_SYMBOLS_H
#define SBX_REPORT_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>

struct sbx_symbols {
    void *map; /* the program's file; NULL: it cannot be read */
    size_t size;
    const void *table;
    size_t count;
    const char *names;
    size_t names_size;
};

struct sbx_frame_name {
    char function[96]; /* "" when it has none, as in a stripped program */
    char module[96];   /* file name of program or library */
    size_t offset;     /* of the address in the module, for addr2line */
    bool in_app;
};

/* Without a readable symbol table names are fewer; that is no error. */
void sbx_symbols_init(struct sbx_symbols *symbols);
void sbx_symbols_done(struct sbx_symbols *symbols);

void sbx_symbols_name(const struct sbx_symbols *symbols, const void *address, struct sbx_frame_name *ret);

#endif
