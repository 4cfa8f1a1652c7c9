"""Writes a tiny random Qwen3-MoE checkpoint with Hugging Face transformers, and prompts for it.

python3 make_checkpoint.py FOLDER
"""
import json
import pathlib
import random
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

CONFIG = Qwen3MoeConfig(
    vocab_size=512, hidden_size=512, intermediate_size=1024, num_hidden_layers=3, num_attention_heads=8,
    num_key_value_heads=2, head_dim=128, num_experts=16, num_experts_per_tok=4, moe_intermediate_size=128,
    norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], max_position_embeddings=4096, rms_norm_eps=1e-6,
    tie_word_embeddings=False, initializer_range=0.05)


def published(folder):
    """Rewrites experts that are stored as one tensor per layer to one per expert, as checkpoints are published."""
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            tensors.update({name: opened.get_tensor(name) for name in opened.keys()})
        file.unlink()
    for name in [name for name in tensors if name.endswith((".experts.gate_up_proj", ".experts.down_proj"))]:
        whole = tensors.pop(name)
        prefix, part = name.rsplit(".", 1)
        for expert in range(whole.shape[0]):
            if part == "down_proj":
                tensors[f"{prefix}.{expert}.down_proj.weight"] = whole[expert].contiguous()
            else:
                gate, up = whole[expert].chunk(2)
                tensors[f"{prefix}.{expert}.gate_proj.weight"] = gate.contiguous()
                tensors[f"{prefix}.{expert}.up_proj.weight"] = up.contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    if index.exists():
        index.unlink()


def main():
    folder = pathlib.Path(sys.argv[1])
    torch.manual_seed(1)
    model = Qwen3MoeForCausalLM(CONFIG)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.to(torch.bfloat16).save_pretrained(folder)
    published(folder)
    chosen = random.Random(1)
    prompts = [[chosen.randrange(CONFIG.vocab_size) for _ in range(5 + 3 * i)] for i in range(8)]
    (folder / "prompts.json").write_text(json.dumps(prompts))
    print("wrote", folder)


main()
