"""llama.cpp's own HTTP server, from the package `xllamacpp`, until it is ended. Runs in an environment of its own.

The settings are those that measured best on a processor: flash attention, as many threads as cores, keys and values in fp16, a part of the
cache for each slot. Continuous batching and the caches of prompts (in the slots, and in memory for slots that changed hands) are on.
"""

import argparse
import os
import threading

import xllamacpp

parser = argparse.ArgumentParser()
parser.add_argument("--gguf", required=True)
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--slots", type=int, required=True, help="chats answered at the same time")
parser.add_argument("--context", type=int, required=True, help="tokens of one slot")
arguments = parser.parse_args()

params = xllamacpp.CommonParams()
params.model.path = arguments.gguf
params.hostnames = ["127.0.0.1"]
params.port = arguments.port
params.n_parallel = arguments.slots
params.n_ctx = arguments.context * arguments.slots
params.cont_batching = params.cache_prompt = True
params.n_batch, params.n_ubatch = 2048, 512
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
for threads in (params.cpuparams, params.cpuparams_batch):
    threads.n_threads = os.cpu_count() or 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
threading.Event().wait()
