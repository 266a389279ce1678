#include "report/symbols.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "sandboxd/base.h"

/* [offset, offset + n) of the file, NULL when it is not there. */
static const void *part(const struct sbx_symbols *symbols, uint64_t offset, uint64_t n)
{
    if (offset > symbols->size || n > symbols->size - offset)
        return NULL;
    return (const char *)symbols->map + offset;
}

static void find_table(struct sbx_symbols *symbols)
{
    const ElfW(Ehdr) *head = part(symbols, 0, sizeof(*head));
    if (!head || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 || head->e_shentsize != sizeof(ElfW(Shdr)))
        return;
    const ElfW(Shdr) *sections = part(symbols, head->e_shoff, head->e_shnum * sizeof(*sections));
    for (size_t i = 0; sections && i < head->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB || sections[i].sh_link >= head->e_shnum)
            continue;
        const ElfW(Shdr) *strings = &sections[sections[i].sh_link];
        symbols->table = part(symbols, sections[i].sh_offset, sections[i].sh_size);
        symbols->names = part(symbols, strings->sh_offset, strings->sh_size);
        symbols->names_size = strings->sh_size;
        if (symbols->table && symbols->names && symbols->names_size > 0 &&
            symbols->names[symbols->names_size - 1] == '\0')
            symbols->count = sections[i].sh_size / sizeof(ElfW(Sym));
    }
}

void sbx_symbols_init(struct sbx_symbols *symbols)
{
    *symbols = (struct sbx_symbols){.map = NULL};
    SBX_AUTO_CLOSE int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= 0)
        return;
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return;
    symbols->map = map;
    symbols->size = (size_t)st.st_size;
    find_table(symbols);
}

void sbx_symbols_done(struct sbx_symbols *symbols)
{
    if (symbols->map)
        munmap(symbols->map, symbols->size);
    symbols->map = NULL;
    symbols->count = 0;
}

static const char *own_function(const struct sbx_symbols *symbols, size_t offset)
{
    const ElfW(Sym) *table = symbols->table;
    for (size_t i = 0; i < symbols->count; i++) {
        if (ELF64_ST_TYPE(table[i].st_info) == STT_FUNC && offset >= table[i].st_value &&
            offset - table[i].st_value < table[i].st_size && table[i].st_name < symbols->names_size)
            return symbols->names + table[i].st_name;
    }
    return NULL;
}

void sbx_symbols_name(const struct sbx_symbols *symbols, const void *address, struct sbx_frame_name *ret)
{
    Dl_info own;
    Dl_info info;
    const char *call = (const char *)address - 1; /* a return address may be the next function's first byte */
    *ret = (struct sbx_frame_name){.offset = (size_t)call};
    if (!dladdr(call, &info) || !info.dli_fname)
        return;
    const char *slash = strrchr(info.dli_fname, '/');
    ret->offset = (size_t)(call - (const char *)info.dli_fbase);
    ret->in_app = dladdr((const void *)(uintptr_t)sbx_symbols_name, &own) && own.dli_fbase == info.dli_fbase;
    const char *function = ret->in_app ? own_function(symbols, ret->offset) : NULL;
    if (!function)
        function = info.dli_sname;
    snprintf(ret->module, sizeof(ret->module), "%s", slash ? slash + 1 : info.dli_fname);
    if (!function)
        return;
    /* Without the compiler's ".isra.0", ".part.0", ".cold": reports of two builds are to look alike. */
    snprintf(ret->function, sizeof(ret->function), "%.*s", (int)strcspn(function, "."), function);
}
