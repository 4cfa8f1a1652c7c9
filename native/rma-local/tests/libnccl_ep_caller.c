// A library with the name of NCCL EP, which calls what it is given.
#include <stddef.h>

int callFromNcclEp(int (*function)(char*, size_t), char* name, size_t size) {
  const int result = function(name, size);
  // Not the last thing that is done here, so that the call returns here.
  name[size - 1] = '\0';
  return result;
}
