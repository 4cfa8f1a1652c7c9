#include <cstring>

#include "ep/ll/combine.h"
#include "ep/ll/records.h"
#include "ep/numeric/float16.h"
#include "ep/numeric/quantise.h"
#include "ep/numeric/reduce.h"
#include "ep/routing.h"
#include "ep/address_check.h"

namespace emu::ep {

namespace {

// The messages of an operation that stay open until the rows that they announce have been read.
class OpenMessages {
 public:
  explicit OpenMessages(const LlExecution& execution) : turn_(execution) {}
  ~OpenMessages() {
    for (int source = 0; source < 64; ++source) {
      if ((open_ >> source & 1) != 0) turn_.release(source);
    }
  }
  OpenMessages(const OpenMessages&) = delete;
  OpenMessages& operator=(const OpenMessages&) = delete;
  void add(int source) { open_ |= uint64_t{1} << source; }

 private:
  const LlExecution& turn_;
  uint64_t open_ = 0;
};

}  // namespace

size_t LlCombine::inputRows() const {
  const size_t perRank = group->shape.ranks * group->shape.maxDispatch;
  return rankMajor ? perRank : group->shape.local() * perRank;
}

// An NVFP4 row carries the caller's factor of the row behind it.
size_t LlCombine::stagedBytes() const { return fp4 ? fp4RowBytes(elements) + sizeof(float) : rowBytes; }

// Puts every row that came with the last dispatch on this handle into the send buffer, by home rank, and tells the home ranks.
cudaError_t LlCombine::send(WorkContext& context, LlExecution& execution) const {
  const Shape& shape = group->shape;
  LlState& ll = group->ll;
  AddressCheck check(context, launch.function, group->rank);
  check.rows("inputs.tokens", in, inputRows() * rowBytes);
  if (fp4) check.elements("inputs.scales", inScales, inputRows());
  check.bytes("handle memory", block, llHandleBytes(shape, topk));
  if (check.error() != cudaSuccess) return check.error();

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
      return context.fail(cudaErrorLaunchFailure, "%s on rank %d: the handle memory holds no dispatch", launch.function, group->rank);
    }
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      const int32_t* const record = records.entry(home, i);
      for (size_t k = 0; k < positions; ++k) {
        const int32_t row = record[1 + k];
        if (row < 0) continue;
        if (static_cast<size_t>(row) >= inputRows() || used >= ll.sendBuffers.maxEntries) {
          return context.fail(cudaErrorLaunchFailure, "%s on rank %d: the handle memory was overwritten", launch.function, group->rank);
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
  return cudaSuccess;
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
cudaError_t LlCombine::receive(WorkContext& context, LlExecution& execution) const {
  LlState& ll = group->ll;
  AddressCheck addresses(context, launch.function, group->rank);
  addresses.elements("topk_idx", routing, tokens * topk, RoutingReader::elementBytes(wideRouting));
  if (!rankMajor) addresses.elements("outputs.topk_weights", weights, tokens * topk);
  addresses.rows("outputs.tokens", out, tokens * rowBytes);
  if (addresses.error() != cudaSuccess) return addresses.error();

  const RoutingReader reader(routing, wideRouting);
  ExpertCheck check(launch.function, group->rank, group->shape.experts);
  ll.order.resize(tokens * topk);
  for (size_t i = 0; i < tokens * topk; ++i) ll.order[i] = check(reader.at(i));
  const int32_t* const ids = ll.order.data();
  ll.contributions.assign(tokens * topk, nullptr);

  OpenMessages open(execution);
  for (const int32_t source : execution.sourceOrder()) {
    bool present = false;
    uint32_t count = 0;
    if (const cudaError_t error = execution.receive(source, &present, &count)) return error;
    if (!present) continue;
    open.add(source);
    if (const cudaError_t error = note(context, execution, source, count, ids)) return error;
  }
  if (const cudaError_t error = reduce(context, ids)) return error;
  return check.result(context);
}

// Enters the rows of one source where their tokens look for them.
cudaError_t LlCombine::note(WorkContext& context, const LlExecution& execution, int source, uint32_t count, const int32_t* ids) const {
  const SendBuffer from = execution.buffer(source);
  if (const cudaError_t error = checkSource(context, source, from.header(), stagedBytes())) return error;
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
  return cudaSuccess;
}

cudaError_t LlCombine::missing(WorkContext& context, size_t token, int32_t expert) const {
  return context.fail(cudaErrorLaunchFailure,
                      "%s on rank %d: no row came back for token %zu and expert %d; the routing is not that of the last dispatch",
                      launch.function, group->rank, token, expert);
}

cudaError_t LlCombine::reduce(WorkContext& context, const int32_t* ids) const {
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
        return missing(context, t, expert);
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
    } else if (rankMajor) {
      sumRows(type, rows, n, elements, result);
    } else {
      sumWeightedRows(type, rows, factors, n, elements, result);
    }
  }
  return cudaSuccess;
}

}  // namespace emu::ep
