"""Compares what `moe-server logits` has written with transformers' own results on the same checkpoint.

python3 compare.py FOLDER OUT...

Logits: all positions of the prompts, against the model in float32; the measure is transformers' own bfloat16 run.
Continuations: each token is compared with the one that transformers would choose after the same tokens; where they
differ, the two must be closer in float32 than the tolerance. OUTs of one folder must have the same tokens.
"""
import json
import pathlib
import sys

import numpy
import torch
from transformers import Qwen3MoeForCausalLM


def load(folder, dtype):
    return Qwen3MoeForCausalLM.from_pretrained(folder, dtype=dtype).to("cuda").eval()


@torch.no_grad()
def logits(model, tokens):
    return model(torch.tensor([tokens], device="cuda")).logits[0].float().cpu().numpy()


def main():
    folder = pathlib.Path(sys.argv[1])
    prompts = json.loads((folder / "prompts.json").read_text())
    half, full = load(folder, torch.bfloat16), load(folder, torch.float32)
    exact = [logits(full, prompt) for prompt in prompts]
    theirs = max(numpy.abs(logits(half, prompt) - e).max() for prompt, e in zip(prompts, exact))
    tolerance = 1.25 * theirs
    print(f"logits: deviation {numpy.std(numpy.concatenate(exact)):.3f}, transformers bfloat16 differs from float32 by "
          f"at most {theirs:.4f}; tolerance {tolerance:.4f}")
    failed = False
    first = {}
    for out in map(pathlib.Path, sys.argv[2:]):
        values = numpy.fromfile(out / "logits.bin", dtype=numpy.float32)
        at, worst, between = 0, 0.0, 0.0
        for prompt, e in zip(prompts, exact):
            mine = values[at:at + e.size].reshape(e.shape)
            at += e.size
            worst = max(worst, numpy.abs(mine - e).max())
            between = max(between, numpy.abs(mine - logits(half, prompt)).max())
        tokens = json.loads((out / "tokens.json").read_text())
        equal, gaps = 0, []
        for prompt, continuation in zip(prompts, tokens):
            # Each next token that transformers would choose after the same ones.
            their_logits = logits(half, prompt + continuation)
            exact_logits = logits(full, prompt + continuation)
            for i, token in enumerate(continuation):
                row = len(prompt) + i - 1
                if their_logits[row].argmax() == token:
                    equal += 1
                else:
                    gaps.append(exact_logits[row].max() - exact_logits[row][token])
        same = tokens == first.setdefault(out.parent, tokens)
        widest = max(gaps, default=0)
        print(f"{out.parent.name}/{out.name}: logits differ from float32 by {worst:.4f}, "
              f"from bfloat16 by {between:.4f}; greedy tokens: {equal} equal, {len(gaps)} near ties, "
              f"the widest {widest:.4f} in float32; "
              f"same tokens as the first of its folder: {same}")
        failed |= worst > tolerance or widest > tolerance or at != values.size or not same
    sys.exit(1 if failed else 0)


main()
