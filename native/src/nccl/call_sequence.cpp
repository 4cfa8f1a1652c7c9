#include "nccl/call_sequence.h"

#include <cstring>

namespace emu::nccl {

namespace {

using arena::CalledOperation;

constexpr size_t kTextBytes = sizeof(CalledOperation);

CalledOperation& placeOf(Team& ranks, int rank, uint64_t number) {
  return ranks.area(rank).calls[number % arena::kCallsKept];
}

// Word by word, since another rank may be reading what is overwritten here. Who has read a word of the new text sees in
// `calls`, too, that the old one is forgotten.
void write(CalledOperation& place, const std::string& operation) {
  char text[kTextBytes] = {};
  operation.copy(text, sizeof text - 1);
  for (size_t i = 0; i < arena::kCallWords; ++i) {
    uint64_t word;
    memcpy(&word, text + i * sizeof word, sizeof word);
    place.words[i].store(word, std::memory_order_release);
  }
}

std::string read(const CalledOperation& place) {
  char text[kTextBytes];
  for (size_t i = 0; i < arena::kCallWords; ++i) {
    const uint64_t word = place.words[i].load(std::memory_order_acquire);
    memcpy(text + i * sizeof word, &word, sizeof word);
  }
  return std::string(text, strnlen(text, sizeof text));
}

// Whether the rank has called that many operations, and not so many more that this one is forgotten.
bool kept(Team& ranks, int rank, uint64_t number) {
  const uint64_t called = ranks.control().ranks[rank].calls.load(std::memory_order_acquire);
  return called > number && called - number < arena::kCallsKept;
}

}  // namespace

std::string noteCall(Team& ranks, const std::string& operation) {
  const uint64_t number = ranks.state().calls.load(std::memory_order_relaxed);
  write(placeOf(ranks, ranks.rank(), number), operation);
  ranks.state().calls.store(number + 1, std::memory_order_release);
  const std::string mine = read(placeOf(ranks, ranks.rank(), number));
  for (int rank = 0; rank < ranks.size(); ++rank) {
    if (rank == ranks.rank() || !kept(ranks, rank, number)) continue;
    const std::string other = read(placeOf(ranks, rank, number));
    if (other == mine || !kept(ranks, rank, number)) continue;
    return "the ranks called different operations: call " + std::to_string(number + 1) + " is " + mine + " on rank " +
           std::to_string(ranks.rank()) + " and " + other + " on rank " + std::to_string(rank);
  }
  return "";
}

}  // namespace emu::nccl
