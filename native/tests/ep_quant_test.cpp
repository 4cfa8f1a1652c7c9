// 5.7: quantisation recipes, end to end and refused.
#include <cmath>

#include "ep/numeric/quantise.h"
#include "ep_round.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

// A dispatch whose every field a test may bend.
struct Plan {
  ncclEpDispatchInputs_t inputs = made<ncclEpDispatchInputs_t>();
  ncclEpDispatchOutputs_t outputs = made<ncclEpDispatchOutputs_t>();
  ncclEpLayoutInfo_t info = made<ncclEpLayoutInfo_t>();
  ncclEpDispatchConfig_t config = made<ncclEpDispatchConfig_t>();
  ncclResult_t run(ncclEpHandle_t handle, const Rank& rank) {
    return ncclEpDispatch(handle, &inputs, &outputs, &info, &config, rank.stream);
  }
};

// Bytes that tell where a row came from.
void mark(Tensor& tensor, int rank) {
  for (size_t i = 0; i < tensor.bytes(); ++i) {
    tensor.raw<unsigned char>()[i] = static_cast<unsigned char>(i * 7 + static_cast<size_t>(rank) * 31);
  }
}

struct Forwarded {
  ncclDataType_t tokens;
  ncclDataType_t scales;
};

// 5.7.2: token and scale bytes arrive as they were sent, on every layout, in every type.
TEST(EpQuant, S572ForwardLowLatency) {
  for (const ncclEpLayout_t layout : {NCCL_EP_LAYOUT_EXPERT_MAJOR, NCCL_EP_LAYOUT_RANK_MAJOR}) {
    for (const Forwarded& types : {Forwarded{ncclFloat8e4m3, ncclFloat32}, Forwarded{ncclFloat4x2, ncclUint8},
                                   Forwarded{ncclFloat8e5m2, ncclFloat8e4m3}, Forwarded{ncclBfloat16, ncclFloat16}}) {
      Case facts;
      facts.layout = layout;
      facts.ranks = 2;
      std::mt19937_64 random(81);
      const World world = randomWorld(facts, random);
      asThreads(2, [&](Rank& rank) {
        const size_t tokens = world.inputs[rank.rank].tokens;
        const size_t width = 48, scaleWidth = 32;
        const size_t rowBytes = width * bytesOf(types.tokens), scaleBytes = scaleWidth * bytesOf(types.scales);
        Group group(rank, lowLatency(8, 16, static_cast<unsigned>(rowBytes + scaleBytes)));
        Handle handle(group, layout, facts.topk);
        Tensor topk(ncclInt64, {tokens, 2}), weights(ncclFloat32, {tokens, 2});
        topk.write(world.inputs[rank.rank].ids);
        weights.write(world.inputs[rank.rank].weights);
        Tensor in(types.tokens, {tokens, width}), scales(types.scales, {tokens, scaleWidth});
        mark(in, rank.rank);
        mark(scales, rank.rank + 100);
        const bool expert = facts.expertMajor();
        const size_t outer = expert ? 4 : 2, inner = expert ? 32 : 16;
        Tensor out(types.tokens, {outer, inner, width}), outScales(types.scales, {outer, inner, scaleWidth});
        Tensor counters(ncclInt32, {expert ? size_t{4} : size_t{2}}), outWeights(ncclFloat32, {2, 16, 2}),
            ids(ncclInt32, {2, 16, 2});
        Plan plan;
        plan.config.quant_recipe = NCCL_EP_DISP_QUANT_FWD;
        plan.inputs.tokens = in;
        plan.inputs.scales = scales;
        plan.outputs.tokens = out;
        plan.outputs.scales = outScales;
        (expert ? plan.info.expert_counters : plan.info.src_rank_counters) = counters;
        if (!expert) {
          plan.inputs.topk_weights = weights;
          plan.outputs.topk_weights = outWeights;
          plan.outputs.topk_idx = ids;
        }
        EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, topk, nullptr, rank.stream));
        EXPECT_EP(ncclSuccess, plan.run(handle, rank));
        synchronize(rank);
        const auto zones = expert ? llZones(world, rank.rank) : llSources(world, rank.rank);
        for (size_t z = 0; z < zones.size(); ++z) {
          ASSERT_EQ(static_cast<int32_t>(zones[z].size()), counters.raw<int32_t>()[z]);
          for (size_t i = 0; i < zones[z].size(); ++i) {
            for (size_t b = 0; b < rowBytes; ++b) {
              const auto expected = static_cast<unsigned char>((zones[z][i].token * rowBytes + b) * 7 +
                                                               static_cast<size_t>(zones[z][i].source) * 31);
              ASSERT_EQ(expected, out.raw<unsigned char>()[(z * inner + i) * rowBytes + b]);
            }
            for (size_t b = 0; b < scaleBytes; ++b) {
              const auto expected = static_cast<unsigned char>((zones[z][i].token * scaleBytes + b) * 7 +
                                                               static_cast<size_t>(zones[z][i].source + 100) * 31);
              ASSERT_EQ(expected, outScales.raw<unsigned char>()[(z * inner + i) * scaleBytes + b]);
            }
          }
        }
      });
    }
  }
}

TEST(EpQuant, S572ForwardHighThroughput) {
  for (const bool window : {false, true}) {
    for (const ncclEpLayout_t layout : {NCCL_EP_LAYOUT_FLAT, NCCL_EP_LAYOUT_EXPERT_MAJOR}) {
      Case facts;
      facts.ll = false;
      facts.layout = layout;
      facts.ranks = 2;
      facts.maxReceive = 80;
      facts.alignment = layout == NCCL_EP_LAYOUT_EXPERT_MAJOR ? 4 : 1;
      std::mt19937_64 random(82);
      const World world = randomWorld(facts, random);
      asThreads(2, [&](Rank& rank) {
        const size_t tokens = world.inputs[rank.rank].tokens;
        Group group(rank, highThroughput(8, 16, 48 + 64, 80));
        Handle handle(group, layout, facts.topk, facts.alignment);
        Tensor topk(ncclInt64, {tokens, 2}), weights(ncclFloat32, {tokens, 2}), in(ncclFloat8e4m3, {tokens, 48}),
            scales(ncclFloat32, {tokens, 16});
        topk.write(world.inputs[rank.rank].ids);
        weights.write(world.inputs[rank.rank].weights);
        mark(in, rank.rank);
        mark(scales, rank.rank + 100);
        auto out = window ? Tensor::windowed(rank.comm, ncclFloat8e4m3, {80, 48}, false)
                          : std::make_unique<Tensor>(ncclFloat8e4m3, std::vector<size_t>{80, 48});
        auto outScales = window ? Tensor::windowed(rank.comm, ncclFloat32, {80, 16})
                                : std::make_unique<Tensor>(ncclFloat32, std::vector<size_t>{80, 16});
        Tensor outWeights(ncclFloat32, facts.expertMajor() ? std::vector<size_t>{80} : std::vector<size_t>{80, 2}),
            ids(ncclInt64, {80, 2});
        Plan plan;
        plan.config.quant_recipe = NCCL_EP_DISP_QUANT_FWD;
        plan.inputs.tokens = in;
        plan.inputs.scales = scales;
        plan.inputs.topk_weights = weights;
        plan.outputs.tokens = *out;
        plan.outputs.scales = *outScales;
        plan.outputs.topk_weights = outWeights;
        if (!facts.expertMajor()) plan.outputs.topk_idx = ids;
        EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, topk, nullptr, rank.stream));
        EXPECT_EP(ncclSuccess, plan.run(handle, rank));
        synchronize(rank);
        const HtLayout layoutOf = htLayout(world, rank.rank);
        std::vector<std::optional<Arrival>> rows(layoutOf.flat.begin(), layoutOf.flat.end());
        if (facts.expertMajor()) rows = layoutOf.rows;
        for (size_t i = 0; i < rows.size(); ++i) {
          for (size_t b = 0; b < 48; ++b) {
            const auto expected = rows[i] ? static_cast<unsigned char>((rows[i]->token * 48 + b) * 7 +
                                                                       static_cast<size_t>(rows[i]->source) * 31)
                                          : 0;
            ASSERT_EQ(expected, out->raw<unsigned char>()[i * 48 + b]);
          }
          for (size_t b = 0; b < 64; ++b) {
            const auto expected = rows[i] ? static_cast<unsigned char>((rows[i]->token * 64 + b) * 7 +
                                                                       static_cast<size_t>(rows[i]->source + 100) * 31)
                                          : 0;
            ASSERT_EQ(expected, outScales->raw<unsigned char>()[i * 64 + b]);
          }
        }
        // Both in windows, or neither.
        Tensor plain(ncclFloat32, {80, 16});
        if (window) {
          plan.outputs.scales = plain;
          EXPECT_EP(ncclInvalidArgument, plan.run(handle, rank));
        }
      });
    }
  }
}

// 5.7.3: values and factors, row by row.
TEST(EpQuant, S573Fp8LowLatency) {
  for (const ncclEpLayout_t layout : {NCCL_EP_LAYOUT_EXPERT_MAJOR, NCCL_EP_LAYOUT_RANK_MAJOR}) {
    Case facts;
    facts.layout = layout;
    facts.ranks = 2;
    facts.maxTokens = 4;
    facts.hidden = 2048;
    std::mt19937_64 random(83);
    const World world = randomWorld(facts, random);
    asThreads(2, [&](Rank& rank) {
      const size_t tokens = world.inputs[rank.rank].tokens;
      Group group(rank, lowLatency(8, 4, 2 * 2048));
      Handle handle(group, layout, facts.topk);
      Tensor topk(ncclInt64, {tokens, 2}), weights(ncclFloat32, {tokens, 2}), in(ncclBfloat16, {tokens, 2048});
      topk.write(world.inputs[rank.rank].ids);
      for (size_t i = 0; i < world.inputs[rank.rank].rows.size(); ++i) {
        encode(ncclBfloat16, world.inputs[rank.rank].rows[i], in.raw<unsigned char>() + i * 2);
      }
      const bool expert = facts.expertMajor();
      const size_t outer = expert ? 4 : 2, inner = expert ? 8 : 4;
      Tensor out(ncclFloat8e4m3, {outer, inner, 2048}), factors(ncclFloat32, {outer, inner, 16});
      Tensor counters(ncclInt32, {expert ? size_t{4} : size_t{2}}), outWeights(ncclFloat32, {2, 4, 2}),
          ids(ncclInt32, {2, 4, 2});
      Plan plan;
      plan.inputs.tokens = in;
      plan.outputs.tokens = out;
      plan.outputs.scales = factors;
      plan.config.round_scales = 1;
      plan.config.quant_recipe = NCCL_EP_DISP_QUANT_DS_FP8E3M4;
      (expert ? plan.info.expert_counters : plan.info.src_rank_counters) = counters;
      if (!expert) {
        plan.inputs.topk_weights = weights;
        plan.outputs.topk_weights = outWeights;
        plan.outputs.topk_idx = ids;
      }
      EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, topk, nullptr, rank.stream));
      EXPECT_EP(ncclSuccess, plan.run(handle, rank));
      synchronize(rank);
      const auto zones = expert ? llZones(world, rank.rank) : llSources(world, rank.rank);
      for (size_t z = 0; z < zones.size(); ++z) {
        for (size_t i = 0; i < zones[z].size(); ++i) {
          std::vector<uint16_t> row(2048);
          for (size_t h = 0; h < 2048; ++h) {
            encode(ncclBfloat16, world.x(zones[z][i].source, zones[z][i].token, h),
                   reinterpret_cast<unsigned char*>(&row[h]));
          }
          std::vector<uint8_t> expected(2048);
          std::vector<float> expectedFactors(16);
          emu::ep::quantiseFp8(row.data(), 2048, true, expected.data(), expectedFactors.data());
          ASSERT_EQ(0, std::memcmp(expected.data(), out.raw<unsigned char>() + (z * inner + i) * 2048, 2048));
          for (size_t c = 0; c < 16; ++c) {
            ASSERT_EQ(expectedFactors[c], factors.raw<float>()[(z * inner + i) * 16 + c]);
          }
        }
      }
    });
  }
}

// 5.7.1 to 5.7.3: what each recipe refuses, all by code.
TEST(EpQuant, S57Refusals) {
  asThreads(1, [](Rank& rank) {
    Group group(rank, lowLatency(8, 4, 4096));
    Handle handle(group, NCCL_EP_LAYOUT_EXPERT_MAJOR, 2);
    Tensor topk(ncclInt64, {4, 2}), counters(ncclInt32, {8});
    EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, topk, nullptr, rank.stream));
    Tensor in(ncclBfloat16, {4, 512}), out(ncclBfloat16, {8, 4, 512}), scales(ncclFloat32, {4, 4}),
        outScales(ncclFloat32, {8, 4, 4});
    Tensor bytes(ncclUint8, {4, 512}), half(ncclFloat16, {8, 4, 512}), e4m3(ncclFloat8e4m3, {8, 4, 512}),
        cube(ncclBfloat16, {4, 512, 1});
    const auto refused = [&](const std::function<void(Plan&)>& bend) {
      Plan plan;
      plan.inputs.tokens = in;
      plan.outputs.tokens = out;
      plan.info.expert_counters = counters;
      bend(plan);
      EXPECT_EP(ncclInvalidArgument, plan.run(handle, rank));
    };
    refused([&](Plan& p) { p.inputs.tokens = cube; });
    // NONE
    refused([&](Plan& p) { p.inputs.tokens = bytes; });
    refused([&](Plan& p) { p.outputs.tokens = nullptr; });
    refused([&](Plan& p) { p.outputs.tokens = half; });
    refused([&](Plan& p) { p.inputs.scales = scales; });
    refused([&](Plan& p) { p.outputs.scales = outScales; });
    refused([&](Plan& p) { p.config.quant_recipe = static_cast<ncclEpDispQuant_t>(3); });
    // QUANT_FWD
    const auto forward = [&](const std::function<void(Plan&)>& bend) {
      refused([&](Plan& p) {
        p.config.quant_recipe = NCCL_EP_DISP_QUANT_FWD;
        p.inputs.scales = scales;
        p.outputs.scales = outScales;
        bend(p);
      });
    };
    Tensor odd(ncclBfloat16, {4, 9}), fewScales(ncclFloat32, {3, 4}), noScales(ncclFloat32, {4, 0}),
        oddScales(ncclFloat32, {4, 3});
    Tensor intScales(ncclInt32, {4, 4}), hugeScales(ncclFloat32, {4, 1024}), shifted(ncclBfloat16, {4, 512});
    shifted->data = static_cast<char*>(shifted->data) + 8;
    Tensor wrongScales(ncclFloat32, {8, 4, 8}), wrongOut(ncclBfloat16, {8, 4, 256});
    forward([&](Plan& p) { p.config.round_scales = 1; });
    forward([&](Plan& p) { p.inputs.tokens = bytes; });
    forward([&](Plan& p) { p.inputs.tokens = odd; });
    forward([&](Plan& p) { p.inputs.scales = nullptr; });
    forward([&](Plan& p) { p.outputs.scales = nullptr; });
    forward([&](Plan& p) { p.outputs.tokens = nullptr; });
    forward([&](Plan& p) { p.inputs.tokens = shifted; });
    forward([&](Plan& p) { p.inputs.scales = outScales; });
    forward([&](Plan& p) { p.inputs.scales = intScales; });
    forward([&](Plan& p) { p.inputs.scales = fewScales; });
    forward([&](Plan& p) { p.inputs.scales = noScales; });
    forward([&](Plan& p) { p.inputs.scales = oddScales; });
    forward([&](Plan& p) { p.inputs.scales = hugeScales; });
    forward([&](Plan& p) { p.outputs.tokens = half; });
    forward([&](Plan& p) { p.outputs.tokens = wrongOut; });
    forward([&](Plan& p) { p.outputs.scales = wrongScales; });
    // DS_FP8E3M4
    const auto fp8 = [&](const std::function<void(Plan&)>& bend) {
      refused([&](Plan& p) {
        p.config.quant_recipe = NCCL_EP_DISP_QUANT_DS_FP8E3M4;
        p.outputs.tokens = e4m3;
        p.outputs.scales = outScales;
        bend(p);
      });
    };
    Tensor narrow(ncclBfloat16, {4, 256}), halfIn(ncclFloat16, {4, 512});
    fp8([&](Plan& p) { p.inputs.tokens = narrow; });
    fp8([&](Plan& p) { p.inputs.tokens = halfIn; });
    fp8([&](Plan& p) { p.outputs.tokens = out; });
    fp8([&](Plan& p) { p.inputs.scales = scales; });
    fp8([&](Plan& p) { p.outputs.scales = nullptr; });
    fp8([&](Plan& p) { p.outputs.scales = wrongScales; });
    // BWD on LL comes after the recipe.
    Plan back;
    back.inputs.tokens = in;
    back.outputs.tokens = out;
    back.config.pass_direction = NCCL_EP_BWD_PASS;
    EXPECT_EP(ncclInvalidUsage, back.run(handle, rank));
  });
}

// DS_FP8E3M4 is for LL only.
TEST(EpQuant, S573NotForHighThroughput) {
  asThreads(1, [](Rank& rank) {
    Group group(rank, highThroughput(8, 4, 4096, 8));
    Handle handle(group, NCCL_EP_LAYOUT_FLAT, 2);
    Tensor in(ncclBfloat16, {4, 512}), out(ncclFloat8e4m3, {8, 512}), scales(ncclFloat32, {8, 4});
    Plan plan;
    plan.inputs.tokens = in;
    plan.outputs.tokens = out;
    plan.outputs.scales = scales;
    plan.config.quant_recipe = NCCL_EP_DISP_QUANT_DS_FP8E3M4;
    EXPECT_EP(ncclInvalidArgument, plan.run(handle, rank));
  });
}

// 5.7.4: NVFP4 needs compute capability 10.0, and then comes close to the plain combine.
TEST(EpQuant, S574Nvfp4) {
  for (const char* capability : {"90", "100"}) {
    const Option option("compute_capability", capability);
    for (const ncclEpLayout_t layout : {NCCL_EP_LAYOUT_EXPERT_MAJOR, NCCL_EP_LAYOUT_RANK_MAJOR}) {
      Case facts;
      facts.layout = layout;
      facts.ranks = 2;
      facts.hidden = 1024;
      std::mt19937_64 random(84);
      const World world = randomWorld(facts, random);
      asThreads(2, [&](Rank& rank) {
        Group group(rank, groupConfig(facts));
        Handle handle(group, layout, facts.topk);
        const size_t tokens = world.inputs[rank.rank].tokens;
        Round round(rank, handle, facts, tokens);
        round.load(world);
        round.spoil();
        round.all();
        synchronize(rank);
        round.check(world);
        // Again with NVFP4 over the same experts' rows.
        const bool expert = facts.expertMajor();
        const size_t outer = expert ? 4 : 2, inner = expert ? 32 : 16;
        Tensor scales(ncclFloat32, {outer, inner, 1}), out(ncclBfloat16, {tokens, facts.hidden}),
            weights(ncclFloat32, {tokens, 2});
        weights.write(world.inputs[rank.rank].weights);
        std::vector<float> most(outer * inner, 0.0f);
        for (size_t row = 0; row < outer * inner; ++row) {
          for (size_t h = 0; h < facts.hidden; ++h) {
            const float value =
                std::fabs(decode(ncclBfloat16, round.returned().raw<unsigned char>() + (row * facts.hidden + h) * 2));
            most[row] = std::max(most[row], value);
          }
          scales.raw<float>()[row] = most[row] > 0.0f ? 2688.0f / most[row] : 0.0f;
        }
        auto inputs = made<ncclEpCombineInputs_t>();
        auto outputs = made<ncclEpCombineOutputs_t>();
        auto config = made<ncclEpCombineConfig_t>();
        inputs.tokens = round.returned();
        inputs.scales = scales;
        outputs.tokens = out;
        if (expert) outputs.topk_weights = weights;
        config.quant_recipe = NCCL_EP_COMB_QUANT_NVFP4;
        const bool able = std::strcmp(capability, "100") == 0;
        EXPECT_EP(able ? ncclSuccess : ncclInvalidUsage,
                  ncclEpCombine(handle, &inputs, &outputs, &config, rank.stream));
        synchronize(rank);
        if (!able) return;
        double error = 0.0, size = 0.0;
        for (size_t i = 0; i < tokens * facts.hidden; ++i) {
          const double exact = decode(ncclBfloat16, round.combined().raw<unsigned char>() + i * 2);
          const double close = decode(ncclBfloat16, out.raw<unsigned char>() + i * 2);
          error += (exact - close) * (exact - close);
          size += exact * exact;
        }
        EXPECT_LT(error, 0.03 * size + 1e-9);  // 4-bit values: about a tenth off on average
        inputs.scales = nullptr;
        EXPECT_EP(ncclInvalidArgument, ncclEpCombine(handle, &inputs, &outputs, &config, rank.stream));
        config.quant_recipe = static_cast<ncclEpCombQuant_t>(9);
        EXPECT_EP(ncclInvalidArgument, ncclEpCombine(handle, &inputs, &outputs, &config, rank.stream));
        config.quant_recipe = NCCL_EP_COMB_QUANT_NONE;
        inputs.scales = scales;
        EXPECT_EP(ncclInvalidArgument, ncclEpCombine(handle, &inputs, &outputs, &config, rank.stream));
      });
    }
  }
}

}  // namespace
}  // namespace ep_test
