// Texts of functions with a format.
#pragma once

#include <cstdarg>
#include <cstdio>

// Declares `text`: what the function that this stands in was given behind its parameter `format`.
#define EMU_TEXT(text, format)                              \
  char text[1024];                                          \
  va_list emuArguments;                                     \
  va_start(emuArguments, format);                           \
  std::vsnprintf(text, sizeof text, format, emuArguments);  \
  va_end(emuArguments)
