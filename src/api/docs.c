/* GET /openapi.json and GET /docs: the interface's description, and a page that renders it. Both are part of
 * the program. */
#include "api/internal.h"

/* An asset as the assembler takes it in: name[] to name_end. */
#define ASSET(name, file)                                                                                    \
    __asm__(".pushsection .rodata\n.globl " #name "\n" #name ":\n.incbin \"" file "\"\n.globl " #name        \
            "_end\n" #name "_end:\n.byte 0\n.popsection\n");                                                 \
    extern const char name[];                                                                                \
    extern const char name##_end[]

ASSET(sbx_asset_openapi, "docs/openapi.json");
ASSET(sbx_asset_page, "src/api/docs.html");

int sbx_handle_openapi(struct sbx_call *call, struct sbx_err *err)
{
    return sbx_answer(call->request, 200, "application/json", sbx_asset_openapi,
                      (size_t)(sbx_asset_openapi_end - sbx_asset_openapi), err);
}

int sbx_handle_docs(struct sbx_call *call, struct sbx_err *err)
{
    /* It needs nothing but itself and the description beside it. */
    sbx_answer_header(
        call->request, "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    return sbx_answer(call->request, 200, "text/html; charset=utf-8", sbx_asset_page,
                      (size_t)(sbx_asset_page_end - sbx_asset_page), err);
}
