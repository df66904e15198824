"""A clean-room reference trainer for the Parameter Golf challenge, readable top to bottom.

Reading order: config, shards, tokbytes, loaders (data); attention, layers, model (the network); newton_schulz,
parallel_muon, optim, schedule, averaging, build, train (training); quant, gptq, calibration (compression); container,
pack (the artifact); evaluate, ttt (scoring); record (what is handed in). `forbidden` holds what the rules do not allow,
and `measure_forbidden` shows how much it cheats.
"""
