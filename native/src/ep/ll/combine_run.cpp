#include <cstring>

#include "ep/ll/combine.h"
#include "ep/ll/records.h"
#include "ep/numeric/float16.h"
#include "ep/numeric/quantise.h"
#include "ep/numeric/reduce.h"
#include "ep/routing.h"

namespace emu::ep {

size_t LlCombine::inputRows() const {
  const size_t perRank = group->shape.ranks * group->shape.maxDispatch;
  return rankMajor ? perRank : group->shape.local() * perRank;
}

// An NVFP4 row carries the caller's factor of the row behind it.
size_t LlCombine::stagedBytes() const { return fp4 ? fp4RowBytes(elements) + sizeof(float) : rowBytes; }

// Puts every row that came with the last dispatch on this handle into the send buffer, by home rank, and tells the home
// ranks.
void LlCombine::send(LlExecution& execution) const {
  const Shape& shape = group->shape;
  LlState& ll = group->ll;
  execution.rows("inputs.tokens", in, inputRows() * rowBytes);
  if (fp4) execution.elements("inputs.scales", inScales, inputRows());
  execution.bytes("handle memory", block, llHandleBytes(shape, topk));

  const SendBuffer buffer = execution.mine();
  announce(buffer.header(), stagedBytes());
  uint32_t* const first = buffer.first();
  CombineEntry* const entries = buffer.entries();
  const LlRecords records(block, shape, topk);
  const size_t positions = rankMajor ? 1 : topk;
  size_t used = 0;
  // About as many rows come back as were sent out.
  const RowCopier copier(tokens * positions * rowBytes, shape.ranks);
  for (size_t home = 0; home < shape.ranks; ++home) {
    first[home] = static_cast<uint32_t>(used);
    const int32_t count = ll.active(static_cast<int>(home)) ? records.count(home) : 0;
    if (count < 0 || static_cast<size_t>(count) > shape.maxDispatch) {
      execution.fail("the handle memory holds no dispatch");
    }
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      const int32_t* const record = records.entry(home, i);
      for (size_t k = 0; k < positions; ++k) {
        const int32_t row = record[1 + k];
        if (row < 0) continue;
        if (static_cast<size_t>(row) >= inputRows() || used >= ll.sendBuffers.maxEntries) {
          execution.fail("the handle memory was overwritten");
        }
        entries[used] = CombineEntry{static_cast<uint32_t>(record[0]), static_cast<uint32_t>(k)};
        stageRow(buffer.combineRow(used), static_cast<size_t>(row), copier);
        ++used;
      }
    }
  }
  first[shape.ranks] = static_cast<uint32_t>(used);
  copier.finish();
  execution.postToActive();
}

void LlCombine::stageRow(unsigned char* to, size_t row, const RowCopier& copier) const {
  const unsigned char* const from = in + row * rowBytes;
  if (!fp4) {
    copier.copy(to, from, rowBytes);
    return;
  }
  quantiseFp4(reinterpret_cast<const uint16_t*>(from), elements, inScales[row], to);
  std::memcpy(to + fp4RowBytes(elements), &inScales[row], sizeof(float));
}

// Waits for all ranks, then adds up.
void LlCombine::receive(LlExecution& execution) const {
  LlState& ll = group->ll;
  execution.elements("topk_idx", routing, tokens * topk, RoutingReader::elementBytes(wideRouting));
  if (!rankMajor) execution.elements("outputs.topk_weights", weights, tokens * topk);
  execution.rows("outputs.tokens", out, tokens * rowBytes);

  const RoutingReader reader(routing, wideRouting);
  ExpertCheck check(group->shape.experts);
  ll.order.resize(tokens * topk);
  for (size_t i = 0; i < tokens * topk; ++i) ll.order[i] = check(reader.at(i));
  const int32_t* const ids = ll.order.data();
  ll.contributions.assign(tokens * topk, nullptr);

  for (const int32_t source : execution.sourceOrder()) {
    if (const auto count = execution.receive(source)) note(execution, source, *count, ids);
  }
  reduce(execution, ids);
  check.finish(execution);
}

// Enters the rows of one source where their tokens look for them.
void LlCombine::note(LlExecution& execution, int source, uint32_t count, const int32_t* ids) const {
  const SendBuffer from = execution.buffer(source);
  checkSource(execution, source, from.header(), stagedBytes());
  const auto local = static_cast<int32_t>(group->shape.local());
  const uint32_t begin = from.first()[group->rank];
  for (uint32_t i = begin; i < begin + count; ++i) {
    const CombineEntry entry = from.entries()[i];
    if (entry.token >= tokens || entry.position >= topk) continue;
    size_t place = entry.token * topk + entry.position;
    if (rankMajor) {  // the first position with an expert of that rank stands for all
      size_t k = 0;
      while (k < topk && (ids[entry.token * topk + k] < 0 || ids[entry.token * topk + k] / local != source)) ++k;
      if (k == topk) continue;
      place = entry.token * topk + k;
    } else if (ids[place] < 0 || ids[place] / local != source) {
      continue;
    }
    group->ll.contributions[place] = from.combineRow(i);
  }
}

void LlCombine::reduce(Execution& execution, const int32_t* ids) const {
  LlState& ll = group->ll;
  const auto local = static_cast<int32_t>(group->shape.local());
  const void* rows[kMaxLlTopk];
  float factors[kMaxLlTopk];
  if (fp4) ll.sums.resize(elements);
  ll.lastToken.assign(group->shape.ranks, 0);
  for (size_t t = 0; t < tokens; ++t) {
    size_t n = 0;
    for (size_t k = 0; k < topk; ++k) {
      const int32_t expert = ids[t * topk + k];
      if (expert < 0 || !ll.active(expert / local)) continue;
      if (rankMajor) {
        uint32_t& last = ll.lastToken[static_cast<size_t>(expert / local)];
        if (last == t + 1) continue;
        last = static_cast<uint32_t>(t + 1);
      }
      const void* const row = ll.contributions[t * topk + k];
      if (row == nullptr) {
        if (ll.mask || ll.silent) continue;  // ranks that were masked for a while had nothing to return
        execution.fail("no row came back for token %zu and expert %d; the routing is not that of the last dispatch", t,
                       expert);
      }
      rows[n] = row;
      factors[n] = rankMajor ? 1.0f : weights[t * topk + k];
      ++n;
    }
    unsigned char* const result = out + t * rowBytes;
    if (fp4) {
      std::fill(ll.sums.begin(), ll.sums.end(), 0.0f);
      for (size_t i = 0; i < n; ++i) {
        float global;
        std::memcpy(&global, static_cast<const unsigned char*>(rows[i]) + fp4RowBytes(elements), sizeof global);
        addFp4Row(static_cast<const uint8_t*>(rows[i]), elements, global, factors[i], ll.sums.data());
      }
      for (size_t i = 0; i < elements; ++i) reinterpret_cast<uint16_t*>(result)[i] = toBf16(ll.sums[i]);
    } else {
      sumRows(type, rows, rankMajor ? nullptr : factors, n, elements, result);
    }
  }
}

}  // namespace emu::ep
