"""A clean-room reference trainer for the Parameter Golf challenge, readable top to bottom.

Reading order: config, shards, tokbytes, loaders (data); layers, model (the network); optim, schedule, averaging, train
(training); quant, gptq, calibration (compression); container, pack (the artifact); evaluate, ttt (scoring); record
(what is handed in). `forbidden` holds what the rules do not allow, to show how much it cheats.
"""
