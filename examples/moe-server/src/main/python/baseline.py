"""Decode steps of Hugging Face transformers on one GPU: static cache, eager and as a CUDA graph, bfloat16, random
weights.

python3 baseline.py SHAPE BATCH...        SHAPE: tiny or qwen3-30b-a3b
"""
import sys
import time

import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM, StaticCache

LENGTH = 256
SHAPES = {
    "tiny": dict(vocab_size=512, hidden_size=512, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                 num_experts=8, num_experts_per_tok=2, moe_intermediate_size=128),
    "qwen3-30b-a3b": dict(vocab_size=151936, hidden_size=2048, num_hidden_layers=48, num_attention_heads=32,
                          num_key_value_heads=4, num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768),
}


def build(shape):
    config = Qwen3MoeConfig(head_dim=128, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[],
                            max_position_embeddings=4096, attn_implementation="sdpa", **SHAPES[shape])
    with torch.device("meta"):
        model = Qwen3MoeForCausalLM(config).to(torch.bfloat16)
    model = model.to_empty(device="cuda").eval()
    for name, tensor in model.named_parameters():
        tensor.requires_grad_(False)
        if name.endswith("norm.weight"):
            tensor.fill_(1.0)
        else:
            tensor.uniform_(-0.0346, 0.0346)
    # What to_empty has left unset and is no parameter.
    rotary = model.model.rotary_emb
    half = torch.arange(0, 128, 2, device="cuda", dtype=torch.float32) / 128
    rotary.inv_freq.copy_(1.0 / 1e6**half)
    if hasattr(rotary, "original_inv_freq"):
        rotary.original_inv_freq = rotary.inv_freq.clone()
    try:
        model.set_experts_implementation("grouped_mm")
    except (AttributeError, ValueError) as e:
        print("experts as by default:", e)
    return model


def quantile(times, q):
    return sorted(times)[min(len(times) - 1, int(q * len(times)))]


def measure(step, count):
    times = []
    for i in range(count + 5):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        step()
        torch.cuda.synchronize()
        if i >= 5:
            times.append((time.perf_counter() - begin) * 1e3)
    return times


def report(mode, batch, times):
    p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
    print(f"| transformers {mode} | {batch} | {p50:.2f} | {p99:.2f} | {batch / p50 * 1e3:.0f} |", flush=True)


@torch.no_grad()
def run(model, batch):
    cache = StaticCache(config=model.config, max_cache_len=LENGTH)
    tokens = torch.randint(0, model.config.vocab_size, (batch, 1), device="cuda")
    position = torch.tensor([LENGTH - 1], device="cuda")
    chosen = torch.zeros((batch, 1), dtype=torch.long, device="cuda")

    def step():
        logits = model(input_ids=tokens, position_ids=position.expand(batch, 1), past_key_values=cache,
                       cache_position=position, use_cache=True).logits
        chosen.copy_(logits[:, -1:].argmax(-1))

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    report("eager", batch, measure(step, 15))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    report("graph", batch, measure(graph.replay, 40))
    del graph


def main():
    model = build(sys.argv[1])
    print("| transformers | batch | p50 ms | p99 ms | tokens/s |")
    for batch in map(int, sys.argv[2:]):
        try:
            run(model, batch)
        except Exception as e:
            print(f"batch {batch}: {type(e).__name__}: {e}", flush=True)


main()
