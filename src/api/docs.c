/* GET /openapi.json and GET /docs: the interface's description, and a page that renders it. Both are part of
 * the program. */
#include "api/internal.h"

/* An asset as the assembler takes it in, and its size. */
#define ASSET(name, file)                                                                                    \
    __asm__(".pushsection .rodata\n.globl " #name "\n" #name ":\n.incbin \"" file                            \
            "\"\n1:\n.balign 8\n.globl " #name "_size\n" #name "_size:\n.quad 1b - " #name                   \
            "\n.popsection\n");                                                                              \
    extern const char name[];                                                                                \
    extern const uint64_t name##_size

ASSET(sbx_asset_openapi, "docs/openapi.json");
ASSET(sbx_asset_page, "src/api/docs.html");

int sbx_handle_openapi(struct sbx_call *call, struct sbx_err *err)
{
    return sbx_answer(call->request, 200, "application/json", sbx_asset_openapi,
                      (size_t)sbx_asset_openapi_size, err);
}

int sbx_handle_docs(struct sbx_call *call, struct sbx_err *err)
{
    /* It needs nothing but itself and the description beside it. */
    sbx_answer_header(
        call->request, "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    return sbx_answer(call->request, 200, "text/html; charset=utf-8", sbx_asset_page,
                      (size_t)sbx_asset_page_size, err);
}
