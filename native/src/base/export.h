// What the shared library exports: everything else is hidden.
#pragma once

#define EMU_EXPORT __attribute__((visibility("default")))
#define EMU_API extern "C" EMU_EXPORT
