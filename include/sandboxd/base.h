/* Everything of src/base: errors, buffers, logs, settings, JSON, waits, small helpers. */
#ifndef SANDBOXD_BASE_H
#define SANDBOXD_BASE_H

#include "sandboxd/base/buf.h"
#include "sandboxd/base/clients.h"
#include "sandboxd/base/config.h"
#include "sandboxd/base/dsn.h"
#include "sandboxd/base/err.h"
#include "sandboxd/base/json.h"
#include "sandboxd/base/log.h"
#include "sandboxd/base/metrics.h"
#include "sandboxd/base/proc.h"
#include "sandboxd/base/spool.h"
#include "sandboxd/base/stack.h"
#include "sandboxd/base/trace.h"
#include "sandboxd/base/util.h"
#include "sandboxd/base/wait.h"

#endif
